//! Makes always-ready instances, and workers that replace used ones, before an invocation needs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::event_loop::current_core;
use crate::instance::Instance;
use crate::instance::sandbox::start_timed_out;
use crate::instance::worker::Worker;
use crate::invocation::Fault;
use crate::manifest::Isolation;
use crate::meter::scaling::Reason;
use crate::pool::Pool;
use crate::{clock, limits};

/// When missing always-ready instances may be made again: one attempt at a time, with a pause after a failure.
#[derive(Debug, Default)]
pub(super) struct Refill {
    under_way: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Refill {
    fn may_begin(&self, now: Instant) -> bool {
        !self.under_way && self.not_before.is_none_or(|not_before| now >= not_before)
    }

    fn begin(&mut self) {
        self.under_way = true;
    }

    fn end(&mut self, filled: bool, now: Instant) {
        self.under_way = false;
        self.failures = if filled { 0 } else { self.failures.saturating_add(1) };
        self.not_before = (!filled).then(|| now + pause(self.failures));
    }
}

/// Returns the pause after `failures` in a row, at least one.
fn pause(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    limits::REFILL_PAUSE_MIN.saturating_mul(doubled).min(limits::REFILL_PAUSE_MAX)
}

impl Pool {
    /// Makes the always-ready instances. If there are none to make, tries whether the guest starts at all.
    pub async fn prepare(self: &Arc<Self>) -> Result<(), Fault> {
        if self.policy.always_ready == 0 {
            // Without room in the quota this trial is left out; the first invocation will show whether the guest starts.
            if let Ok(instance) = self.resources.new_instance(self.policy.memory) {
                self.start_within(&instance).await?;
            }
            return Ok(());
        }
        self.fill_always_ready().await
    }

    /// Makes the missing always-ready instances, as far as the quota has room now. The others are made by a later call that finds
    /// room.
    pub async fn fill_always_ready(self: &Arc<Self>) -> Result<(), Fault> {
        while self.lacks_always_ready() {
            let decided = clock::now();
            let mut instance = self.resources.new_instance(self.policy.memory);
            if instance.is_err() {
                self.resources.make_room(self);
                instance = self.resources.new_instance(self.policy.memory);
            }
            let Ok(instance) = instance else { return Ok(()) };
            let worker = self.start_within(&instance).await?;
            self.meter().counts.cold_start(clock::now() - decided);
            self.open_always_ready(instance, worker);
            self.serve_queue();
            // Lets other tasks run between two instances.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Makes the missing always-ready instances in a task of its own. After a failure it does so only when the pause is over.
    pub fn keep_always_ready(self: &Arc<Self>, now: Instant) {
        {
            let mut state = self.state.lock();
            let lacks = !state.draining && state.ledger.lacks_always_ready();
            if !lacks || !state.refill.may_begin(now) {
                return;
            }
            state.refill.begin();
        }
        let pool = self.clone();
        self.resources.machinery().compute().spawn(async move {
            let filled = pool.fill_always_ready().await;
            if let Err(fault) = &filled {
                let text = format!("make an always-ready instance: {}", fault.detail);
                pool.template.host_log(None, &text);
                tracing::warn!("app {}: {text}", pool.template.capabilities().app());
            }
            pool.state.lock().refill.end(filled.is_ok(), clock::now());
        });
    }

    fn open_always_ready(&self, instance: Arc<Instance>, worker: Option<Box<Worker>>) {
        let mut state = self.state.lock();
        // An invocation may have opened the missing instance meanwhile. Then this one is not needed.
        if !state.draining && state.ledger.lacks_always_ready() {
            let core = state.ledger.instances() % self.resources.machinery().cores();
            let before = self.inputs(&state);
            state.ledger.open(instance, worker.into_iter().collect(), core, clock::now());
            self.note(&state, Reason::AlwaysReady, 1, before);
        }
    }

    fn lacks_always_ready(&self) -> bool {
        let state = self.state.lock();
        !state.draining && state.ledger.lacks_always_ready()
    }

    /// Makes a worker in advance: one for a slot, or one that stays with `instance`.
    async fn start_within(&self, instance: &Arc<Instance>) -> Result<Option<Box<Worker>>, Fault> {
        let deadline = clock::now() + limits::START_TIMEOUT;
        let (template, machinery) = (&self.template, self.resources.machinery());
        if template.is_shared() {
            let stocked = template.stock_shared(instance, machinery, deadline);
            // Another start in the same instance may be under way.
            let stocked = tokio::time::timeout_at(deadline.into(), stocked).await;
            stocked.unwrap_or_else(|_| Err(start_timed_out(limits::START_TIMEOUT))).map(|()| None)
        } else {
            template.start(instance, machinery, deadline).await.map(Some)
        }
    }

    /// Whether a used worker is replaced now, so that the next invocation does not wait for a new one.
    pub(super) fn wants_stock(&self, number: usize) -> bool {
        self.policy.isolation == Isolation::Fresh || number < self.policy.always_ready as usize
    }

    /// Makes a worker for `instance` on this core, after this thread's current work.
    pub(super) fn restock(self: &Arc<Self>, number: usize, instance: Arc<Instance>) {
        let Ok(here) = Handle::try_current() else { return };
        let pool = self.clone();
        here.spawn(async move {
            match pool.start_within(&instance).await {
                Ok(None) => {}
                Ok(Some(worker)) => {
                    let refused = pool.state.lock().ledger.stock(number, &instance, worker, current_core());
                    // The instance was retired meanwhile, or made a worker of its own. This one is not needed.
                    drop(refused);
                }
                Err(error) => {
                    pool.template.host_log(None, &format!("replace a used worker: {}", error.detail));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_one_at_a_time_and_ever_more_rarely_until_one_succeeds() {
        let mut refill = Refill::default();
        let mut now = clock::now();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(refill.may_begin(now));
            refill.begin();
            assert!(!refill.may_begin(now));
            refill.end(false, now);
            now += Duration::from_secs(seconds);
            assert!(!refill.may_begin(now - Duration::from_millis(1)));
        }
        refill.begin();
        refill.end(true, now);
        assert!(refill.may_begin(now));
        assert_eq!(pause(u32::MAX), limits::REFILL_PAUSE_MAX);
    }
}
