//! Holds what the clients of a run share: the request, when the next one is due, and the end of the run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::client::{Client, Failure};
use crate::plan::{Mode, Plan};
use crate::request::Request;
use crate::schedule::Schedule;
use crate::tally::{Tally, lock};

/// Pause of a client that could not connect, so that a server that is down is not called all the time.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// A run under way.
pub(crate) struct Course {
    request: Arc<Request>,
    start: Instant,
    /// How long requests are sent.
    duration: Duration,
    /// How many more requests may be sent, if there is a limit. A request that fails does not count.
    allowance: AtomicU64,
    /// The requests that are due, in the open loop.
    line: Option<Line>,
}

/// Requests that are due and wait for a client.
struct Line {
    schedule: Schedule,
    /// Has one permit for each of these requests. Clients get permits in the order in which they asked. Closed at the
    /// end.
    due: Semaphore,
    /// The number of the first of these requests.
    next: AtomicU64,
}

impl Course {
    /// Checks the plan, makes its request and starts the clock.
    pub fn begin(plan: &Plan) -> Result<Self> {
        plan.check()?;
        let line = match plan.mode {
            Mode::Closed { .. } => None,
            Mode::Open { per_second, .. } => Some(Line {
                schedule: Schedule { per_second },
                due: Semaphore::new(0),
                next: AtomicU64::new(0),
            }),
        };
        Ok(Self {
            request: Arc::new(Request::new(plan)?),
            start: Instant::now(),
            duration: plan.duration,
            allowance: AtomicU64::new(plan.limit.unwrap_or(u64::MAX)),
            line,
        })
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Runs one client, until the end.
    pub async fn drive(self: Arc<Self>, tally: Arc<Mutex<Tally>>) {
        let mut client = Client::new(self.request.clone());
        while self.elapsed() < self.duration && self.take_allowance() {
            let due = match &self.line {
                None => None,
                Some(line) => match line.next().await {
                    Some(due) => Some(due),
                    None => return,
                },
            };
            let connection = match client.connect().await {
                Ok(connection) => connection,
                Err(failure) => {
                    self.note_failure(&tally, failure);
                    sleep(CONNECT_PAUSE).await;
                    continue;
                }
            };
            let sent = self.elapsed();
            if sent >= self.duration {
                return;
            }
            match client.exchange(connection).await {
                Ok(answer) => {
                    let ended = self.elapsed();
                    let latency = ended.saturating_sub(due.unwrap_or(sent));
                    lock(&tally).note_answer(answer, latency, ended, self.duration);
                }
                Err(failure) => self.note_failure(&tally, failure),
            }
        }
    }

    /// Makes requests available when they are due, until the end. It runs on a thread of its own, because the timers of
    /// an event loop are not exact enough: they can be a millisecond late.
    pub fn pace(&self) {
        let Some(Line { schedule, due, .. }) = &self.line else { return };
        let mut released = 0;
        while !due.is_closed() {
            let now = self.elapsed();
            let count = schedule.due_before(now.min(self.duration));
            due.add_permits((count - released) as usize);
            released = count;
            if now >= self.duration {
                due.close();
            }
            thread::park_timeout(schedule.due(released).min(self.duration).saturating_sub(now));
        }
    }

    /// Ends [`Self::pace`] early, as soon as its thread is unparked.
    pub fn stop_pacing(&self) {
        if let Some(line) = &self.line {
            line.due.close();
        }
    }

    fn take_allowance(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Counts a failure; another request may be sent instead.
    fn note_failure(&self, tally: &Mutex<Tally>, failure: Failure) {
        lock(tally).note_failure(failure);
        self.allowance.fetch_add(1, Ordering::Relaxed);
    }
}

impl Line {
    /// Waits for the next request and returns when it was due; `None` at the end of the run.
    async fn next(&self) -> Option<Duration> {
        self.due.acquire().await.ok()?.forget();
        Some(self.schedule.due(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}
