//! Faults injected on purpose, for drills: latency, errors, answers that never come. They end by themselves.

use crate::{
    chance::Chance,
    clients::lock,
    gateway::{Inner, wall},
};
use flotilla_contract::{
    ErrorCode, Millis, ServerId, WireError,
    gateway::{Fault, FaultParams},
};
use flotilla_mcp::Error;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long a fault lasts unless somebody says.
const LASTS: u64 = 10 * 60_000;
const LASTS_MOST: u64 = 24 * 3_600_000;
const LATENCY_MOST: u64 = 60_000;
/// Faults at once.
const MOST: usize = 64;

/// Those under way.
#[derive(Default)]
pub(crate) struct Faults {
    list: Mutex<Vec<Fault>>,
    /// So that a call asks for no lock while there are none.
    any: AtomicBool,
}

/// What befalls one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Suffering {
    latency: Duration,
    fails: bool,
    is_dropped: bool,
}

impl Faults {
    /// Begins a fault, changes the one of the same server and tool, or ends it.
    pub(crate) fn set(&self, params: &FaultParams, now: Millis) -> Result<Vec<Fault>, WireError> {
        let bad = |what: String| {
            Err(WireError::new(
                ErrorCode::BadRequest,
                format!("inject a fault: {what}"),
            ))
        };
        for (name, share) in [("errors", params.errors), ("drops", params.drops)] {
            if !(0.0..=1.0).contains(&share) {
                return bad(format!("{name} is {share}; accepted is 0 to 1"));
            }
        }
        if params.latency_ms > LATENCY_MOST {
            return bad(format!(
                "latency_ms is {}; accepted is up to {LATENCY_MOST}",
                params.latency_ms
            ));
        }
        let lasts = params.for_ms.unwrap_or(LASTS);
        if lasts > LASTS_MOST {
            return bad(format!("for_ms is {lasts}; accepted is up to {LASTS_MOST}"));
        }
        let mut list = lock(&self.list);
        list.retain(|fault| {
            fault.until > now && !(fault.server == params.server && fault.tool == params.tool)
        });
        let idle = params.latency_ms == 0 && params.errors == 0.0 && params.drops == 0.0;
        if lasts > 0 && idle {
            return bad("it does nothing: latency_ms, errors and drops are 0".to_owned());
        }
        if lasts > 0 {
            if list.len() >= MOST {
                return bad(format!("{MOST} are under way; end one first"));
            }
            list.push(Fault {
                server: params.server.clone(),
                tool: params.tool.clone(),
                latency_ms: params.latency_ms,
                errors: params.errors,
                drops: params.drops,
                until: now + lasts,
            });
        }
        self.any.store(!list.is_empty(), Ordering::Relaxed);
        Ok(list.clone())
    }

    /// Those under way now.
    pub(crate) fn view(&self, now: Millis) -> Vec<Fault> {
        let mut list = lock(&self.list);
        list.retain(|fault| fault.until > now);
        self.any.store(!list.is_empty(), Ordering::Relaxed);
        list.clone()
    }

    fn befalls(
        &self,
        server: &ServerId,
        tool: Option<&str>,
        now: Millis,
        chance: &mut Chance,
    ) -> Option<Suffering> {
        let list = lock(&self.list);
        let about = |fault: &&Fault| {
            fault.until > now
                && fault.server == *server
                && (fault.tool.is_none() || fault.tool.as_deref() == tool)
        };
        let mut all: Option<Suffering> = None;
        for fault in list.iter().filter(about) {
            let suffering = all.get_or_insert_default();
            suffering.latency += Duration::from_millis(fault.latency_ms);
            suffering.fails |= chance.unit() < fault.errors;
            suffering.is_dropped |= chance.unit() < fault.drops;
        }
        all
    }
}

impl Inner {
    /// What is injected befalls a call, before it goes to its server.
    pub(crate) async fn suffer(
        &self,
        server: &ServerId,
        tool: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        if !self.faults.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let befalls = {
            let mut chance = lock(&self.chance);
            self.faults.befalls(server, tool, wall(), &mut chance)
        };
        let Some(suffering) = befalls else {
            return Ok(());
        };
        if !suffering.latency.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(suffering.latency) => {}
                () = cancel.cancelled() => return Err(Error::Cancelled),
            }
        }
        if suffering.fails {
            return Err(Error::Unreachable(
                "a fault injected for a drill".to_owned(),
            ));
        }
        if suffering.is_dropped {
            let limit = self
                .server(server)
                .map_or(60_000, |server| server.exposure().timeout_ms);
            let limit = Duration::from_millis(limit);
            tokio::select! {
                () = tokio::time::sleep(limit) => return Err(Error::Timeout(limit)),
                () = cancel.cancelled() => return Err(Error::Cancelled),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(tool: Option<&str>, errors: f64, for_ms: Option<u64>) -> FaultParams {
        FaultParams {
            server: "fetch".parse().unwrap(),
            tool: tool.map(ToOwned::to_owned),
            latency_ms: 20,
            errors,
            drops: 0.0,
            for_ms,
        }
    }

    #[test]
    fn a_fault_befalls_its_own_ends_by_itself_and_is_ended() {
        let (faults, fetch, other) = (
            Faults::default(),
            "fetch".parse().unwrap(),
            "other".parse().unwrap(),
        );
        let mut chance = Chance::new(1);
        faults.set(&params(Some("get"), 1.0, None), 0).unwrap();
        let hit = faults.befalls(&fetch, Some("get"), 1, &mut chance).unwrap();
        assert_eq!(
            hit,
            Suffering {
                latency: Duration::from_millis(20),
                fails: true,
                is_dropped: false
            }
        );
        assert_eq!(faults.befalls(&fetch, Some("put"), 1, &mut chance), None);
        assert_eq!(faults.befalls(&other, Some("get"), 1, &mut chance), None);
        assert_eq!(
            faults.befalls(&fetch, Some("get"), LASTS, &mut chance),
            None,
            "its time is over"
        );
        faults.set(&params(None, 0.0, Some(5)), 0).unwrap();
        assert_eq!(
            faults.set(&params(None, 0.0, Some(0)), 1).unwrap().len(),
            1,
            "the other one stays"
        );
        assert!(faults.view(LASTS).is_empty());
        for (params, word) in [
            (params(None, 1.5, None), "errors is 1.5"),
            (params(None, 0.5, Some(LASTS_MOST + 1)), "for_ms"),
            (
                FaultParams {
                    latency_ms: 0,
                    ..params(None, 0.0, None)
                },
                "does nothing",
            ),
            (
                FaultParams {
                    latency_ms: 70_000,
                    ..params(None, 0.0, None)
                },
                "latency_ms is 70000",
            ),
        ] {
            let error = faults.set(&params, 0).unwrap_err();
            assert!(error.message.contains(word), "{error:?}");
        }
    }
}
