//! Does what every kind of guest needs: limits it, interrupts it, and turns its failures into faults.

use std::time::{Duration, Instant};

use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::budget::memory::RefusedBy;
use crate::event_loop::is_compute;
use crate::instance::guest_task;
use crate::instance::limiter::Limiter;
use crate::instance::written::{WroteTooMuch, has_written_much};
use crate::invocation::{Fault, Outcome, Throttle};
use crate::limits;
use crate::manifest::ScalePolicy;

/// Epoch ticks after which a guest on an event loop is interrupted for the first time; its processor time is measured from then
/// on. If it computes for another tick, it has to yield: after one to two milliseconds.
const TICKS_BEFORE_LOOK: u64 = 1;
/// Epoch ticks after which a guest has to yield on the compute threads. There only computing guests wait for each other, so
/// invocations of a few milliseconds end in one turn, and not all of them at last.
const COMPUTE_TICKS_BEFORE_YIELD: u64 = 10;

/// The deadline passed while the guest computed.
#[derive(Debug, thiserror::Error)]
#[error("the deadline passed while computing")]
pub struct DeadlinePassed;

/// The data of a store whose guest is limited and interrupted.
pub trait Sandboxed: Send + 'static {
    /// Charges its memory.
    fn limiter(&mut self) -> &mut Limiter;

    /// Whether the guest, which has computed for at least an epoch tick, has to end.
    fn is_overdue(&self, now: Instant) -> bool;
}

/// Makes the store of one worker.
pub fn store<T: Sandboxed>(engine: &Engine, data: T) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| data.limiter());
    store.epoch_deadline_callback(|context| {
        if context.data().is_overdue(Instant::now()) {
            return Err(DeadlinePassed.into());
        }
        Ok(interrupted(COMPUTE_TICKS_BEFORE_YIELD))
    });
    allow(&mut store);
    store
}

/// Called when a guest has started in `store`: from now on it is interrupted when its memory grows, too. Not before, because a
/// start asks for each of its memories, and a limiter that may wait allocates for each answer. Fails if what the guest takes from
/// the start was not charged with a memory, and is refused now.
pub fn started<T: Sandboxed>(store: &mut Store<T>, policy: &ScalePolicy) -> Result<(), Fault> {
    store.data_mut().limiter().started().map_err(|refused| refusal_fault(refused, policy))?;
    store.limiter_async(|data| data.limiter());
    Ok(())
}

/// Returns the answer of an epoch callback that lets the guest continue: at once, unless it has had its turn. Then others get
/// theirs, and it continues on the compute threads, where a turn takes `compute_ticks`. Epochs advance while a guest waits and while
/// others use its core, so one that has just been woken may be interrupted at once.
pub fn interrupted(compute_ticks: u64) -> UpdateDeadline {
    let turn = match is_compute() {
        // So many ticks take up to one tick length less.
        true => limits::EPOCH_TICK * (compute_ticks as u32 - 1),
        // Between two interruptions is one tick length, or a little less if the first one was late.
        false => limits::EPOCH_TICK * 3 / 4,
    };
    if !guest_task::has_computed_for(turn) && !has_written_much() {
        return UpdateDeadline::Continue(1);
    }
    guest_task::note_computed();
    UpdateDeadline::YieldCustom(compute_ticks, Box::pin(tokio::task::yield_now()))
}

/// Resets what one invocation may use. Called before each.
pub fn allow<T: 'static>(store: &mut Store<T>) {
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
    store.set_epoch_deadline(if is_compute() { COMPUTE_TICKS_BEFORE_YIELD } else { TICKS_BEFORE_LOOK });
}

/// Resets what a turn of an asynchronous worker may use without yielding.
pub fn allow_turn<T: 'static>(mut store: wasmtime::StoreContextMut<'_, T>) {
    store.set_epoch_deadline(TICKS_BEFORE_LOOK);
}

/// Returns the fault of a worker whose start failed with `error`.
pub fn start_fault(error: &wasmtime::Error, limiter: &mut Limiter, policy: &ScalePolicy) -> Fault {
    let detail = format!("{error:?}");
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Fault { outcome: Outcome::Throttled(Throttle::WorkerCount), detail };
    }
    let outcome = match refusal(error, limiter) {
        Some(refused) => start_refused(refused, policy),
        None => Outcome::StartFailed(first_line(error)),
    };
    Fault { outcome, detail }
}

/// Returns the fault of a worker that was refused memory which it needs to start.
pub fn refusal_fault(refused: RefusedBy, policy: &ScalePolicy) -> Fault {
    Fault {
        outcome: start_refused(refused, policy),
        detail: format!("refused by {}", bound(refused, policy)),
    }
}

fn start_refused(refused: RefusedBy, policy: &ScalePolicy) -> Outcome {
    match refused {
        RefusedBy::Host => Outcome::Throttled(Throttle::HostMemory),
        refused => Outcome::MemoryLimit(bound(refused, policy)),
    }
}

/// Returns the fault of a call that ended in `error`.
pub fn call_fault(error: &wasmtime::Error, limiter: &mut Limiter, policy: &ScalePolicy) -> Fault {
    let refused = refusal(error, limiter);
    let mut detail = format!("{error:?}");
    let outcome = if error.downcast_ref::<DeadlinePassed>().is_some() {
        Outcome::TimedOut(policy.timeout)
    } else if let Some(refused) = refused {
        let bound = bound(refused, policy);
        detail = format!("refused memory by {bound}\n{detail}");
        Outcome::MemoryLimit(bound)
    } else {
        Outcome::Trapped(first_line(error))
    };
    Fault { outcome, detail }
}

/// Returns the limit that `error` comes from, if it is about memory.
fn refusal(error: &wasmtime::Error, limiter: &mut Limiter) -> Option<RefusedBy> {
    limiter.take_refusal().or_else(|| error.downcast_ref::<WroteTooMuch>().map(|wrote| wrote.0))
}

/// Returns the fault of a worker that did not start within `limit`.
pub fn start_timed_out(limit: Duration) -> Fault {
    let detail = format!("it did not start within {} s", limit.as_secs());
    Fault { outcome: Outcome::StartFailed(detail.clone()), detail }
}

fn bound(refused: RefusedBy, policy: &ScalePolicy) -> String {
    match refused {
        RefusedBy::Class => format!("the memory class of {} MB", policy.memory.megabytes()),
        RefusedBy::Host => "the memory that all functions of this host may hold".to_owned(),
        RefusedBy::Table => format!("{} table elements", limits::TABLE_ELEMENTS_MAX),
    }
}

/// The last cause is the trap itself; what comes before says where it happened.
fn first_line(error: &wasmtime::Error) -> String {
    let root = error.root_cause().to_string();
    root.lines().next().unwrap_or("unknown").to_owned()
}
