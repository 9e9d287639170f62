//! Chooses the requests that the second revision of a split takes: an exact number of every hundred, evenly spread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::manifest::values::Bounded;

/// Percentage of the HTTP requests that a second revision takes. At 0 or 100 there is no split.
pub type Percent = Bounded<1, 99>;

/// Percentage that a user asks for. At 0 the revision is in no split, at 100 it is the active one.
pub type Portion = Bounded<0, 100>;

/// The share of a second revision.
#[derive(Debug)]
pub struct TrafficShare {
    percent: Percent,
    /// Number of requests that were divided. It cannot overflow within centuries.
    divided: AtomicU64,
}

impl TrafficShare {
    /// A share that no request has been counted for yet.
    pub fn new(percent: Percent) -> Self {
        Self { percent, divided: AtomicU64::new(0) }
    }

    /// Returns the percentage.
    pub fn percent(&self) -> Percent {
        self.percent
    }

    /// Whether the next request goes to the second revision. Never waits. Concurrent calls are counted one after another.
    pub fn takes_next(&self) -> bool {
        takes(self.percent, self.divided.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether request `number` is one of `percent` in a hundred: those at which the sum of shares passes a whole number.
fn takes(percent: Percent, number: u64) -> bool {
    let (percent, number) = (u64::from(percent.get()), number % 100);
    number * percent / 100 != (number + 1) * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(percent: u32, numbers: std::ops::Range<u64>) -> u64 {
        let percent = Percent::new(percent).unwrap();
        numbers.filter(|number| takes(percent, *number)).count() as u64
    }

    #[test]
    fn the_least_and_the_most_are_one_and_ninety_nine() {
        assert_eq!((taken(1, 0..100), taken(99, 0..100)), (1, 99));
        assert_eq!((Percent::new(0), Percent::new(100)), (None, None));
    }

    #[test]
    fn requests_at_the_same_time_get_answers_of_their_own() {
        let share = TrafficShare::new(Percent::new(30).unwrap());
        let count = || (0..1_000).filter(|_| share.takes_next()).count();
        let sum: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(sum, 1_200);
    }

    proptest! {
        #[test]
        fn it_is_exact_in_every_window_of_a_hundred(percent in 1u32..100, begin in 0u64..u64::MAX - 100) {
            prop_assert_eq!(taken(percent, begin..begin + 100), u64::from(percent));
        }

        #[test]
        fn it_is_spread_evenly(percent in 1u32..100, begin in 0u64..1_000, length in 1u64..100) {
            // Every sequence has the share for its length, with an error of less than one request.
            let due = length * u64::from(percent);
            let taken = taken(percent, begin..begin + length) * 100;
            prop_assert!(taken.abs_diff(due) < 100, "{taken} hundredths of {due}");
        }
    }
}
