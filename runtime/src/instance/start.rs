//! Starts workers: where a start runs, and for how long.
//!
//! A guest may compute while it is instantiated. A start that is known to be quick runs where it is asked for, as calls
//! do: that is what makes cold starts of microseconds. Every other one runs on the compute threads, and so does the rest
//! of one that turns out to compute. None runs on the control thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::event_loop::{is_compute, own_core};
use crate::instance::guest_task::{GuestTask, HostPanic};
use crate::instance::sandbox;
use crate::invocation::Fault;
use crate::limits;
use crate::pool::resources::Resources;

/// How long the latest starts of one guest took.
#[derive(Debug, Default)]
pub struct Starts {
    /// The latest start that was measured used less processor time than an event loop gives a guest. A guest of which
    /// nothing is known is not quick.
    quick: AtomicBool,
}

/// A worker that is being made: a guest that is being instantiated.
pub type Start<T> = GuestTask<Result<T, Fault>>;

impl Starts {
    /// Runs `start` to its end, or until `deadline`. Dropping the future ends the start.
    pub async fn run<T: Send + 'static>(
        &self,
        start: Start<T>,
        resources: &Arc<Resources>,
        deadline: Instant,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        let started = tokio::time::timeout_at(deadline.into(), self.run_somewhere(start, resources));
        match started.await {
            Ok(started) => started,
            Err(_) => {
                self.quick.store(false, Ordering::Relaxed);
                Err(sandbox::start_timed_out(deadline.saturating_duration_since(begun)))
            }
        }
    }

    async fn run_somewhere<T: Send + 'static>(
        &self,
        mut start: Start<T>,
        resources: &Arc<Resources>,
    ) -> Result<T, Fault> {
        let here = is_compute() || (own_core().is_some() && self.quick.load(Ordering::Relaxed));
        if here {
            let (started, time) = poll_to_end(&mut start, resources, !is_compute()).await;
            self.quick.store(time < limits::START_IN_PLACE_MAX && started.is_some(), Ordering::Relaxed);
            if let Some(started) = started {
                return started.unwrap_or_else(|panic| Err(panic.fault()));
            }
        }
        start.may_not_stop();
        // Ends with this future.
        let mut moved = JoinSet::new();
        let shared = resources.clone();
        let poll = async move { poll_to_end(&mut start, &shared, false).await };
        moved.spawn_on(poll, resources.compute());
        match moved.join_next().await {
            Some(Ok((Some(started), time))) => {
                self.quick.store(time < limits::START_IN_PLACE_MAX, Ordering::Relaxed);
                started.unwrap_or_else(|panic| Err(panic.fault()))
            }
            // The compute threads end with the host.
            _ => Err(sandbox::start_timed_out(Duration::ZERO)),
        }
    }
}

/// Polls `start` to its end, or, where it `may_move`, until it computes. Says how much processor time it used.
async fn poll_to_end<T>(
    start: &mut Start<T>,
    resources: &Resources,
    may_move: bool,
) -> (Option<Result<Result<T, Fault>, HostPanic>>, Duration) {
    let mut time = Duration::ZERO;
    let ended = poll_fn(|context| {
        let turn = start.poll(context, resources.pulse());
        time += turn.computed.time;
        match turn.result {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if may_move && turn.computed.through_tick => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let ended = ended.await;
    (ended, time)
}
