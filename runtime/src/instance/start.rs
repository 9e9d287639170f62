//! Starts workers: chooses where a start runs, and limits its time.
//!
//! A guest may compute while it is instantiated. A start that is known to be quick runs in place; that makes cold starts of
//! microseconds possible. Every other one runs on the compute threads, and so does the rest of a start that turns out to compute.
//! None runs on the control thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::event_loop::{is_compute, own_core};
use crate::instance::guest_task::{GuestTask, HostPanic};
use crate::instance::machinery::Machinery;
use crate::instance::sandbox;
use crate::invocation::Fault;
use crate::limits;

/// How long the latest starts of one guest took.
#[derive(Debug, Default)]
pub struct Starts {
    /// Whether the latest measured start used less processor time than an event loop gives a guest. False while nothing is known
    /// of the guest.
    quick: AtomicBool,
}

/// A worker that is being made: its guest is being instantiated.
pub type Start<T> = GuestTask<Result<T, Fault>>;

impl Starts {
    /// Whether the latest start was quick enough for an event loop.
    pub fn are_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    /// Runs `start` to its end, or until `deadline`. Dropping the future ends the start.
    pub async fn run<T: Send + 'static>(
        &self,
        mut start: Start<T>,
        machinery: &Arc<Machinery>,
        deadline: Instant,
    ) -> Result<T, Fault> {
        let mut time = Duration::ZERO;
        if is_compute() || (own_core().is_some() && self.are_quick()) {
            // Nearly all quick starts end with this poll, and need neither a timer nor a task.
            let turn = poll_fn(|context| Poll::Ready(start.poll(context, machinery.pulse()))).await;
            time = turn.computed.time;
            if let Poll::Ready(ended) = turn.result {
                return self.settle(ended, time);
            }
        }
        Box::pin(self.run_on(start, time, machinery, deadline)).await
    }

    /// Runs a `start` that has used `time` so far on the compute threads.
    async fn run_on<T: Send + 'static>(
        &self,
        mut start: Start<T>,
        time: Duration,
        machinery: &Arc<Machinery>,
        deadline: Instant,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        start.may_not_stop();
        let rest = async {
            if is_compute() {
                return Some(poll_to_end(&mut start, machinery).await);
            }
            // Ends with this future.
            let mut moved = JoinSet::new();
            let shared = machinery.clone();
            moved.spawn_on(async move { poll_to_end(&mut start, &shared).await }, machinery.compute());
            moved.join_next().await?.ok()
        };
        match tokio::time::timeout_at(deadline.into(), rest).await {
            Ok(Some((ended, rest))) => self.settle(ended, time + rest),
            // The compute threads end with the host.
            Ok(None) => Err(sandbox::start_timed_out(Duration::ZERO)),
            Err(_) => {
                self.quick.store(false, Ordering::Relaxed);
                Err(sandbox::start_timed_out(deadline.saturating_duration_since(begun)))
            }
        }
    }

    /// Notes that a start has ended that used `time`.
    fn settle<T>(&self, ended: Result<Result<T, Fault>, HostPanic>, time: Duration) -> Result<T, Fault> {
        let quick = time < limits::START_IN_PLACE_MAX;
        // All cores share this, so it is written only when it changes.
        if self.quick.load(Ordering::Relaxed) != quick {
            self.quick.store(quick, Ordering::Relaxed);
        }
        ended.unwrap_or_else(|panic| Err(panic.fault()))
    }
}

/// Polls `start` to its end. Returns also the processor time that this used.
async fn poll_to_end<T>(
    start: &mut Start<T>,
    machinery: &Machinery,
) -> (Result<Result<T, Fault>, HostPanic>, Duration) {
    let mut time = Duration::ZERO;
    let ended = poll_fn(|context| {
        let turn = start.poll(context, machinery.pulse());
        time += turn.computed.time;
        turn.result
    });
    let ended = ended.await;
    (ended, time)
}
