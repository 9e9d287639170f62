//! Moments as people say them: `10m` ago, a day, a time.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A moment in milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

impl Moment {
    /// Reads `30s`, `10m`, `2h` or `7d` as so long ago, `2026-11-22` as the beginning of that day (UTC), and
    /// `2026-11-22T10:00:00` or with `Z` or an offset as that time.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_at(text, Timestamp::now()).ok_or_else(|| {
            "use a time ago such as 10m, 2h or 7d, a day such as 2026-11-22, or a time such as 2026-11-22T10:00:00Z"
                .to_owned()
        })
    }

    /// The first moment of this month, UTC: where a bill begins.
    pub fn of_this_month() -> Self {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        Self::of(today.first_of_month().to_zoned(TimeZone::UTC).ok().map(|begin| begin.timestamp()))
            .unwrap_or(Self(0))
    }

    fn parse_at(text: &str, now: Timestamp) -> Option<Self> {
        if let Some(ago) = ago(text) {
            return Self::of(now.checked_sub(ago).ok());
        }
        let civil = || text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from)).ok();
        let utc = || civil()?.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp());
        Self::of(text.parse::<Timestamp>().ok().or_else(utc))
    }

    fn of(time: Option<Timestamp>) -> Option<Self> {
        u64::try_from(time?.as_millisecond()).ok().map(Self)
    }
}

fn ago(text: &str) -> Option<SignedDuration> {
    let seconds = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u32 = text[..text.len() - 1].parse().ok()?;
    Some(SignedDuration::from_secs(i64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_three_ways() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let moment = |text: &str| Moment::parse_at(text, now).map(|moment| crate::output::time(moment.0));
        for (text, expected) in [
            ("90s", "2026-11-22T09:58:30.000Z"),
            ("2h", "2026-11-22T08:00:00.000Z"),
            ("7d", "2026-11-15T10:00:00.000Z"),
            ("2026-11-01", "2026-11-01T00:00:00.000Z"),
            ("2026-11-01T12:30:00", "2026-11-01T12:30:00.000Z"),
            ("2026-11-01T12:30:00+01:00", "2026-11-01T11:30:00.000Z"),
        ] {
            assert_eq!(moment(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "d", "-1d", "7", "7w", "1.5h", "yesterday", "2026-13-01", "99999999999d", "é"] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }
}
