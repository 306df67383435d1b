//! Previews of imports: apply takes exactly what was shown, so what was shown is kept for a while.

use crate::sessions::lock;
use flotilla_config::import::Plan;
use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

/// A preview holds literal secrets in memory: it is forgotten after this.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);
const KEPT: usize = 8;

#[derive(Default)]
pub(crate) struct Imports(Mutex<VecDeque<(Instant, Plan)>>);

impl Imports {
    pub(crate) fn keep(&self, plan: Plan) {
        let mut plans = lock(&self.0);
        plans.push_back((Instant::now(), plan));
        if plans.len() > KEPT {
            plans.pop_front();
        }
    }

    pub(crate) fn get(&self, ticket: &str) -> Option<Plan> {
        let mut plans = lock(&self.0);
        plans.retain(|(at, _)| at.elapsed() < KEPT_FOR);
        plans
            .iter()
            .find(|(_, plan)| plan.ticket == ticket)
            .map(|(_, plan)| plan.clone())
    }
}
