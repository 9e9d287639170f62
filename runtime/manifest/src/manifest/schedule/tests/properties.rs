//! Tests random schedules against the plain meaning of their fields, minute by minute.

use std::collections::BTreeSet;

use jiff::ToSpan as _;
use jiff::tz::AmbiguousOffset;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 10] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "America/Havana",
];

/// The text of a field, and the values that it has to match.
#[derive(Debug, Clone)]
struct Given {
    text: String,
    values: BTreeSet<i8>,
}

fn field(min: i8, max: i8) -> impl Strategy<Value = Given> {
    let star = (1..=max).prop_map(move |step| match step {
        1 => (String::from("*"), (min..=max).collect::<Vec<_>>()),
        _ => (format!("*/{step}"), (min..=max).step_by(step as usize).collect()),
    });
    let range = (min..=max, min..=max, 1..=max).prop_map(|(a, b, step)| {
        let (first, last) = (a.min(b), a.max(b));
        (format!("{first}-{last}/{step}"), (first..=last).step_by(step as usize).collect())
    });
    let value = (min..=max).prop_map(|value| (value.to_string(), vec![value]));
    let from = (min..=max, 1..=max).prop_map(move |(first, step)| {
        (format!("{first}/{step}"), (first..=max).step_by(step as usize).collect())
    });
    let full = Just((String::from("*"), (min..=max).collect()));
    let part = prop_oneof![2 => star, 2 => range, 4 => value, 1 => from, 4 => full];
    prop::collection::vec(part, 1..4).prop_map(|parts| Given {
        text: parts.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(","),
        values: parts.into_iter().flat_map(|(_, values)| values).collect(),
    })
}

#[derive(Debug, Clone)]
struct Fields {
    minute: Given,
    hour: Given,
    day: Given,
    month: Given,
    weekday: Given,
}

impl Fields {
    fn text(&self) -> String {
        let Self { minute, hour, day, month, weekday } = self;
        format!("0 {} {} {} {} {}", minute.text, hour.text, day.text, month.text, weekday.text)
    }

    fn matches(&self, local: DateTime) -> bool {
        local.second() == 0
            && self.minute.values.contains(&local.minute())
            && self.hour.values.contains(&local.hour())
            && self.day.values.contains(&local.day())
            && self.month.values.contains(&local.month())
            && self.weekday.values.contains(&local.weekday().to_sunday_zero_offset())
    }

    /// The occurrences of the local times from `from`, for so many minutes, found by trying all of them.
    fn occurrences(&self, from: DateTime, minutes: i32, zone: &TimeZone) -> BTreeSet<i64> {
        let is_every_hour = self.hour.values.len() == 24;
        let mut found = BTreeSet::new();
        for minute in 0..minutes {
            let local = from + minute.minutes();
            if !self.matches(local) {
                continue;
            }
            match zone.to_ambiguous_timestamp(local).offset() {
                AmbiguousOffset::Unambiguous { offset } => {
                    found.insert(offset.to_timestamp(local).unwrap().as_millisecond());
                }
                AmbiguousOffset::Fold { before, after } => {
                    found.insert(before.to_timestamp(local).unwrap().as_millisecond());
                    if is_every_hour || self.minute.text.starts_with('*') {
                        found.insert(after.to_timestamp(local).unwrap().as_millisecond());
                    }
                }
                AmbiguousOffset::Gap { after, .. } if !is_every_hour => {
                    // Read with the later offset, the time lies before the change that leaves it out.
                    let before = after.to_timestamp(local).unwrap();
                    found.insert(zone.following(before).next().unwrap().timestamp().as_millisecond());
                }
                AmbiguousOffset::Gap { .. } => {}
            }
        }
        found
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    let any_day = |max| Just(Given { text: "*".into(), values: (0..=max).collect() });
    let day = prop_oneof![3 => any_day(31), 1 => field(1, 31)];
    let month = prop_oneof![3 => any_day(12), 1 => field(1, 12)];
    let weekday = prop_oneof![3 => any_day(6), 1 => field(0, 6)];
    (field(0, 59), field(0, 23), day, month, weekday).prop_map(|(minute, hour, day, month, weekday)| Fields {
        minute,
        hour,
        day,
        month,
        weekday,
    })
}

/// A moment from 1990 to 2060, half of them within two days of a change of clocks.
fn moment(zone: &TimeZone, random: i64, near: bool) -> i64 {
    let start = Timestamp::from_second(631_152_000 + random % (70 * 365 * 86_400)).unwrap();
    let change = zone.following(start).next().filter(|_| near);
    let moment = change
        .map_or(start, |change| change.timestamp() - SignedDuration::from_secs(random % 172_800 - 3_600));
    moment.as_millisecond() + random % 1_000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn next_is_what_going_through_every_minute_finds(
        fields in fields(), zone in prop::sample::select(&ZONES), random in 0..i64::MAX, near: bool,
    ) {
        let Ok(schedule) = Schedule::parse(&fields.text(), zone) else {
            prop_assert!(fields.day.values.first() >= Some(&30), "only days that no month has are refused");
            return Ok(());
        };
        let after = moment(&schedule.zone, random, near);
        let local = schedule.zone.to_datetime(Timestamp::from_millisecond(after).unwrap());
        // Two days before, for times that a change of clocks moves to after the moment.
        let from = local.date().to_datetime(jiff::civil::Time::midnight()) - 2.days();
        let expected = fields.occurrences(from, 7 * 1_440, &schedule.zone);
        let end = after + 3 * 86_400_000;
        let found: Vec<_> = std::iter::successors(schedule.next_after(after), |ms| schedule.next_after(*ms))
            .take_while(|ms| *ms <= end)
            .collect();
        let expected: Vec<_> = expected.into_iter().filter(|ms| *ms > after && *ms <= end).collect();
        prop_assert_eq!(found, expected, "{} after {}", schedule, local);
    }

    #[test]
    fn next_is_later_and_keeps_the_order(
        fields in fields(), second in field(0, 59), zone in prop::sample::select(&ZONES), random in 0..i64::MAX,
        near: bool, apart in 0i64..200_000_000,
    ) {
        let text = fields.text().replacen('0', &second.text, 1);
        let Ok(schedule) = Schedule::parse(&text, zone) else { return Ok(()) };
        let after = moment(&schedule.zone, random, near);
        let next = schedule.next_after(after).unwrap();
        prop_assert!(next > after && next % 1_000 == 0);
        prop_assert_eq!(schedule.next_after(next - 1), Some(next), "nothing lies between");
        let between = after + apart;
        let later = schedule.next_after(between).unwrap();
        prop_assert!(later >= next);
        prop_assert_eq!(later == next, between < next);
        // Only the end matters, not where the search begins.
        let hundredth = std::iter::successors(Some(later), |ms| schedule.next_after(*ms)).take(100).last().unwrap();
        prop_assert_eq!(schedule.latest_in(next, hundredth), hundredth);
        prop_assert_eq!(schedule.latest_in(next, schedule.next_after(hundredth).unwrap() - 1), hundredth);
    }

    #[test]
    fn no_text_makes_it_fail(text in "[-*/,#?@LW0-9A-Z a-z]{0,40}", any in ".{0,60}", zone in ".{0,40}") {
        for cron in [&text, &any] {
            if let Err(why) = Schedule::parse(cron, "Europe/Berlin") {
                prop_assert!(why.len() < 1_000);
            }
        }
        prop_assert!(Schedule::parse("@daily", &zone).is_err() || !zone.is_empty());
    }
}
