//! Holds the results of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Length of a snapshot.
pub(crate) const SNAPSHOT_PERIOD: Duration = Duration::from_secs(1);

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Requests that were answered, whatever the status.
    pub requests: u64,
    /// Answers that came after the time of the run; part of `requests`, but not of `per_second`.
    pub late: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by the value of `wfn-outcome`, of those that have one; at most 32 values, the rest are `other`.
    pub outcomes: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub errors: Errors,
    /// Time in which requests were sent: that of the plan, or until the answer that reached the limit.
    pub duration: Duration,
    /// Requests answered each second of `duration`.
    pub per_second: f64,
    /// Time from sending a request, in the open loop from when it was due, to the end of its answer.
    pub latency: Latency,
    /// Size of all answers, heads included, in bytes.
    pub bytes: u64,
    /// The run in pieces of a second.
    pub timeline: Vec<Snapshot>,
    /// Open loop: requests that were due in the time of the run and could not be sent.
    pub unsent: u64,
    /// Open loop: how long the first of the unsent had waited at the end.
    pub lag: Duration,
    /// CPU time of the generator's threads. `None` if the system does not give it.
    pub cpu: Option<Duration>,
}

impl Report {
    /// The pieces of the timeline that can be compared, because they are a second long. If the run was shorter than
    /// that, all of it.
    pub fn whole_seconds(&self) -> impl Iterator<Item = &Snapshot> {
        let is_short = !self.timeline.iter().any(Snapshot::is_whole);
        self.timeline.iter().filter(move |piece| is_short || piece.is_whole())
    }

    /// Answers with a status of this class: 2 for 200 to 299.
    pub fn of_class(&self, class: u16) -> u64 {
        self.statuses.range(class * 100..(class + 1) * 100).map(|(_, count)| count).sum()
    }
}

/// Requests without an answer, by what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Errors {
    /// No connection could be made, or its TLS failed; the request was not sent.
    pub connect: u64,
    /// The answer was not complete within the timeout.
    pub timeout: u64,
    /// The connection was reset or closed before the end of the answer.
    pub closed: u64,
    /// What came was not valid HTTP/1.1.
    pub malformed: u64,
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.connect + self.timeout + self.closed + self.malformed
    }
}

/// Latencies of all answers, to three significant digits of microseconds; those above an hour count as an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half are at most this.
    pub p50: Duration,
    /// 90 % are at most this.
    pub p90: Duration,
    /// 99 % are at most this.
    pub p99: Duration,
    /// 99.9 % are at most this.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
    /// The mean.
    pub mean: Duration,
}

impl Latency {
    /// The latencies of `histogram`, which is in microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: quantile(histogram, 0.5),
            p90: quantile(histogram, 0.9),
            p99: quantile(histogram, 0.99),
            p999: quantile(histogram, 0.999),
            max: Duration::from_micros(histogram.max()),
            mean: Duration::from_secs_f64(histogram.mean() / 1e6),
        }
    }
}

/// One piece of a run, a second long but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Its beginning, counted from the start of the run.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
    /// Requests answered in it.
    pub requests: u64,
    /// Requests that failed in it.
    pub errors: u64,
    /// Median latency of its answers; 0 without any.
    pub p50: Duration,
    /// 99 % of its answers took at most this; 0 without any.
    pub p99: Duration,
}

impl Snapshot {
    /// Whether it is a second long, or nearly so: the thread that ends it may be late, and then the next one is
    /// shorter.
    fn is_whole(&self) -> bool {
        self.until - self.from >= SNAPSHOT_PERIOD.mul_f64(0.75)
    }
}

/// The smallest latency that is not exceeded by this `share` of `histogram`.
pub(crate) fn quantile(histogram: &Histogram<u64>, share: f64) -> Duration {
    Duration::from_micros(histogram.value_at_quantile(share))
}
