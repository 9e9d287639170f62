//! Decides when the requests of the open loop are due. Pure: times are durations since the start.

use std::time::Duration;

/// Nanoseconds of a second.
const SECOND_NS: u128 = 1_000_000_000;

/// Requests at a constant rate: the first at the start, all evenly spaced, without drift.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Requests a second, not 0.
    pub per_second: u32,
}

/// Requests that were due before the end and could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Behind {
    pub unsent: u64,
    /// How long the first of them had waited at the end.
    pub lag: Duration,
}

impl Schedule {
    /// When request `number` is due, counted from 0; rounded down to nanoseconds.
    pub fn due(self, number: u64) -> Duration {
        let nanoseconds = u128::from(number) * SECOND_NS / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many requests are due before `end`.
    pub fn due_before(self, end: Duration) -> u64 {
        let count = (end.as_nanos() * u128::from(self.per_second)).div_ceil(SECOND_NS);
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// How far behind a run was when it ended at `end`: `tried` requests were answered or failed, and at most `allowed`
    /// were to be sent.
    pub fn behind(self, end: Duration, tried: u64, allowed: u64) -> Behind {
        match self.due_before(end).min(allowed).saturating_sub(tried) {
            0 => Behind::default(),
            unsent => Behind { unsent, lag: end.saturating_sub(self.due(tried)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_second_has_as_many_as_the_rate_says() {
        let schedule = Schedule { per_second: 10 };
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(25), Duration::from_millis(2_500));
        assert_eq!(schedule.due_before(Duration::ZERO), 0);
        assert_eq!(schedule.due_before(Duration::from_nanos(1)), 1);
        assert_eq!(schedule.due_before(SECOND), 10);
        assert_eq!(schedule.due_before(SECOND + Duration::from_nanos(1)), 11);
    }

    #[test]
    fn what_was_not_sent_is_told_with_its_lag() {
        let schedule = Schedule { per_second: 10 };
        assert_eq!(schedule.behind(SECOND, 10, u64::MAX), Behind::default());
        let behind = Behind { unsent: 6, lag: Duration::from_millis(600) };
        assert_eq!(schedule.behind(SECOND, 4, u64::MAX), behind);
        // A run that has reached its limit is not behind.
        assert_eq!(schedule.behind(SECOND, 4, 4), Behind::default());
        assert_eq!(schedule.behind(SECOND, 4, 5), Behind { unsent: 1, ..behind });
    }

    proptest! {
        #[test]
        fn each_request_is_due_once_and_in_order(per_second in 1u32..20_000_000, number in 0u64..100_000_000_000) {
            let schedule = Schedule { per_second };
            let due = schedule.due(number);
            prop_assert!(due <= schedule.due(number + 1));
            // The requests due before a request are at most those with lower numbers. A nanosecond later it is due
            // itself.
            prop_assert!(schedule.due_before(due) <= number);
            prop_assert!(schedule.due_before(due + Duration::from_nanos(1)) > number);
            // No drift, however far from the start.
            let exact = number as f64 / f64::from(per_second);
            prop_assert!((due.as_secs_f64() - exact).abs() < 1e-6);
        }
    }
}
