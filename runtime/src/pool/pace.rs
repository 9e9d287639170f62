//! Limits how fast a group may grow: a burst at once, then a number of instances per second (SPEC 2.9).
//!
//! Always-ready instances are not limited, because the manifest promises them.

use std::time::{Duration, Instant};

use crate::manifest::ScaleOut;

/// Counts the instances a group adds against its burst, which fills up again at the rate.
#[derive(Debug)]
pub struct Pace {
    policy: ScaleOut,
    /// When the burst is full again: each added instance delays it by one interval. `None`: it is full.
    whole_at: Option<Instant>,
}

impl Pace {
    /// Makes a pace with a full burst.
    pub fn new(policy: ScaleOut) -> Self {
        Self { policy, whole_at: None }
    }

    /// Returns how long to wait, from `now` on, until the next instance may be added.
    pub fn wait(&self, now: Instant) -> Duration {
        let missing = self.whole_at.map_or(Duration::ZERO, |whole| whole.saturating_duration_since(now));
        missing.saturating_sub(self.interval() * (self.policy.burst - 1))
    }

    /// Notes that an instance was added.
    pub fn added(&mut self, now: Instant) {
        let whole_at = self.whole_at.map_or(now, |whole| whole.max(now));
        self.whole_at = Some(whole_at + self.interval());
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.policy.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_comes_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(ScaleOut { burst: 3, per_second: 10 });
        for _ in 0..3 {
            assert_eq!(pace.wait(start), Duration::ZERO);
            pace.added(start);
        }
        assert_eq!(pace.wait(start), Duration::from_millis(100));
        let later = start + Duration::from_millis(100);
        assert_eq!(pace.wait(later), Duration::ZERO);
        pace.added(later);
        assert_eq!(pace.wait(later), Duration::from_millis(100));
        // Quiet time fills the burst, but no further.
        let rested = later + Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(pace.wait(rested), Duration::ZERO);
            pace.added(rested);
        }
        assert_eq!(pace.wait(rested), Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_burst_and_rate(
            burst in 1u32..20, per_second in 1u32..1_000, gaps_ms in prop::collection::vec(0u64..50, 1..200),
        ) {
            let mut pace = Pace::new(ScaleOut { burst, per_second });
            let mut now = Instant::now();
            let mut added = Vec::new();
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                let wait = pace.wait(now);
                if wait.is_zero() {
                    pace.added(now);
                    added.push(now);
                } else {
                    prop_assert!(pace.wait(now + wait).is_zero(), "what it says is enough");
                }
            }
            for (first, from) in added.iter().enumerate() {
                for (last, until) in added.iter().enumerate().skip(first) {
                    let window = until.duration_since(*from).as_secs_f64();
                    let allowed = f64::from(burst) + window * f64::from(per_second);
                    prop_assert!((last - first + 1) as f64 <= allowed + 0.01);
                }
            }
        }
    }
}
