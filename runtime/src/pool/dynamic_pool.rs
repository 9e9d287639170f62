//! Holds the dynamic concurrency of a pool: what the pool measures of itself, and how it applies its value.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pool::Pool;
use crate::pool::dynamic::{DynamicConcurrency, Reading, Snapshot};
use crate::pool::learned_concurrency::GroupKey;

/// The value of one pool, and the latency of the invocations that have ended since it last moved.
pub(super) struct Adjusting {
    value: DynamicConcurrency,
    held: Duration,
    ended: u32,
}

impl Adjusting {
    /// Makes one that continues with what was learned.
    pub(super) fn new(learned: Option<Snapshot>, cores: usize, most: u32, now: Instant) -> Self {
        let value = match learned {
            Some(learned) => DynamicConcurrency::restore(learned, count(cores), most, now),
            None => DynamicConcurrency::new(most, now),
        };
        Self { value, held: Duration::ZERO, ended: 0 }
    }

    /// Returns how many slots an instance has now.
    pub(super) fn value(&self) -> u32 {
        self.value.value()
    }

    /// Notes that a slot was given back after it was held for this time.
    pub(super) fn ended(&mut self, held: Duration) {
        self.held += held;
        self.ended = self.ended.saturating_add(1);
    }
}

/// A number of cores, at least one.
pub(super) fn count(cores: usize) -> NonZeroU32 {
    NonZeroU32::new(cores as u32).unwrap_or(NonZeroU32::MIN)
}

impl Pool {
    /// Whether the host finds its concurrency.
    pub fn is_dynamic(&self) -> bool {
        self.policy.is_dynamic
    }

    /// Returns how many slots an instance has now.
    pub fn concurrency(&self) -> u32 {
        if self.policy.is_dynamic { self.state.lock().ledger.concurrency() } else { self.policy.concurrency }
    }

    /// Reconsiders the value of a dynamic pool, once a second. Returns whether it has moved.
    pub fn observe(self: &Arc<Self>, reading: Reading, now: Instant) -> bool {
        let cores = count(self.resources.machinery().cores());
        let (moved, snapshot) = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let Some(adjusting) = state.adjusting.as_mut().filter(|_| !state.draining) else { return false };
            let mean = adjusting.held.checked_div(adjusting.ended);
            let fullest = state.ledger.take_fullest();
            let Some(moved) = adjusting.value.observe(now, reading, fullest, mean) else { return false };
            (adjusting.held, adjusting.ended) = (Duration::ZERO, 0);
            state.ledger.set_concurrency(moved.to);
            (moved, adjusting.value.snapshot(cores))
        };
        self.template.host_log(None, &format!("Host.Concurrency: {} {moved}", self.group()));
        tracing::info!(target: "Host.Concurrency", "{}/{} {moved}", self.template.capabilities().app(), self.group());
        self.resources.learned().note(self.key(), snapshot);
        self.serve_queue();
        true
    }

    /// Returns the key of its group, which stays the same across revisions.
    fn key(&self) -> GroupKey {
        (self.template.capabilities().app().clone(), self.group().to_owned())
    }

    pub(super) fn begin_adjusting(&self, now: Instant) {
        let learned = self.resources.learned().of(&self.key());
        let adjusting =
            Adjusting::new(learned, self.resources.machinery().cores(), self.policy.concurrency, now);
        let mut state = self.state.lock();
        state.ledger.set_concurrency(adjusting.value());
        state.adjusting = Some(adjusting);
    }
}
