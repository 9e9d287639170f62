//! Counts and logs one invocation, once, whichever way it ends.

use std::sync::Arc;

use crate::invocation::{Fault, InvocationId, Outcome};
use crate::pool::Pool;

/// The reckoning of one invocation. Dropped before its end, the invocation was cancelled.
pub struct Tally {
    pool: Arc<Pool>,
    invocation: InvocationId,
    counted: bool,
}

impl Tally {
    /// The tally of an invocation that has got its slot in `pool`.
    pub fn new(pool: Arc<Pool>, invocation: InvocationId) -> Self {
        Self { pool, invocation, counted: false }
    }

    /// Where it runs.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// It has ended, by `fault` if there is one.
    pub fn end(&mut self, fault: Option<&Fault>) {
        self.counted = true;
        let Some(fault) = fault else { return self.pool.meter().counts.ended(&Outcome::Answered) };
        self.pool.meter().counts.ended(&fault.outcome);
        if fault.outcome.is_failure() {
            let text = format!("{}: {}", fault.outcome.code(), fault.detail);
            self.pool.template().host_says(Some(self.invocation), &text);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.counted {
            self.pool.meter().counts.ended(&Outcome::Cancelled);
        }
    }
}
