//! Chooses which invocations are kept: all if they are few, each n-th if they are many. Each kept one says how many it stands
//! for.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// Adjusts the sampling rate, so that about a fixed number is kept each second.
#[derive(Debug, Clone)]
pub struct Sampling {
    per_second: u32,
    /// One in this many is kept now; a power of two.
    sample_rate: u32,
    second: u64,
    /// Number kept in this second since the rate last changed.
    kept: u32,
    /// How many invocations are represented by those kept in this second.
    stood_for: u64,
}

/// Lowest sampling rate: at least one invocation in 2^20 is kept.
const SAMPLE_RATE_MAX: u32 = 1 << 20;

impl Sampling {
    /// Keeps about `per_second`; a few times as many in the first second in which far more come than before.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, sample_rate: 1, second: 0, kept: 0, stood_for: 0 }
    }

    /// Returns n: from now on the caller passes each n-th invocation to [`Self::keep`].
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Tells the time. Must be called at least once a second, because for long no invocation may come that is kept.
    pub fn passed(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        // An invocation that ended just before the second did may come after it.
        if second == self.second || second + 1 == self.second {
            return;
        }
        let was_last = second == self.second + 1;
        // As many as in the second before are expected.
        let expected = if was_last { self.stood_for } else { 0 };
        let share = expected.div_ceil(u64::from(self.per_second)).max(1).next_power_of_two();
        self.sample_rate = share.min(u64::from(SAMPLE_RATE_MAX)) as u32;
        (self.second, self.kept, self.stood_for) = (second, 0, 0);
    }

    /// Keeps one that ended at `now_ms` on the host's clock. Returns how many it stands for.
    pub fn keep(&mut self, now_ms: u64) -> u32 {
        self.passed(now_ms);
        let stands_for = self.sample_rate;
        self.kept += 1;
        self.stood_for += u64::from(stands_for);
        if self.kept >= self.per_second && self.sample_rate < SAMPLE_RATE_MAX {
            // More came than expected: half as many are kept for the rest of the second.
            self.sample_rate *= 2;
            self.kept = self.per_second / 2;
        }
        stands_for
    }
}

/// A [`Sampling`] for many threads. For one that is not kept it only reads an atomic.
#[derive(Debug)]
pub struct Sampler {
    sample_rate: AtomicU32,
    sampling: Mutex<Sampling>,
}

impl Sampler {
    /// Takes about `per_second`.
    pub fn new(per_second: u32) -> Self {
        Self { sample_rate: AtomicU32::new(1), sampling: Mutex::new(Sampling::new(per_second)) }
    }

    /// Whether the invocation with this number (counted or random) is kept. `now_ms` is called only in that case.
    pub fn takes(&self, number: u64, now_ms: impl FnOnce() -> u64) -> bool {
        let takes = number.is_multiple_of(u64::from(self.sample_rate.load(Ordering::Relaxed)));
        if takes {
            self.look(|sampling| {
                sampling.keep(now_ms());
            });
        }
        takes
    }

    /// As [`Sampling::passed`].
    pub fn passed(&self, now_ms: u64) {
        self.look(|sampling| sampling.passed(now_ms));
    }

    fn look(&self, change: impl FnOnce(&mut Sampling)) {
        let mut sampling = self.sampling.lock();
        change(&mut sampling);
        self.sample_rate.store(sampling.sample_rate(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lets so many end in each second, evenly. Gives what was kept of each second: how many, and what they stand for.
    fn run(per_second: u32, rates: &[u64]) -> Vec<(u64, u64)> {
        let mut sampling = Sampling::new(per_second);
        let mut number = 0u64;
        let mut kept = vec![(0, 0); rates.len()];
        for (second, rate) in rates.iter().enumerate() {
            for one in 0..*rate {
                if number.is_multiple_of(u64::from(sampling.sample_rate())) {
                    let stands_for = sampling.keep(second as u64 * 1_000 + one * 1_000 / rate);
                    kept[second].0 += 1;
                    kept[second].1 += u64::from(stands_for);
                }
                number += 1;
            }
        }
        kept
    }

    #[test]
    fn few_are_all_kept() {
        assert_eq!(run(100, &[5, 99, 0, 60]), [(5, 5), (99, 99), (0, 0), (60, 60)]);
    }

    #[test]
    fn many_are_told_by_few() {
        let kept = run(100, &[50_000, 50_000, 50_000, 10]);
        assert!(kept[1].0 >= 50 && kept[1].0 <= 110, "{kept:?}");
        assert!(kept[1].1.abs_diff(50_000) < 1_000, "{kept:?}");
    }

    #[test]
    fn a_sampler_takes_all_of_few_and_few_of_many() {
        let sampler = Sampler::new(100);
        let mut number = 0;
        let mut taken = |second: u64, count: u64| {
            sampler.passed(second * 1_000);
            let mut takes = |one: u64| {
                number += 1;
                sampler.takes(number, || second * 1_000 + one * 1_000 / count)
            };
            (0..count).filter(|one| takes(*one)).count()
        };
        assert_eq!(taken(0, 99), 99);
        let (burst, flood) = (taken(1, 100_000), taken(2, 100_000));
        assert!((100..=600).contains(&burst) && (50..=110).contains(&flood), "{burst}, {flood}");
        // Few of those come that are still looked for: that is noticed by the clock.
        assert!(taken(3, 50) <= 1);
        assert_eq!(taken(4, 50), 50);
    }

    #[test]
    fn one_that_ended_just_before_the_second_did_brings_no_flood() {
        let mut sampling = Sampling::new(100);
        for one in 0..1_000 {
            sampling.keep(1_000 + one);
        }
        sampling.passed(2_000);
        let sample_rate = sampling.sample_rate();
        assert!(sample_rate > 1);
        sampling.keep(1_999);
        assert_eq!(sampling.sample_rate(), sample_rate);
    }

    proptest! {
        #[test]
        fn the_kept_ones_are_few_and_stand_for_all(
            rates in prop::collection::vec(prop_oneof![0u64..200, 0u64..20_000], 1..12),
        ) {
            let kept = run(100, &rates);
            for (count, _) in &kept {
                // A first second of 20,000 doubles the share eight times.
                prop_assert!(*count <= 600, "{:?}", kept);
            }
            let all: u64 = rates.iter().sum();
            let told: u64 = kept.iter().map(|(_, stands_for)| stands_for).sum();
            // Each change of the share may leave out, or count twice, as many as one stood for.
            prop_assert!(told.abs_diff(all) <= all / 4 + 1_000, "{} told, {} were", told, all);
        }
    }
}
