//! The instances and the wait queue of one scale group of one revision.
//!
//! `take` gets an invocation its slot: a free slot is taken, or an instance is added within maximum and quota, or the invocation
//! waits in the wait queue. A [`Slot`] gives itself back when it is dropped, and serves the wait queue with it.

pub mod dynamic;
mod dynamic_pool;
pub mod governor;
pub mod learned_concurrency;
pub mod ledger;
pub mod pace;
pub mod placement;
mod prewarm;
pub mod resources;
pub mod run_queue;
#[cfg(test)]
mod simulation;
pub mod slot;
mod wait_queue;

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::event_loop::{current_core, is_compute};
use crate::instance::Instance;
use crate::instance::template::Template;
use crate::instance::worker::Worker;
use crate::invocation::Throttle;
use crate::manifest::ScalePolicy;
use crate::meter::scaling::{Inputs, Reason};
use crate::meter::series::PoolView;
use crate::meter::{GroupMeter, Meter};
use crate::pool::dynamic_pool::Adjusting;
use crate::pool::ledger::{Bounds, Ledger, NoSlot};
use crate::pool::pace::Pace;
use crate::pool::placement::Placement;
use crate::pool::prewarm::Refill;
use crate::pool::resources::Resources;
use crate::pool::run_queue::RunQueue;
use crate::pool::slot::{Slot, TakenNow};
use crate::pool::wait_queue::{WaitQueue, WaitingCaller};
use crate::{clock, limits};

/// The pool of one scale group of one revision.
pub struct Pool {
    template: Template,
    policy: ScalePolicy,
    resources: Arc<Resources>,
    placement: Placement,
    run_queue: Arc<RunQueue<Slot>>,
    state: Mutex<State>,
}

type PoolLedger = Ledger<Arc<Instance>, Box<Worker>>;

struct State {
    ledger: PoolLedger,
    pace: Pace,
    queue: WaitQueue,
    /// When missing always-ready instances may be made.
    refill: Refill,
    /// Set in a pool whose concurrency the host finds.
    adjusting: Option<Adjusting>,
    draining: bool,
    /// Whether the wait queue is to be served again when the pace allows the next instance.
    is_awaited: bool,
}

/// Why an invocation got no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The limit or quota that refused it.
    Throttled(Throttle),
    /// The pool takes nothing new: ask the route again.
    Draining,
}

/// Memory of a retired instance that is not yet free: the kernel takes long to take back much memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Freed {
    /// Of the memory quota, in MB.
    pub class_mb: u64,
    /// Of the host's budget of real memory.
    pub bytes: u64,
}

impl AddAssign for Freed {
    fn add_assign(&mut self, other: Self) {
        self.class_mb += other.class_mb;
        self.bytes += other.bytes;
    }
}

impl Pool {
    /// Makes a pool without instances, and registers it with the host's resources.
    pub fn new(template: Template, resources: Arc<Resources>) -> Arc<Self> {
        let policy = *template.policy();
        let ledger = Ledger::new(Bounds {
            concurrency: policy.concurrency,
            always_ready: policy.always_ready,
            max_instances: policy.max_instances,
            class_mb: policy.memory.megabytes(),
        });
        let state = Mutex::new(State {
            ledger,
            pace: Pace::new(policy.scale_out),
            queue: WaitQueue::default(),
            refill: Refill::default(),
            adjusting: None,
            draining: false,
            is_awaited: false,
        });
        let pool = Arc::new(Self {
            placement: Placement::default(),
            run_queue: RunQueue::new(resources.machinery().cores()),
            template,
            policy,
            resources: resources.clone(),
            state,
        });
        if policy.is_dynamic {
            pool.begin_adjusting(clock::now());
        }
        resources.register(&pool);
        pool
    }

    /// Returns the name of its scale group: `http`, or `function:NAME`.
    pub fn group(&self) -> &str {
        self.meter().name()
    }

    /// Returns its scale settings.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// The template its workers are made from.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Returns the meter of its app.
    pub fn app(&self) -> &Meter {
        self.template.capabilities().meter()
    }

    /// Returns the meter of its scale group.
    pub fn meter(&self) -> &Arc<GroupMeter> {
        self.template.meter()
    }

    /// Returns where its invocations start.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Returns where its invocations wait for a core.
    pub fn run_queue(&self) -> &Arc<RunQueue<Slot>> {
        &self.run_queue
    }

    /// The host's shared resources.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// Returns the present numbers.
    pub fn view(&self) -> PoolView {
        let state = self.state.lock();
        PoolView {
            instances: state.ledger.instances(),
            instances_peak: state.ledger.instances_peak(),
            in_flight: state.ledger.in_flight(),
            waiting: state.queue.waiting(),
            memory_bytes: state.ledger.live().map(|instance| instance.memory.held_bytes()).sum(),
        }
    }

    /// Takes a slot. Waits in the wait queue if every slot is taken.
    pub async fn take(self: Arc<Self>) -> Result<Slot, NotTaken> {
        let waiting = match self.take_or_join_line()? {
            Ok(taken) => return Ok(Slot::new(self, taken)),
            Err(waiting) => waiting,
        };
        let since = clock::now();
        let slot = waiting.slot.ok_or(NotTaken::Throttled(waiting.throttle))?;
        match tokio::time::timeout(limits::WAIT_MAX, slot).await {
            Ok(Ok(slot)) => {
                let waited = clock::now().saturating_duration_since(since);
                self.meter().counts.waited(waited);
                Ok(slot.after(waited))
            }
            Ok(Err(_)) | Err(_) => Err(NotTaken::Throttled(waiting.throttle)),
        }
    }

    fn take_or_join_line(self: &Arc<Self>) -> Result<Result<TakenNow, WaitingCaller>, NotTaken> {
        let mut state = self.state.lock();
        if state.draining {
            return Err(NotTaken::Draining);
        }
        // A waiting caller has tried before and comes first.
        let first =
            if state.queue.is_empty() { self.take_now(&mut state) } else { Err(state.queue.throttle) };
        let throttle = match first {
            Ok(taken) => return Ok(Ok(taken)),
            Err(Throttle::MemoryQuota | Throttle::HostMemory) if state.queue.is_empty() => {
                drop(state);
                match self.take_with_room() {
                    (_, Ok(taken)) => return Ok(Ok(taken)),
                    (still, Err(throttle)) => {
                        state = still;
                        throttle
                    }
                }
            }
            Err(throttle) => throttle,
        };
        let before = self.inputs(&state);
        let waiting = state.queue.join(throttle);
        self.note(&state, throttle.into(), 1, before);
        Ok(Err(waiting))
    }

    /// Takes a slot in a new instance, for which idle instances of other pools are retired; their locks are taken without holding
    /// ours. If there is none, our lock is still held when this returns, so that a caller that joins the queue now is seen when
    /// room comes free.
    fn take_with_room(self: &Arc<Self>) -> (MutexGuard<'_, State>, Result<TakenNow, Throttle>) {
        loop {
            self.resources.capacity().want();
            self.resources.make_room(self);
            let mut state = self.state.lock();
            let taken = self.take_now(&mut state);
            if taken.is_ok() || self.resources.capacity().is_wanted() {
                return (state, taken);
            }
        }
    }

    fn take_now(self: &Arc<Self>, state: &mut State) -> Result<TakenNow, Throttle> {
        match state.ledger.take(current_core(), clock::now) {
            Ok(taken) => Ok(TakenNow { taken, cold_since: None }),
            Err(NoSlot::MayOpen) => self.open(state),
            Err(NoSlot::AtMaximum) => Err(Throttle::MaximumInstances),
        }
    }

    /// Adds an instance for an invocation that found every slot taken.
    fn open(self: &Arc<Self>, state: &mut State) -> Result<TakenNow, Throttle> {
        let (core, now) = (current_core(), clock::now());
        let wait = state.pace.wait(now);
        if !wait.is_zero() {
            self.come_back(state, wait);
            return Err(Throttle::Pace);
        }
        let before = self.inputs(state);
        let instance = self.resources.new_instance(self.policy.memory)?;
        state.pace.added(now);
        state.ledger.open(instance, Vec::new(), core, now);
        self.meter().counts.cold();
        let taken = state.ledger.take(core, || now).map_err(|_| Throttle::MaximumInstances)?;
        self.note(state, Reason::EverySlotTaken, 1, before);
        Ok(TakenNow { taken, cold_since: Some(now) })
    }

    /// Arranges that the wait queue is served when the pace allows the next instance.
    fn come_back(self: &Arc<Self>, state: &mut State, wait: Duration) {
        if !std::mem::replace(&mut state.is_awaited, true) {
            let pool = self.clone();
            self.resources.machinery().compute().spawn(async move {
                tokio::time::sleep(wait).await;
                pool.state.lock().is_awaited = false;
                pool.serve_queue();
            });
        }
    }

    fn inputs(&self, state: &State) -> Inputs {
        Inputs {
            instances: state.ledger.instances(),
            in_flight: state.ledger.in_flight(),
            waiting: state.queue.len(),
            quota_reserved_mb: self.resources.quota().reserved_mb(),
            guest_memory_bytes: self.resources.memory().used_bytes(),
        }
    }

    /// Logs a scaling decision that has been carried out on `state`.
    fn note(&self, state: &State, reason: Reason, count: usize, before: Inputs) {
        if count > 0 {
            let (revision, states) = (self.template.revision(), [before, self.inputs(state)]);
            self.app().scaling.note(clock::now_ms(), revision, reason, count as u64, states);
        }
    }

    /// Retires instances beyond the always-ready ones that have been idle for long enough.
    pub fn retire_idle(&self, now: Instant) {
        let mut state = self.state.lock();
        let closed =
            self.close(&mut state, Reason::Idle, |ledger| ledger.close_idle(self.policy.idle_timeout, now));
        drop(state);
        self.drop_closed(closed);
    }

    /// Retires one idle instance beyond the always-ready ones (any idle one when draining), because other pools need its memory.
    /// Returns what comes free, if there was one.
    pub fn yield_one_idle(&self) -> Option<Freed> {
        let closed = {
            let mut state = self.state.lock();
            let draining = state.draining;
            self.close(&mut state, Reason::RoomForOthers, |ledger| {
                ledger.close_some(1, draining, clock::now())
            })
        };
        let held_bytes = closed.first()?.0.memory.held_bytes();
        if held_bytes <= limits::INLINE_DROP_BYTES_MAX || is_compute() {
            // Dropped here and now, because the caller needs the memory.
            drop(closed);
            return Some(Freed::default());
        }
        self.drop_closed(closed);
        Some(Freed { class_mb: self.policy.memory.megabytes(), bytes: held_bytes })
    }

    /// Takes nothing new from now on; what is in flight or waits is served to its end.
    pub fn drain(&self) {
        let closed = {
            let mut state = self.state.lock();
            state.draining = true;
            if state.queue.is_empty() { self.close_all(&mut state) } else { Vec::new() }
        };
        self.drop_closed(closed);
    }

    /// Adds what its instances have used since the last call to the stored usage.
    pub fn publish_usage(&self) {
        let used = self.state.lock().ledger.take_used(clock::now());
        self.resources.usage().note(self.template.capabilities().app(), self.group(), used);
    }

    fn close_all(&self, state: &mut State) -> Vec<Closed> {
        self.close(state, Reason::RevisionEnded, |ledger| ledger.close_some(usize::MAX, true, clock::now()))
    }

    fn close(
        &self,
        state: &mut State,
        reason: Reason,
        choose: impl FnOnce(&mut PoolLedger) -> Vec<Closed>,
    ) -> Vec<Closed> {
        let before = self.inputs(state);
        let closed = choose(&mut state.ledger);
        self.note(state, reason, closed.len(), before);
        closed
    }

    /// Drops closed instances on the compute threads: giving back gigabytes takes the kernel many
    /// milliseconds, which no event loop and not the accepting thread should spend.
    fn drop_closed(&self, closed: Vec<Closed>) {
        if !closed.is_empty() {
            self.resources.machinery().compute().spawn(async move { drop(closed) });
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.publish_usage();
    }
}

/// An instance that was closed, with its idle workers.
type Closed = (Arc<Instance>, Vec<Box<Worker>>);
