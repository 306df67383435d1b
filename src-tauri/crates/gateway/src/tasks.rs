//! Whose a task is: what a server began to work on is asked for by a name that only that server knows.

use crate::clients::lock;
use flotilla_contract::ServerId;
use flotilla_mcp::serve::Fields;
use serde_json::value::RawValue;
use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

/// Tasks remembered; the oldest is forgotten.
const MOST: usize = 10_000;

/// The tasks that were begun through the gateway.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<Known>);

#[derive(Default)]
struct Known {
    owners: HashMap<String, ServerId>,
    order: VecDeque<String>,
}

impl Tasks {
    /// Notes the task that a result announces, if it does.
    pub(crate) fn note(&self, server: &ServerId, result: &RawValue) {
        // Most results are no task, and most of these have no such word.
        if memchr::memmem::find(result.get().as_bytes(), b"\"taskId\"").is_none() {
            return;
        }
        let fields = Fields::of(Some(result));
        let inner = Fields::of(fields.raw("task"));
        let Some(id) = inner.text("taskId").or_else(|| fields.text("taskId")) else {
            return;
        };
        let mut known = lock(&self.0);
        if known
            .owners
            .insert(id.to_string(), server.clone())
            .is_none()
        {
            known.order.push_back(id.into_owned());
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.owners.remove(&oldest);
            }
        }
    }

    /// Whose a task is.
    pub(crate) fn owner(&self, id: &str) -> Option<ServerId> {
        lock(&self.0).owners.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn tasks_of_both_eras_are_known_and_the_oldest_are_forgotten() {
        let (tasks, server): (Tasks, ServerId) = (Tasks::default(), "fetch".parse().unwrap());
        tasks.note(
            &server,
            &raw(r#"{"task":{"taskId":"old","status":"working"}}"#),
        );
        tasks.note(&server, &raw(r#"{"resultType":"task","taskId":"new"}"#));
        tasks.note(
            &server,
            &raw(r#"{"content":[{"type":"text","text":"\"taskId\""}]}"#),
        );
        assert_eq!(
            (tasks.owner("old"), tasks.owner("new")),
            (Some(server.clone()), Some(server.clone()))
        );
        assert_eq!(tasks.owner("other"), None);
        for n in 0..MOST {
            tasks.note(&server, &raw(&format!(r#"{{"taskId":"{n}"}}"#)));
        }
        assert_eq!((tasks.owner("old"), tasks.owner("0")), (None, Some(server)));
    }
}
