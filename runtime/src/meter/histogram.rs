//! Counts durations, in steps of a sixteenth of each doubling, so that every quantile is known with an error of at most 6 %,
//! however many durations there were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations are counted in units of a quarter of a microsecond.
const UNIT_NANOSECONDS: u64 = 250;
/// Steps within one doubling, as a power of two.
const STEP_BITS: u32 = 4;
const STEPS: usize = 1 << STEP_BITS;
/// Doublings up to 2³⁴ units, that is 71 minutes: more than any invocation may take.
const UNITS_MAX: u64 = (1 << 34) - 1;
/// How many counters a histogram has.
const BUCKETS: usize = STEPS + 30 * STEPS;

/// A histogram that many threads add to.
#[repr(C)]
pub struct Histogram {
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// Which threads add to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Only this thread, ever, so that no atomic addition is needed.
    Alone,
    /// Any thread.
    OneOfMany,
}

impl Writer {
    /// Adds to `counter`. Returns its value before.
    pub fn add(self, counter: &AtomicU64, more: u64) -> u64 {
        match self {
            Self::OneOfMany => counter.fetch_add(more, Ordering::Relaxed),
            Self::Alone => {
                let before = counter.load(Ordering::Relaxed);
                counter.store(before.wrapping_add(more), Ordering::Relaxed);
                before
            }
        }
    }
}

/// What a histogram, or the sum of several, held at one moment.
#[derive(Clone)]
pub struct Durations {
    buckets: Box<[u64; BUCKETS]>,
    nanoseconds: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { nanoseconds: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), nanoseconds: 0 }
    }
}

impl Histogram {
    /// Counts a duration.
    pub fn note(&self, took: Duration, writer: Writer) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        writer.add(&self.buckets[bucket_of(nanoseconds)], 1);
        writer.add(&self.nanoseconds, nanoseconds);
    }

    /// Returns the sum of all durations.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// Adds what it holds to `sum`.
    pub fn add_to(&self, sum: &mut Durations) {
        for (bucket, counted) in sum.buckets.iter_mut().zip(&self.buckets) {
            *bucket += counted.load(Ordering::Relaxed);
        }
        sum.nanoseconds += self.nanoseconds.load(Ordering::Relaxed);
    }
}

impl Durations {
    /// Returns how many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all durations.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    /// Returns what was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets =
            Box::new(std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])));
        Self { buckets, nanoseconds: self.nanoseconds.saturating_sub(earlier.nanoseconds) }
    }

    /// The duration at or below which `share` (0 to 1) of them lie; `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let nanoseconds = (lower_bound(found) + lower_bound(found + 1)) * UNIT_NANOSECONDS / 2;
        Some(Duration::from_nanos(nanoseconds))
    }

    /// Returns how many took less than 64 µs, 128 µs, 256 µs and so on up to 67 s; limits are in seconds. Exact, because each
    /// limit lies between two counters.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut next = 0;
        let mut seen = 0;
        (8..=28).map(move |doublings: u32| {
            let bound = 1u64 << doublings;
            while next < BUCKETS && lower_bound(next + 1) <= bound {
                seen += self.buckets[next];
                next += 1;
            }
            (bound as f64 * UNIT_NANOSECONDS as f64 / 1e9, seen)
        })
    }
}

/// Which counter a duration belongs to.
fn bucket_of(nanoseconds: u64) -> usize {
    let units = (nanoseconds / UNIT_NANOSECONDS).min(UNITS_MAX);
    if units < STEPS as u64 {
        return units as usize;
    }
    let doubling = units.ilog2();
    let step = (units >> (doubling - STEP_BITS)) as usize & (STEPS - 1);
    (doubling - STEP_BITS + 1) as usize * STEPS + step
}

/// Returns the smallest number of units that a counter counts.
fn lower_bound(bucket: usize) -> u64 {
    let (row, step) = ((bucket / STEPS) as u32, (bucket % STEPS) as u64);
    if row == 0 { step } else { (STEPS as u64 + step) << (row - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn durations(nanoseconds: &[u64]) -> Durations {
        let histogram = Histogram::default();
        nanoseconds.iter().for_each(|one| histogram.note(Duration::from_nanos(*one), Writer::OneOfMany));
        let mut sum = Durations::default();
        histogram.add_to(&mut sum);
        sum
    }

    #[test]
    fn counters_follow_each_other_without_gap() {
        for bucket in 0..BUCKETS {
            let (from, to) = (lower_bound(bucket), lower_bound(bucket + 1));
            assert!(from < to);
            assert_eq!(bucket_of(from * UNIT_NANOSECONDS), bucket);
            assert_eq!(bucket_of(to * UNIT_NANOSECONDS - 1), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(durations(&[]).quantile(0.5), None);
        assert_eq!(durations(&[]).cumulative().map(|(_, count)| count).sum::<u64>(), 0);
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_true_ones(
            mut values in prop::collection::vec(4_000u64..60_000_000_000, 1..200), share in 0.0f64..=1.0,
        ) {
            let measured = durations(&values).quantile(share).unwrap().as_nanos() as f64;
            values.sort_unstable();
            let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
            let true_one = values[rank - 1] as f64;
            prop_assert!((measured / true_one - 1.0).abs() <= 1.0 / 16.0, "{} for {}", measured, true_one);
        }

        #[test]
        fn bounds_count_exactly(values in prop::collection::vec(0u64..100_000_000_000, 0..200)) {
            let all = durations(&values);
            prop_assert_eq!(all.count(), values.len() as u64);
            prop_assert_eq!(all.total().as_nanos() as u64, values.iter().sum::<u64>());
            for (bound_seconds, count) in all.cumulative() {
                let bound = (bound_seconds * 1e9).round() as u64;
                prop_assert_eq!(count, values.iter().filter(|value| **value < bound).count() as u64);
            }
        }

        #[test]
        fn what_came_since_is_the_difference(
            first in prop::collection::vec(0u64..1_000_000_000, 0..50),
            then in prop::collection::vec(0u64..1_000_000_000, 1..50),
        ) {
            let both: Vec<u64> = first.iter().chain(&then).copied().collect();
            let since = durations(&both).since(&durations(&first));
            prop_assert_eq!(since.quantile(0.9), durations(&then).quantile(0.9));
            prop_assert_eq!(since.total(), durations(&then).total());
        }
    }
}
