//! Waiting on the clock, and the counters that show how many invocations one worker had at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Response};
use wasip3::{spawn_local, wit_stream};

use crate::response::{json, text};

/// Invocations of this worker so far.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Invocations of this worker that have not returned or been cancelled.
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

/// The most there ever were of those at a time.
static IN_FLIGHT_PEAK: AtomicU64 = AtomicU64::new(0);

/// How often `/after` came to its end.
static AFTER_DONE: AtomicU64 = AtomicU64::new(0);

/// One invocation, counted from [`Self::enter`] until it is dropped.
pub(crate) struct InFlight(());

impl InFlight {
    pub(crate) fn enter() -> Self {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let now = IN_FLIGHT.fetch_add(1, Ordering::Relaxed) + 1;
        IN_FLIGHT_PEAK.fetch_max(now, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits on the host's clock; other invocations of this worker go on meanwhile.
pub(crate) async fn wait_ms(ms: u64) {
    monotonic_clock::wait_for(ms.saturating_mul(1_000_000)).await;
}

pub(crate) fn count() -> Result<Response, ErrorCode> {
    json(&format!(
        "{{\"worker_calls\":{},\"in_flight_peak\":{},\"after_done\":{}}}\n",
        CALLS.load(Ordering::Relaxed),
        IN_FLIGHT_PEAK.load(Ordering::Relaxed),
        AFTER_DONE.load(Ordering::Relaxed),
    ))
}

pub(crate) async fn wait(ms: u64) -> Result<Response, ErrorCode> {
    wait_ms(ms).await;
    count()
}

pub(crate) async fn never() -> Result<Response, ErrorCode> {
    loop {
        wait_ms(1000 * 60 * 60 * 24).await;
    }
}

pub(crate) async fn deadlock() -> Result<Response, ErrorCode> {
    // The writer lives, so the reader does not end.
    let (_writer, mut reader) = wit_stream::new::<u8>();
    reader.next().await;
    text(200, "a byte came from nowhere\n")
}

pub(crate) fn after(ms: u64) -> Result<Response, ErrorCode> {
    spawn_local(async move {
        wait_ms(ms).await;
        AFTER_DONE.fetch_add(1, Ordering::Relaxed);
        println!("worked on for {ms} ms after the response");
    });
    text(200, "answered, working on\n")
}
