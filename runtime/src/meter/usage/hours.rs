//! The hours by which usage is added up.

use serde::Serialize;

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// An hour of UTC: how many have passed since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Hour(pub u32);

impl Hour {
    /// Returns the hour of a moment in milliseconds since 1970. Usage belongs to the hour in which it is published, so at most
    /// one publish interval of it is of the hour before.
    #[must_use]
    pub fn of(unix_ms: u64) -> Self {
        Self(u32::try_from(unix_ms / HOUR_MS).unwrap_or(u32::MAX))
    }

    /// When it begins, in milliseconds since 1970.
    #[must_use]
    pub fn begins_ms(self) -> u64 {
        u64::from(self.0) * HOUR_MS
    }

    /// Returns the hour `days` days before, or the first one.
    #[must_use]
    pub fn days_before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days.saturating_mul(24)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_hour_begins_with_its_first_millisecond() {
        // 2026-11-22 08:00:00 UTC.
        let begins_ms = 1_795_334_400_000;
        let hour = Hour::of(begins_ms);
        assert_eq!(hour.begins_ms(), begins_ms);
        assert_eq!(Hour::of(begins_ms + 3_599_999), hour);
        assert_eq!(Hour::of(begins_ms + 3_600_000), Hour(hour.0 + 1));
        assert_eq!(Hour::of(begins_ms - 1), Hour(hour.0 - 1));
        assert_eq!(hour.days_before(2), Hour::of(begins_ms - 2 * 24 * 3_600_000));
        assert_eq!((Hour(40).days_before(2), Hour::of(u64::MAX)), (Hour(0), Hour(u32::MAX)));
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_its_hour(unix_ms in 0u64..10_000_000_000_000) {
            let hour = Hour::of(unix_ms);
            prop_assert!(hour.begins_ms() <= unix_ms && unix_ms < Hour(hour.0 + 1).begins_ms());
        }
    }
}
