//! The instances and the waiting line of one scale group of one revision.
//!
//! `take` is the whole way of an invocation to its slot: a free slot is taken, or an instance is added
//! within maximum and quota, or the invocation stands in the line. A [`Slot`] gives itself back when it is
//! dropped, and serves the line with it.

pub mod ledger;
pub mod quota;
pub mod resources;
pub mod slot;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::app::manifest::{Isolation, ScalePolicy};
use crate::event_loop::current_core;
use crate::instance::Instance;
use crate::instance::sandbox::start_timed_out;
use crate::instance::template::Template;
use crate::instance::worker::Worker;
use crate::invocation::{Fault, Throttle};
use crate::limits;
use crate::meter::counts::Counts;
use crate::meter::log::LogStream;
use crate::pool::ledger::{Bounds, Ledger, NoSlot};
use crate::pool::resources::Resources;
use crate::pool::slot::{Slot, TakenNow};

/// The pool of one scale group of one revision.
pub struct Pool {
    template: Template,
    policy: ScalePolicy,
    resources: Arc<Resources>,
    counts: Arc<Counts>,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger<Arc<Instance>, Box<Worker>>,
    line: VecDeque<oneshot::Sender<Slot>>,
    draining: bool,
}

/// A place in the line, unless that is full.
struct Waiting {
    throttle: Throttle,
    slot: Option<oneshot::Receiver<Slot>>,
}

/// Why an invocation got no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The bound that refused it.
    Throttled(Throttle),
    /// The pool takes nothing new: ask the route again.
    Draining,
}

/// What a pool shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolView {
    /// Instances that exist.
    pub instances: usize,
    /// The most that existed at once.
    pub instances_peak: usize,
    /// Slots taken.
    pub in_flight: usize,
    /// Invocations in the line.
    pub waiting: usize,
    /// Bytes of linear memory of all its instances.
    pub memory_bytes: u64,
}

impl Pool {
    /// A pool without instances. It is known to the host's resources from now on.
    pub fn new(template: Template, resources: Arc<Resources>, counts: Arc<Counts>) -> Arc<Self> {
        let policy = *template.policy();
        let ledger = Ledger::new(Bounds {
            concurrency: policy.concurrency,
            always_ready: policy.always_ready,
            max_instances: policy.max_instances,
        });
        let state = Mutex::new(State { ledger, line: VecDeque::new(), draining: false });
        let pool = Arc::new(Self { template, policy, resources: resources.clone(), counts, state });
        resources.register(&pool);
        pool
    }

    /// What this pool goes by.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// The template its workers are made from.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The counts of its app.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The host's shared resources.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The present numbers.
    pub fn view(&self) -> PoolView {
        let state = self.state.lock();
        PoolView {
            instances: state.ledger.instances(),
            instances_peak: state.ledger.instances_peak(),
            in_flight: state.ledger.in_flight(),
            waiting: state.line.len(),
            memory_bytes: state.ledger.live().map(|instance| instance.memory.used_bytes()).sum(),
        }
    }

    /// Takes a slot, waiting in the line if every one is taken.
    pub async fn take(self: Arc<Self>) -> Result<Slot, NotTaken> {
        let waiting = match self.take_or_join_line()? {
            Ok(taken) => return Ok(Slot::new(self, taken)),
            Err(waiting) => waiting,
        };
        let slot = waiting.slot.ok_or(NotTaken::Throttled(waiting.throttle))?;
        match tokio::time::timeout(limits::LINE_WAIT_MAX, slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(NotTaken::Throttled(waiting.throttle)),
        }
    }

    fn take_or_join_line(self: &Arc<Self>) -> Result<Result<TakenNow, Waiting>, NotTaken> {
        let mut state = self.state.lock();
        if state.draining {
            return Err(NotTaken::Draining);
        }
        let throttle = match self.take_now(&mut state) {
            Ok(taken) => return Ok(Ok(taken)),
            Err(Throttle::MaximumInstances) => Throttle::MaximumInstances,
            Err(_) => {
                // Idle instances of others make room; their locks are taken without holding ours.
                drop(state);
                self.resources.make_room(self);
                state = self.state.lock();
                match self.take_now(&mut state) {
                    Ok(taken) => return Ok(Ok(taken)),
                    Err(throttle) => throttle,
                }
            }
        };
        Ok(Err(Waiting { throttle, slot: state.join_line() }))
    }

    fn take_now(&self, state: &mut State) -> Result<TakenNow, Throttle> {
        let core = current_core();
        match state.ledger.take(core) {
            Ok(taken) => Ok(TakenNow { taken, cold_since: None }),
            Err(NoSlot::AtMaximum) => Err(Throttle::MaximumInstances),
            Err(NoSlot::MayOpen) => {
                let now = Instant::now();
                let instance = self.resources.new_instance(self.policy.memory)?;
                state.ledger.open(instance, Vec::new(), core, now);
                self.counts.cold();
                let taken = state.ledger.take(core).map_err(|_| Throttle::MaximumInstances)?;
                Ok(TakenNow { taken, cold_since: Some(now) })
            }
        }
    }

    /// Makes the always-ready instances, or, if there are none, tries whether the guest starts at all.
    pub async fn prepare(self: &Arc<Self>) -> Result<(), Fault> {
        if self.policy.always_ready == 0 {
            // Without room in the quota the trial is left out: the first invocation will tell.
            if let Ok(instance) = self.resources.new_instance(self.policy.memory) {
                self.start_within(&instance).await?;
            }
            return Ok(());
        }
        self.fill_always_ready().await
    }

    /// Makes the always-ready instances that are missing, as far as the quota has room now; what does not
    /// fit yet is made when a later call finds room.
    pub async fn fill_always_ready(self: &Arc<Self>) -> Result<(), Fault> {
        while self.lacks_always_ready() {
            let decided = Instant::now();
            let mut instance = self.resources.new_instance(self.policy.memory);
            if instance.is_err() {
                self.resources.make_room(self);
                instance = self.resources.new_instance(self.policy.memory);
            }
            let Ok(instance) = instance else { return Ok(()) };
            let worker = self.start_within(&instance).await?;
            self.counts.cold_start(decided.elapsed());
            self.open_always_ready(instance, worker);
            // Others get a turn between two instances.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn open_always_ready(&self, instance: Arc<Instance>, worker: Option<Box<Worker>>) {
        let mut state = self.state.lock();
        // Demand may have opened the missing one meanwhile; then this one is surplus.
        if !state.draining && state.ledger.lacks_always_ready() {
            let core = state.ledger.instances() % self.resources.cores();
            state.ledger.open(instance, worker.into_iter().collect(), core, Instant::now());
        }
    }

    fn lacks_always_ready(&self) -> bool {
        let state = self.state.lock();
        !state.draining && state.ledger.lacks_always_ready()
    }

    /// Makes a worker ahead: for a slot, or one that stays with `instance`.
    async fn start_within(&self, instance: &Arc<Instance>) -> Result<Option<Box<Worker>>, Fault> {
        self.resources.pulse().beat();
        let deadline = Instant::now() + limits::START_TIMEOUT;
        let start = async {
            if self.template.is_shared() {
                let (template, resources) = (&self.template, &self.resources);
                instance.shared.stock(instance, template, resources, deadline).await.map(|()| None)
            } else {
                self.template.start(instance, deadline).await.map(Some)
            }
        };
        let started = tokio::time::timeout_at(deadline.into(), start).await;
        started.unwrap_or_else(|_| Err(start_timed_out(limits::START_TIMEOUT)))
    }

    /// Retires instances beyond the always-ready ones that have been idle for long enough.
    pub fn retire_idle(&self, now: Instant) {
        let closed = self.state.lock().ledger.close_idle(self.policy.idle_timeout, now);
        self.drop_closed(closed);
    }

    /// Retires one idle instance beyond the always-ready ones (any idle one when draining), because
    /// others need the room; says whether there was one.
    pub fn yield_one_idle(&self) -> bool {
        let closed = {
            let mut state = self.state.lock();
            let draining = state.draining;
            state.ledger.close_some(1, draining)
        };
        // Here and now: whoever asks needs the room.
        !closed.is_empty()
    }

    /// Takes nothing new from now on; what is in flight or in the line is served to its end.
    pub fn drain(&self) {
        let closed = {
            let mut state = self.state.lock();
            state.draining = true;
            if state.line.is_empty() { state.ledger.close_some(usize::MAX, true) } else { Vec::new() }
        };
        self.drop_closed(closed);
    }

    /// Hands free slots to whoever waits; called when room may have come from elsewhere.
    pub fn serve_line(self: &Arc<Self>) {
        // A slot that nobody took is given back here, after the lock: giving back takes the lock, too.
        let mut surplus = None;
        while surplus.is_none() {
            let mut state = self.state.lock();
            if state.line.is_empty() {
                return;
            }
            let Ok(taken) = self.take_now(&mut state) else { return };
            surplus = state.hand_over(Slot::new(self.clone(), taken));
        }
    }

    fn give_back(self: &Arc<Self>, number: usize, worker: Option<Box<Worker>>) {
        let core = current_core();
        let is_shared = self.template.is_shared();
        let wants_stock = worker.is_none() && self.wants_stock(number);
        let (closed, line_waits, restock) = {
            let mut state = self.state.lock();
            state.ledger.give_back(number, worker, core, Instant::now());
            let line_waits = !state.line.is_empty();
            let is_last = state.draining && !line_waits;
            let closed = if is_last { state.ledger.close_some(usize::MAX, true) } else { Vec::new() };
            let restock = if wants_stock { state.ledger.instance(number).cloned() } else { None };
            let restock = restock.filter(|instance| !is_shared || instance.shared.is_empty());
            (closed, line_waits, restock)
        };
        self.drop_closed(closed);
        if let Some(instance) = restock {
            self.restock(number, instance);
        }
        if line_waits {
            self.serve_line();
        }
    }

    /// A used-up worker is replaced ahead of the next invocation where one must not wait for it.
    fn wants_stock(&self, number: usize) -> bool {
        self.policy.isolation == Isolation::Fresh || number < self.policy.always_ready as usize
    }

    /// Makes a worker for `instance` on this core, after what this thread is doing now.
    fn restock(self: &Arc<Self>, number: usize, instance: Arc<Instance>) {
        let Ok(here) = Handle::try_current() else { return };
        let pool = self.clone();
        here.spawn(async move {
            match pool.start_within(&instance).await {
                Ok(None) => {}
                Ok(Some(worker)) => {
                    let refused = pool.state.lock().ledger.stock(number, &instance, worker, current_core());
                    // The instance was retired meanwhile or made a worker of its own: this one is surplus.
                    drop(refused);
                }
                Err(error) => {
                    let text = format!("replace a used worker: {}", error.detail);
                    pool.template.log().push(LogStream::Host, None, pool.template.revision(), text);
                }
            }
        });
    }

    /// Drops closed instances on the compute threads: giving back gigabytes takes the kernel many
    /// milliseconds, which no event loop and not the accepting thread should spend.
    fn drop_closed(&self, closed: Vec<Closed>) {
        if !closed.is_empty() {
            let resources = self.resources.clone();
            self.resources.compute().spawn(async move {
                drop(closed);
                resources.room_came_free();
            });
        }
    }
}

/// An instance that was closed, with its idle workers.
type Closed = (Arc<Instance>, Vec<Box<Worker>>);

impl State {
    /// Gives `slot` to the first in the line who still waits; hands it back if nobody does.
    fn hand_over(&mut self, mut slot: Slot) -> Option<Slot> {
        while let Some(waiter) = self.line.pop_front() {
            match waiter.send(slot) {
                Ok(()) => return None,
                Err(refused) => slot = refused,
            }
        }
        Some(slot)
    }

    /// Stands in the line, unless that is full.
    fn join_line(&mut self) -> Option<oneshot::Receiver<Slot>> {
        self.line.retain(|waiter| !waiter.is_closed());
        (self.line.len() < limits::LINE_MAX).then(|| {
            let (waiter, slot) = oneshot::channel();
            self.line.push_back(waiter);
            slot
        })
    }
}
