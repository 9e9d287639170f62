//! Counts answers and errors; tallies of several threads and seconds add up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::client::Failure;
use crate::plan::{Mode, Plan, TIMEOUT_MAX};
use crate::report::{Errors, Latency, Report, Snapshot, quantile};
use crate::response::Answer;
use crate::schedule::{Behind, Schedule};

/// Most outcomes that are counted separately. wfn has about ten.
const OUTCOMES_MAX: usize = 32;
/// The name under which the others are counted.
const OTHER_OUTCOME: &str = "other";
/// Digits of a latency that are kept exactly.
const SIGNIFICANT_DIGITS: u8 = 3;

/// What was counted so far.
#[derive(Debug)]
pub(crate) struct Tally {
    /// In microseconds; its length is the number of answers.
    pub latencies: Histogram<u64>,
    pub late: u64,
    pub statuses: BTreeMap<u16, u64>,
    pub outcomes: BTreeMap<String, u64>,
    pub errors: Errors,
    pub bytes: u64,
    /// When the last answer ended, counted from the start of the run.
    pub last: Duration,
}

impl Tally {
    pub fn new() -> Result<Self> {
        Ok(Self {
            latencies: Histogram::new_with_max(TIMEOUT_MAX.as_micros() as u64, SIGNIFICANT_DIGITS)?,
            late: 0,
            statuses: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            errors: Errors::default(),
            bytes: 0,
            last: Duration::ZERO,
        })
    }

    /// Counts an answer that ended at `at` of a run that sends for `duration`.
    pub fn note_answer(&mut self, answer: Answer, latency: Duration, at: Duration, duration: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.late += u64::from(at > duration);
        *self.statuses.entry(answer.status).or_default() += 1;
        if let Some(outcome) = answer.outcome {
            self.note_outcome(outcome, 1);
        }
        self.bytes += answer.bytes;
        self.last = self.last.max(at);
    }

    /// Counts a request without an answer.
    pub fn note_failure(&mut self, failure: Failure) {
        *match failure {
            Failure::Connect => &mut self.errors.connect,
            Failure::Timeout => &mut self.errors.timeout,
            Failure::Closed => &mut self.errors.closed,
            Failure::Malformed => &mut self.errors.malformed,
        } += 1;
    }

    /// Adds what another tally counted.
    pub fn add(&mut self, other: Self) -> Result<()> {
        self.latencies.add(&other.latencies)?;
        self.late += other.late;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (outcome, count) in other.outcomes {
            self.note_outcome(outcome, count);
        }
        let Errors { connect, timeout, closed, malformed } = other.errors;
        self.errors.connect += connect;
        self.errors.timeout += timeout;
        self.errors.closed += closed;
        self.errors.malformed += malformed;
        self.bytes += other.bytes;
        self.last = self.last.max(other.last);
        Ok(())
    }

    /// A snapshot of it, for the report of progress.
    pub fn snapshot(&self, from: Duration, until: Duration) -> Snapshot {
        Snapshot {
            from,
            until,
            requests: self.latencies.len(),
            errors: self.errors.total(),
            p50: quantile(&self.latencies, 0.5),
            p99: quantile(&self.latencies, 0.99),
        }
    }

    /// The report of a run of `plan` in which it is all that was counted.
    pub fn report(self, plan: &Plan, timeline: Vec<Snapshot>, cpu: Option<Duration>) -> Report {
        let requests = self.latencies.len();
        let failed = self.errors.total();
        let duration = match plan.limit {
            Some(limit) if limit == requests => self.last.min(plan.duration),
            _ => plan.duration,
        };
        let Behind { unsent, lag } = match plan.mode {
            Mode::Closed { .. } => Behind::default(),
            Mode::Open { per_second, .. } => {
                // A request that failed was replaced by another one.
                let allowed = plan.limit.unwrap_or(u64::MAX).saturating_add(failed);
                Schedule { per_second }.behind(plan.duration, requests + failed, allowed)
            }
        };
        Report {
            requests,
            late: self.late,
            statuses: self.statuses,
            outcomes: self.outcomes,
            errors: self.errors,
            duration,
            per_second: (requests - self.late) as f64 / duration.as_secs_f64(),
            latency: Latency::of(&self.latencies),
            bytes: self.bytes,
            timeline,
            unsent,
            lag,
            cpu,
        }
    }

    fn note_outcome(&mut self, outcome: String, count: u64) {
        let is_known = self.outcomes.contains_key(&outcome) || self.outcomes.len() < OUTCOMES_MAX;
        let outcome = if is_known { outcome } else { OTHER_OUTCOME.to_owned() };
        *self.outcomes.entry(outcome).or_default() += count;
    }
}

/// Locks the tally of a thread. If a thread has panicked, its tally is still complete.
pub(crate) fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(status: u16, outcome: Option<String>) -> Answer {
        Answer { status, outcome, is_reusable: true, bytes: 10 }
    }

    #[test]
    fn outcomes_are_bounded() {
        let mut tally = Tally::new().unwrap();
        for number in 0..100 {
            tally.note_answer(answer(200, Some(format!("outcome-{number}"))), SECOND, SECOND, SECOND);
        }
        assert_eq!(tally.outcomes.len(), OUTCOMES_MAX + 1);
        assert_eq!(tally.outcomes[OTHER_OUTCOME], 100 - OUTCOMES_MAX as u64);
        assert_eq!(tally.outcomes.values().sum::<u64>(), 100);
    }

    #[test]
    fn latencies_keep_three_digits_up_to_an_hour() {
        let mut tally = Tally::new().unwrap();
        for latency in [Duration::from_micros(1_234), Duration::from_secs(1_000), 2 * TIMEOUT_MAX] {
            tally.note_answer(answer(200, None), latency, SECOND, SECOND);
        }
        let near = |share, expected: Duration| {
            let found = quantile(&tally.latencies, share).as_secs_f64();
            assert!((found / expected.as_secs_f64() - 1.0).abs() < 0.001, "{found} for {expected:?}");
        };
        near(0.3, Duration::from_micros(1_234));
        near(0.6, Duration::from_secs(1_000));
        near(1.0, TIMEOUT_MAX);
    }

    fn report(ends_ms: &[u64]) -> Report {
        let mut from = Duration::ZERO;
        let pieces = ends_ms.iter().map(|end_ms| {
            let until = Duration::from_millis(*end_ms);
            let piece = Tally::new().unwrap().snapshot(from, until);
            from = until;
            piece
        });
        Report {
            requests: 0,
            late: 0,
            statuses: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            errors: Errors::default(),
            duration: Duration::ZERO,
            per_second: 0.0,
            timeline: pieces.collect(),
            latency: Latency::of(&Tally::new().unwrap().latencies),
            bytes: 0,
            unsent: 0,
            lag: Duration::ZERO,
            cpu: None,
        }
    }

    #[test]
    fn what_is_no_second_is_not_compared_with_seconds() {
        let ends = |ends_ms: &[u64]| -> Vec<u128> {
            report(ends_ms).whole_seconds().map(|piece| piece.until.as_millis()).collect()
        };
        assert_eq!(ends(&[1_000, 2_001, 3_000, 3_004]), [1_000, 2_001, 3_000]);
        assert_eq!(ends(&[1_200, 2_000, 2_700]), [1_200, 2_000]);
        assert_eq!(ends(&[640]), [640], "all there is");
        assert!(ends(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(
            answers in prop::collection::vec((100u16..600, 0u64..5_000_000, 0u64..2_000, "[ab]?", 0usize..3), 0..60),
        ) {
            let mut whole = Tally::new().unwrap();
            let mut parts = [Tally::new().unwrap(), Tally::new().unwrap(), Tally::new().unwrap()];
            for (status, latency_us, at_ms, outcome, part) in answers {
                for tally in [&mut whole, &mut parts[part]] {
                    let outcome = Some(outcome.clone()).filter(|outcome| !outcome.is_empty());
                    let at = Duration::from_millis(at_ms);
                    tally.note_answer(answer(status, outcome), Duration::from_micros(latency_us), at, SECOND);
                    let failures = [Failure::Connect, Failure::Timeout, Failure::Closed, Failure::Malformed];
                    tally.note_failure(failures[usize::from(status % 4)]);
                }
            }
            let mut sum = Tally::new().unwrap();
            for part in parts {
                sum.add(part).unwrap();
            }
            prop_assert_eq!(sum.latencies, whole.latencies);
            prop_assert_eq!((sum.statuses, sum.outcomes), (whole.statuses, whole.outcomes));
            prop_assert_eq!((sum.errors, sum.bytes, sum.late), (whole.errors, whole.bytes, whole.late));
            prop_assert_eq!(sum.last, whole.last);
        }
    }
}
