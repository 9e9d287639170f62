//! What holds for every guest, of whatever kind: it is limited, interrupted, and its failures become faults.

use std::time::{Duration, Instant};

use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::budget::memory::RefusedBy;
use crate::event_loop::is_compute;
use crate::instance::guest_task;
use crate::instance::limiter::Limiter;
use crate::invocation::{Fault, Outcome, Throttle};
use crate::limits;
use crate::manifest::ScalePolicy;

/// Epoch ticks a guest may compute on an event loop before it has to yield: between one and two milliseconds.
const TICKS_BEFORE_YIELD: u64 = 2;
/// The same on the compute threads, where only guests that compute wait for each other: calls of a few milliseconds
/// end in one go instead of all at last.
const COMPUTE_TICKS_BEFORE_YIELD: u64 = 10;

/// Whether a guest that is interrupted has computed for as long as it may without yielding. Epochs go on while it waits
/// and while its core is with others: one that has just been woken meets its first interruption at once.
fn has_had_its_turn() -> bool {
    let ticks = if is_compute() { COMPUTE_TICKS_BEFORE_YIELD } else { TICKS_BEFORE_YIELD };
    // So many ticks end between one tick less and the whole of them.
    guest_task::has_computed_for(limits::EPOCH_TICK * (ticks as u32 - 1))
}

/// The deadline passed while the guest computed.
#[derive(Debug, thiserror::Error)]
#[error("the deadline passed while computing")]
pub struct DeadlinePassed;

/// The data of a store whose guest is limited and interrupted.
pub trait Sandboxed: Send + 'static {
    /// Charges its memory.
    fn limiter(&mut self) -> &mut Limiter;

    /// Whether the guest, which computes since an epoch tick at least, has to end.
    fn is_overdue(&self, now: Instant) -> bool;
}

/// A store for one worker.
pub fn store<T: Sandboxed>(engine: &Engine, data: T) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| data.limiter());
    store.epoch_deadline_callback(|context| {
        if context.data().is_overdue(Instant::now()) {
            return Err(DeadlinePassed.into());
        }
        if !has_had_its_turn() {
            return Ok(UpdateDeadline::Continue(1));
        }
        // Wherever it computed: from here on it is on the compute threads.
        Ok(yield_to_others(COMPUTE_TICKS_BEFORE_YIELD))
    });
    allow(&mut store);
    store
}

/// A guest has started in `store`: from now on it is interrupted when its memory grows, too. Not before: a start asks for
/// each of its memories, and the answers of a limiter that may wait take memory from the heap. Fails if what it takes from
/// the beginning was not charged with a memory, and is refused now.
pub fn started<T: Sandboxed>(store: &mut Store<T>, policy: &ScalePolicy) -> Result<(), Fault> {
    store.data_mut().limiter().started().map_err(|refused| refusal_fault(refused, policy))?;
    store.limiter_async(|data| data.limiter());
    Ok(())
}

/// What an epoch callback answers when the guest may go on: others get a turn first, then it has `ticks` more.
pub fn yield_to_others(ticks: u64) -> UpdateDeadline {
    guest_task::note_computed();
    UpdateDeadline::YieldCustom(ticks, Box::pin(tokio::task::yield_now()))
}

/// Fills up what one invocation may use; before each.
pub fn allow<T: 'static>(store: &mut Store<T>) {
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
    store.set_epoch_deadline(if is_compute() { COMPUTE_TICKS_BEFORE_YIELD } else { TICKS_BEFORE_YIELD });
}

/// Fills up what a turn of an asynchronous worker may use without yielding.
pub fn allow_turn<T: 'static>(mut store: wasmtime::StoreContextMut<'_, T>) {
    store.set_epoch_deadline(TICKS_BEFORE_YIELD);
}

/// How the start of a worker failed.
pub fn start_fault(error: &wasmtime::Error, limiter: &mut Limiter, policy: &ScalePolicy) -> Fault {
    let detail = format!("{error:?}");
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Fault { outcome: Outcome::Throttled(Throttle::WorkerCount), detail };
    }
    let outcome = match limiter.take_refusal() {
        Some(refused) => start_refused(refused, policy),
        None => Outcome::StartFailed(first_line(error)),
    };
    Fault { outcome, detail }
}

/// How the start of a worker failed that was refused what it has to have.
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

/// How a call failed that ended in `error`.
pub fn call_fault(error: &wasmtime::Error, limiter: &mut Limiter, policy: &ScalePolicy) -> Fault {
    let refused = limiter.take_refusal();
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

/// The fault of a worker that did not start in `limit`.
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
