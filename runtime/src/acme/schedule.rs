//! Decides when a certificate is ordered: well before the old one ends, after failures ever more rarely, and never more of them than an
//! authority takes.

use std::collections::VecDeque;

/// Seconds to wait after so many failures in a row. Let's Encrypt lets a name fail five times an hour; this tries four times in the
/// first, and later once a day.
const PAUSES: [i64; 8] = [60, 300, 900, 3_600, 7_200, 14_400, 43_200, 86_400];
/// Seconds to wait at least after an authority has said that there were too many orders.
const RATE_LIMITED_PAUSE: i64 = 6 * 3_600;

/// Orders that begin within [`PACE_PERIOD`] at most. Let's Encrypt takes 300 of an account.
const ORDERS_MAX: usize = 250;
/// Three hours, in seconds.
const PACE_PERIOD: i64 = 3 * 3_600;
/// Seconds without an order of any name after an authority has said that there were too many.
const REST: i64 = 3_600;

/// Counts the orders of an account, so that there are never too many.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the latest ones began, the first one first.
    begun: VecDeque<i64>,
    rests_until: i64,
}

impl Pace {
    /// Whether one more may begin at `now`, in seconds since 1970.
    pub fn may_order(&self, now: i64) -> bool {
        let recent = self.begun.iter().rev().take_while(|begun| now - **begun < PACE_PERIOD);
        now >= self.rests_until && recent.count() < ORDERS_MAX
    }

    /// Notes that one has begun.
    pub fn begun(&mut self, now: i64) {
        self.begun.push_back(now);
        if self.begun.len() > ORDERS_MAX {
            self.begun.pop_front();
        }
    }

    /// Notes that the authority has said that there were too many.
    pub fn rest(&mut self, now: i64) {
        self.rests_until = now.saturating_add(REST);
    }
}

/// Returns when a certificate that holds from `not_before` to `not_after` is renewed, in seconds since 1970: after two thirds of that
/// time (SPEC 10.1), and up to a thirtieth of it earlier, by `share` from 0 to 1, so that not all names have their turn at once.
pub fn renewal(not_before: i64, not_after: i64, share: f64) -> i64 {
    let lifetime = not_after.saturating_sub(not_before).max(0);
    let earlier = (lifetime as f64 / 30.0 * share.clamp(0.0, 1.0)) as i64;
    not_before.saturating_add(lifetime / 3 * 2).saturating_sub(earlier)
}

/// Returns when to try again after `failures` in a row, the last one at `now`.
pub fn next_try(now: i64, failures: u32, is_rate_limited: bool, share: f64) -> i64 {
    let index = (failures.max(1) as usize - 1).min(PAUSES.len() - 1);
    let pause = if is_rate_limited { PAUSES[index].max(RATE_LIMITED_PAUSE) } else { PAUSES[index] };
    let later = (pause as f64 / 10.0 * share.clamp(0.0, 1.0)) as i64;
    now.saturating_add(pause).saturating_add(later)
}

/// Returns a point of the time in which the authority wants a certificate renewed (RFC 9773, 4.2).
pub fn within(start: i64, end: i64, share: f64) -> i64 {
    start.saturating_add((end.saturating_sub(start).max(0) as f64 * share.clamp(0.0, 1.0)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400;

    #[test]
    fn ninety_days_are_renewed_after_sixty_and_six_after_four() {
        assert_eq!(renewal(0, 90 * DAY, 0.0), 60 * DAY);
        assert_eq!(renewal(0, 90 * DAY, 1.0), 57 * DAY);
        assert_eq!(renewal(0, 6 * DAY, 0.0), 4 * DAY);
    }

    #[test]
    fn a_thousand_names_are_ordered_at_a_pace() {
        let mut pace = Pace::default();
        let (mut now, mut begun) = (0, Vec::new());
        while begun.len() < 1_000 {
            if pace.may_order(now) {
                pace.begun(now);
                begun.push(now);
            }
            now += 2;
        }
        let within = |end: i64| begun.iter().filter(|at| (end - PACE_PERIOD..end).contains(*at)).count();
        assert!(begun.iter().all(|at| within(*at) <= ORDERS_MAX));
        assert!(now < 10 * PACE_PERIOD, "{now}");
        pace.rest(now);
        assert!(!pace.may_order(now + REST - 1) && pace.may_order(now + PACE_PERIOD));
    }

    #[test]
    fn five_failures_take_more_than_an_hour() {
        let mut now = 0;
        for failures in 1..=4 {
            now = next_try(now, failures, false, 0.0);
        }
        assert!(now > 3_600, "{now}");
    }

    proptest! {
        #[test]
        fn a_renewal_is_within_the_time_and_a_try_is_later(
            begin in 0..4_000_000_000_i64, days in 0..400_i64, failures in any::<u32>(), limited: bool, share in -1.0..2.0_f64,
        ) {
            let end = begin + days * DAY;
            let at = renewal(begin, end, share);
            prop_assert!((begin..=end).contains(&at));
            let next = next_try(begin, failures, limited, share);
            prop_assert!(next >= begin + 60 && next <= begin + DAY + DAY / 10);
            prop_assert!((begin..=end).contains(&within(begin, end, share)));
        }
    }
}
