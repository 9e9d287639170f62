//! A taken slot: the right to run one invocation. It gives itself back when it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event_loop::current_core;
use crate::instance::Instance;
use crate::instance::worker::Worker;
use crate::instance::worker_p3::AsyncWorker;
use crate::invocation::{Fault, Outcome};
use crate::pool::Pool;
use crate::pool::ledger::{SlotRoom, Taken};
use crate::{clock, limits};

/// The right to run one invocation in an instance, held until the response body has ended.
pub struct Slot {
    pool: Arc<Pool>,
    /// The instance in which it is counted, until its answer is being sent.
    number: usize,
    /// The ledger's name of it while its answer is being sent.
    sending: Option<u64>,
    /// The worker of the slot. Taken out while it runs, and left out if it must not run again.
    pub worker: Option<Box<Worker>>,
    /// The instance to make a worker in, if there was no idle one.
    instance: Option<Arc<Instance>>,
    /// When the instance was asked for, if it was made for this invocation.
    cold_since: Option<Instant>,
    /// When the slot was taken, if the pool wants to know how long it is held.
    taken_at: Option<Instant>,
    /// How the invocation got its slot.
    timing: Timing,
}

/// How an invocation got its slot and worker.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Whether its instance was made for it.
    pub cold: bool,
    /// Microseconds in the wait queue and in the run queue.
    pub waited_us: u32,
    /// Microseconds until it had a worker; 0, if one was there.
    pub started_us: u32,
}

impl Timing {
    /// How long it has waited for a slot and a core.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.into())
    }
}

/// A slot that was taken under the lock, before it becomes a [`Slot`].
pub(super) struct TakenNow {
    pub(super) taken: Taken<Arc<Instance>, Box<Worker>>,
    pub(super) cold_since: Option<Instant>,
}

impl Slot {
    pub(super) fn new(pool: Arc<Pool>, now: TakenNow) -> Self {
        let TakenNow { taken, cold_since } = now;
        let (worker, instance) = match taken.room {
            SlotRoom::Worker(worker) => (Some(worker), None),
            SlotRoom::Instance(instance) => (None, Some(instance)),
        };
        let taken_at = pool.is_dynamic().then(clock::now);
        let timing = Timing { cold: cold_since.is_some(), ..Timing::default() };
        Self { pool, number: taken.number, sending: None, worker, instance, cold_since, taken_at, timing }
    }

    /// The same, for an invocation that waited.
    pub(super) fn after(mut self, waited: Duration) -> Self {
        self.timing.waited_us = microseconds(waited);
        self
    }

    /// Notes that the invocation which begins in it now has waited for `waited` in all, and that its instance, if that is new, is
    /// wanted only now. If it has no worker but another instance has an idle one, it moves there.
    pub fn begins_after(&mut self, waited: Duration) {
        self.timing.waited_us = microseconds(waited);
        self.cold_since = self.cold_since.map(|_| clock::now());
        if self.worker.is_none() {
            self.worker = self.pool.idle_worker(self.number);
        }
        if self.worker.is_none()
            && let Some((number, worker)) = self.pool.exchange(self.number)
        {
            (self.number, self.worker, self.instance) = (number, Some(worker), None);
            (self.cold_since, self.timing.cold) = (None, false);
        }
    }

    /// The number of its instance within the pool.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How the invocation got its slot so far.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The pool this slot belongs to.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Keeps `worker` for the next invocation, or drops it if it must not run again. One that holds much memory takes the slot
    /// with it ([`Self::retire`]).
    pub fn keep_if_reusable(mut self, worker: Option<Box<Worker>>) -> Option<Self> {
        let Some(mut worker) = worker else { return Some(self) };
        if worker.is_reusable(&self.pool.policy) {
            self.worker = Some(worker);
        } else if worker.memory().held_bytes() > limits::INLINE_DROP_BYTES_MAX {
            self.retire(worker);
            return None;
        }
        Some(self)
    }

    /// Lends `worker`, if it may run again, to whoever begins next, because the guest has returned and only its answer is still to
    /// be sent. Returns the worker otherwise.
    pub fn lend_if_reusable(&mut self, mut worker: Box<Worker>) -> Option<Box<Worker>> {
        if !worker.is_reusable(&self.pool.policy) {
            return Some(worker);
        }
        self.sending = Some(self.pool.state.lock().ledger.send(self.number, worker, current_core()));
        None
    }

    /// Drops a worker that must not run again, and then gives the slot back, so that the slot is taken until the memory is free.
    /// If that takes long, it happens on the compute threads.
    pub fn retire(self, worker: Box<Worker>) {
        worker.memory().leave_instance();
        if worker.memory().held_bytes() > limits::INLINE_DROP_BYTES_MAX {
            let compute = self.pool.resources.machinery().compute().clone();
            compute.spawn(async move {
                drop(worker);
                drop(self);
            });
        }
    }

    /// Returns the slot's worker. Makes one if the instance has no idle one.
    pub async fn worker(&mut self, deadline: Instant) -> Result<Box<Worker>, Fault> {
        match self.worker.take().or_else(|| self.pool.idle_worker(self.number)) {
            Some(worker) => Ok(worker),
            // On the heap, because the future must be small and this is rare.
            None => Box::pin(self.make_worker(deadline)).await,
        }
    }

    async fn make_worker(&mut self, deadline: Instant) -> Result<Box<Worker>, Fault> {
        let Some(instance) = self.instance.take() else {
            return Err(Fault::plain(Outcome::StartFailed("the slot was used before".into())));
        };
        let asked = self.cold_since.take();
        let since = asked.unwrap_or_else(clock::now);
        let started = self.pool.template.start(&instance, self.pool.resources.machinery(), deadline).await;
        let worker = started.map_err(|fault| self.start_fault(fault, deadline))?;
        self.has_started(since, asked.is_some());
        Ok(worker)
    }

    /// Returns the worker of the slot's instance that takes the invocation, where workers run many.
    pub async fn shared_worker(&mut self, deadline: Instant) -> Result<Arc<AsyncWorker>, Fault> {
        let Some(instance) = &self.instance else {
            return Err(Fault::plain(Outcome::StartFailed("the slot has no instance".into())));
        };
        let (template, machinery) = (&self.pool.template, self.pool.resources.machinery());
        let chosen = template.choose_shared(instance, machinery, deadline).await;
        let worker = chosen.map_err(|fault| self.start_fault(fault, deadline))?;
        if let Some(since) = self.cold_since.take() {
            self.has_started(since, true);
        }
        Ok(worker)
    }

    /// Returns the fault of a start that an invocation waited for: that of the timeout, if `deadline` has passed.
    fn start_fault(&self, fault: Fault, deadline: Instant) -> Fault {
        match fault.outcome {
            Outcome::StartFailed(_) if clock::now() >= deadline => {
                let what = format!("while its worker started: {}", fault.detail);
                Fault::timed_out(self.pool.policy().timeout, &what)
            }
            _ => fault,
        }
    }

    /// Notes that a worker was made that was asked for at `since`. `cold`: it is the first of its instance.
    fn has_started(&mut self, since: Instant, cold: bool) {
        let started = clock::now().saturating_duration_since(since);
        self.timing.started_us = microseconds(started);
        if cold {
            self.pool.meter().counts.cold_start(started);
        }
    }
}

/// What is done with slots of a pool.
impl Pool {
    fn idle_worker(&self, number: usize) -> Option<Box<Worker>> {
        self.state.lock().ledger.idle_worker(number, current_core())
    }

    /// Exchanges a slot without a worker for one with an idle worker, in another instance.
    fn exchange(&self, number: usize) -> Option<(usize, Box<Worker>)> {
        let exchanged = self.state.lock().ledger.exchange(number, current_core(), clock::now());
        let (other, worker, fell_idle) = exchanged?;
        if fell_idle {
            self.resources.capacity().may_be_made();
        }
        Some((other, worker))
    }

    /// Gives back a slot, with its worker if that may be used again.
    fn release(
        self: &Arc<Self>,
        number: usize,
        sending: Option<u64>,
        worker: Option<Box<Worker>>,
        held: Option<Duration>,
    ) {
        let core = current_core();
        let is_shared = self.template.is_shared();
        let wants_stock = worker.is_none() && sending.is_none() && self.wants_stock(number);
        let (closed, queue_waits, restock, fell_idle) = {
            let mut state = self.state.lock();
            let number = sending.map_or(number, |sending| state.ledger.sent(sending));
            let fell_idle = state.ledger.release(number, worker, core, clock::now());
            if let Some((adjusting, held)) = state.adjusting.as_mut().zip(held) {
                adjusting.ended(held);
            }
            let queue_waits = !state.queue.is_empty();
            let is_last = state.draining && !queue_waits;
            let closed = if is_last { self.close_all(&mut state) } else { Vec::new() };
            let restock = if wants_stock { state.ledger.instance(number).cloned() } else { None };
            let restock = restock.filter(|instance| !is_shared || instance.shared.is_empty());
            (closed, queue_waits, restock.map(|instance| (number, instance)), fell_idle)
        };
        self.drop_closed(closed);
        if let Some((number, instance)) = restock {
            self.restock(number, instance);
        }
        if queue_waits {
            self.serve_one();
        } else if fell_idle {
            self.resources.capacity().may_be_made();
        }
    }
}

/// Microseconds, as `u32`: neither a wait nor a start may take more than an hour.
fn microseconds(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let worker = self.worker.take();
        let held = self.taken_at.map(|taken| clock::now().saturating_duration_since(taken));
        self.pool.release(self.number, self.sending, worker, held);
    }
}
