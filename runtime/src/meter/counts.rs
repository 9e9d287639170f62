//! The counts of an app that `wfn status` shows: every invocation exactly once, across revisions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::invocation::Outcome;

/// Counters of one app since the host started.
#[derive(Default)]
pub struct Counts {
    invocations: AtomicU64,
    throttled: AtomicU64,
    failed: AtomicU64,
    cold: AtomicU64,
    cold_starts: Mutex<ColdStarts>,
    outbound: AtomicU64,
    outbound_refused: AtomicU64,
    outbound_connections: AtomicU64,
}

/// A copy of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountsNow {
    /// Invocations that got a slot, however they ended.
    pub invocations: u64,
    /// Invocations refused by a bound.
    pub throttled: u64,
    /// Invocations that got a slot and failed.
    pub failed: u64,
    /// Instances made because an invocation needed one.
    pub cold: u64,
    /// Outbound requests sent.
    pub outbound: u64,
    /// Outbound requests that the policy refused.
    pub outbound_refused: u64,
    /// Connections opened for outbound requests.
    pub outbound_connections: u64,
}

impl Counts {
    /// Counts an invocation by how it ended. Called once for each.
    pub fn ended(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Throttled(_) => &self.throttled,
            _ => &self.invocations,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if outcome.is_failure() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an instance that an invocation had to wait for.
    pub fn cold(&self) {
        self.cold.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long a cold start took: from the decision to create until ready to accept.
    pub fn cold_start(&self, took: Duration) {
        self.cold_starts.lock().note(took);
    }

    /// Counts an outbound request.
    pub fn outbound_request(&self) {
        self.outbound.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an outbound request that the policy refused.
    pub fn outbound_refusal(&self) {
        self.outbound_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection opened for outbound requests.
    pub fn outbound_connection(&self) {
        self.outbound_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The present numbers.
    pub fn now(&self) -> CountsNow {
        CountsNow {
            invocations: self.invocations.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            cold: self.cold.load(Ordering::Relaxed),
            outbound: self.outbound.load(Ordering::Relaxed),
            outbound_refused: self.outbound_refused.load(Ordering::Relaxed),
            outbound_connections: self.outbound_connections.load(Ordering::Relaxed),
        }
    }

    /// The cold start at or below which `share` (0 to 1) of the latest ones lie; `None` before the first.
    pub fn cold_start_quantile(&self, share: f64) -> Option<Duration> {
        self.cold_starts.lock().quantile(share)
    }
}

/// How many of the latest cold starts are remembered: enough for a P99 over 1,000 instances.
const COLD_STARTS_KEPT: usize = 2_048;

/// The durations of the latest cold starts.
#[derive(Default)]
struct ColdStarts {
    nanoseconds: Vec<u64>,
    next: usize,
}

impl ColdStarts {
    fn note(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if self.nanoseconds.len() < COLD_STARTS_KEPT {
            self.nanoseconds.push(took);
        } else {
            self.nanoseconds[self.next] = took;
            self.next = (self.next + 1) % COLD_STARTS_KEPT;
        }
    }

    fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_unstable();
        let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map(|nanoseconds| Duration::from_nanos(*nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_latest_cold_starts() {
        let counts = Counts::default();
        assert_eq!(counts.cold_start_quantile(0.5), None);
        for microseconds in 1..=100 {
            counts.cold_start(Duration::from_micros(microseconds));
        }
        assert_eq!(counts.cold_start_quantile(0.5), Some(Duration::from_micros(50)));
        assert_eq!(counts.cold_start_quantile(0.99), Some(Duration::from_micros(99)));
        assert_eq!(counts.cold_start_quantile(1.0), Some(Duration::from_micros(100)));
    }
}
