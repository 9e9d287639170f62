//! The only way to poll a guest: a call, a start or the event loop of an asynchronous worker.
//!
//! Code that enters a guest is a [`GuestTask`]. It is no future: only [`GuestTask::poll`] can poll it. So every poll keeps the
//! guest interruptible ([`Pulse`]), measures what it computes, tells the thread what runs on it, and catches a panic of the
//! host's own code, which then ends only this guest. `tests/tidy.rs` names the files that may enter a store.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::component::engine::Pulse;
use crate::event_loop::{Stopwatch, guest_runs, while_others_go_on};
use crate::invocation::{Fault, Outcome};

thread_local! {
    /// The guest that this thread polls now.
    static POLLED: Cell<Option<Polled>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Polled {
    since: Stopwatch,
    through_tick: bool,
    may_not_stop: bool,
}

/// Something that runs a guest and returns `T` at its end.
pub struct GuestTask<T> {
    /// `None` once it is over.
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    /// Whether the guest may be expected to compute when it is polled on a compute thread.
    may_compute: bool,
    /// Whether the guest may compute for long without being interruptible.
    may_not_stop: bool,
}

/// Result of one poll of a guest.
pub struct GuestTurn<T> {
    /// What the task returned, or how the host failed while it served the guest. The task is then over.
    pub result: Poll<Result<T, HostPanic>>,
    /// What the guest computed meanwhile.
    pub computed: Computed,
}

/// What a guest did while it was polled.
#[derive(Debug, Clone, Copy)]
pub struct Computed {
    /// Processor time.
    pub time: Duration,
    /// Whether it computed through an epoch tick, that is: did not wait for anything.
    pub through_tick: bool,
}

/// The host's own code panicked while it served a guest. The store is lost.
#[derive(Debug, Clone)]
pub struct HostPanic {
    message: String,
}

impl<T> GuestTask<T> {
    /// Makes a task of `future`, which enters a guest.
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), may_compute: true, may_not_stop: false }
    }

    /// Makes a task that ends within some microseconds, unless it turns out to compute. Nothing is prepared for that.
    pub fn quick(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { may_compute: false, ..Self::new(future) }
    }

    /// Notes that from now on the guest may compute for any time without being interruptible.
    pub fn may_not_stop(&mut self) {
        self.may_not_stop = true;
    }

    /// Lets the guest run until it waits, is interrupted or ends.
    pub fn poll(&mut self, context: &mut Context<'_>, pulse: &Pulse) -> GuestTurn<T> {
        pulse.beat();
        if self.may_compute {
            guest_runs();
        }
        let since = Stopwatch::start_at(Instant::now());
        let may_not_stop = self.may_not_stop;
        let outer = POLLED.replace(Some(Polled { since, through_tick: false, may_not_stop }));
        let mut poll = || match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        };
        let polled = catch_unwind(AssertUnwindSafe(|| match may_not_stop {
            true => while_others_go_on(poll),
            false => poll(),
        }));
        let noted = POLLED.replace(outer);
        let through_tick = noted.is_some_and(|polled| polled.through_tick);
        self.may_not_stop |= noted.is_some_and(|polled| polled.may_not_stop);
        self.may_compute |= through_tick;
        let computed = Computed { time: since.elapsed(), through_tick };
        let result = match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => {
                self.future = None;
                Poll::Ready(Ok(value))
            }
            Err(panic) => Poll::Ready(Err(self.lost(panic.as_ref()))),
        };
        GuestTurn { result, computed }
    }

    /// Drops the rest of the task, which is never polled again.
    #[cold]
    fn lost(&mut self, panic: &(dyn Any + Send)) -> HostPanic {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!("the host panicked while it served a guest: {message}");
        let rest = self.future.take();
        if catch_unwind(AssertUnwindSafe(|| drop(rest))).is_err() {
            tracing::error!("the host panicked again while it dropped that guest");
        }
        HostPanic { message }
    }
}

impl HostPanic {
    /// Returns the fault of the invocations that it ended.
    pub fn fault(&self) -> Fault {
        let detail = format!("a fault of the host, not of the function: {}", self.message);
        Fault { outcome: Outcome::HostFailed, detail }
    }
}

/// Whether this thread is polling a guest. It must not poll another one meanwhile.
pub fn is_polling() -> bool {
    POLLED.get().is_some()
}

/// Notes that the polled guest has computed for long enough, and others get their turn.
pub fn note_computed() {
    POLLED.set(POLLED.get().map(|polled| Polled { through_tick: true, ..polled }));
}

/// Called when the polled guest has so much memory that one instruction may take long. It continues on a compute thread, where it
/// delays no event loop.
pub async fn goes_on_apart() {
    let polled = POLLED.get();
    if polled.is_none_or(|polled| polled.may_not_stop) {
        return;
    }
    POLLED.set(polled.map(|polled| Polled { through_tick: true, may_not_stop: true, ..polled }));
    tokio::task::yield_now().await;
}

/// Whether the polled guest has computed for `turn`. That is processor time, because other threads may have taken the core
/// meanwhile. On an event loop it counts from the first call of this function within a poll, when the guest is interrupted for the
/// first time: to ask for it at the begin of each poll would cost too much.
pub fn has_computed_for(turn: Duration) -> bool {
    let Some(polled) = POLLED.get() else { return true };
    if polled.since.is_exact() {
        return polled.since.elapsed() >= turn;
    }
    POLLED.set(Some(Polled { since: Stopwatch::start_exact(), ..polled }));
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::engine::{Engines, EpochTicker, KeptSlots};
    use std::future::poll_fn;
    use std::task::Waker;

    #[test]
    fn a_panic_of_the_host_ends_the_task_and_is_seen_once() {
        let (_ticker, pulse) = EpochTicker::start(Engines::new(KeptSlots::default()).unwrap()).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0;
        let mut task = GuestTask::<()>::new(poll_fn(move |_| {
            polls += 1;
            assert!(polls < 2, "the second poll");
            Poll::Pending
        }));
        assert!(task.poll(&mut context, &pulse).result.is_pending());
        let Poll::Ready(Err(panic)) = task.poll(&mut context, &pulse).result else { panic!("no panic") };
        assert_eq!(panic.fault().outcome, Outcome::HostFailed);
        assert!(panic.fault().detail.ends_with("the second poll"), "{}", panic.fault().detail);
        assert!(task.poll(&mut context, &pulse).result.is_pending());
        assert!(!is_polling());
    }

    /// Uses the processor for `time` on this thread.
    fn compute(time: Duration) {
        let watch = Stopwatch::start_exact();
        while watch.elapsed() < time {}
    }

    #[test]
    fn what_others_compute_on_the_core_is_not_counted() {
        let (_ticker, pulse) = EpochTicker::start(Engines::new(KeptSlots::default()).unwrap()).unwrap();
        let turn = Duration::from_millis(10);
        let mut task = GuestTask::new(poll_fn(move |_| {
            assert!(!has_computed_for(turn), "the first call begins to measure");
            std::thread::spawn(move || compute(2 * turn)).join().unwrap();
            assert!(!has_computed_for(turn), "another thread computed");
            compute(turn);
            assert!(has_computed_for(turn), "this thread computed");
            Poll::Ready(())
        }));
        let turn = task.poll(&mut Context::from_waker(Waker::noop()), &pulse);
        assert!(matches!(turn.result, Poll::Ready(Ok(()))));
    }

    #[test]
    fn what_is_polled_within_a_guest_is_measured_apart() {
        let (_ticker, pulse) = EpochTicker::start(Engines::new(KeptSlots::default()).unwrap()).unwrap();
        let inner_pulse = pulse.clone();
        let mut context = Context::from_waker(Waker::noop());
        let mut inner = GuestTask::new(poll_fn(|_| {
            note_computed();
            Poll::<()>::Pending
        }));
        let mut outer = GuestTask::new(poll_fn(move |context| {
            assert!(inner.poll(context, &inner_pulse).computed.through_tick && is_polling());
            Poll::<()>::Pending
        }));
        assert!(!outer.poll(&mut context, &pulse).computed.through_tick);
    }
}
