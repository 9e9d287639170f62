//! Tests expressions whose moments are well known, and those that are refused.

use super::*;

/// The occurrences after `after`, as many as are expected, have to be those.
fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
    let schedule = schedule(cron, zone);
    let shown = |ms: i64| {
        let zoned = Timestamp::from_millisecond(ms).unwrap().to_zoned(schedule.zone.clone());
        zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
    };
    let occurrences = std::iter::successors(schedule.next_after(ms(after)), |ms| schedule.next_after(*ms));
    let found: Vec<_> = occurrences.take(expected.len()).map(shown).collect();
    assert_eq!(found, expected, "{cron} in {zone} after {after}");
}

#[test]
fn fields_name_the_moments_everyone_knows() {
    for (cron, after, expected) in [
        ("*/5 * * * * *", "2026-01-01T00:00:58Z", ["2026-01-01T00:01:00+00:00", "2026-01-01T00:01:05+00:00"]),
        ("* * * * * *", "2026-01-01T00:00:00Z", ["2026-01-01T00:00:01+00:00", "2026-01-01T00:00:02+00:00"]),
        ("* * * * * *", "2026-01-01T00:00:00.5Z", ["2026-01-01T00:00:01+00:00", "2026-01-01T00:00:02+00:00"]),
        ("* * * * * *", "1969-12-31T23:59:58.5Z", ["1969-12-31T23:59:59+00:00", "1970-01-01T00:00:00+00:00"]),
        ("* * * * *", "2026-01-01T00:00:00Z", ["2026-01-01T00:01:00+00:00", "2026-01-01T00:02:00+00:00"]),
        ("0 30 6 * * *", "2026-01-01T06:30:00Z", ["2026-01-02T06:30:00+00:00", "2026-01-03T06:30:00+00:00"]),
        (
            "0 30 6 * * *",
            "2026-01-01T06:29:59.999Z",
            ["2026-01-01T06:30:00+00:00", "2026-01-02T06:30:00+00:00"],
        ),
        ("30 6 * * *", "2026-12-31T07:00:00Z", ["2027-01-01T06:30:00+00:00", "2027-01-02T06:30:00+00:00"]),
        (
            "0 0 9-17/4 * * *",
            "2026-01-01T13:00:00Z",
            ["2026-01-01T17:00:00+00:00", "2026-01-02T09:00:00+00:00"],
        ),
        (
            "0 7/20 3 * * *",
            "2026-01-01T03:10:00Z",
            ["2026-01-01T03:27:00+00:00", "2026-01-01T03:47:00+00:00"],
        ),
        (
            "59 59 23 * * *",
            "2026-01-01T23:59:59Z",
            ["2026-01-02T23:59:59+00:00", "2026-01-03T23:59:59+00:00"],
        ),
        (
            "5,1,3 0 0 * * *",
            "2026-01-01T00:00:01Z",
            ["2026-01-01T00:00:03+00:00", "2026-01-01T00:00:05+00:00"],
        ),
        // Ends of months and leap days.
        ("0 0 0 31 * *", "2026-01-31T00:00:00Z", ["2026-03-31T00:00:00+00:00", "2026-05-31T00:00:00+00:00"]),
        ("0 0 0 30 * *", "2026-01-30T00:00:00Z", ["2026-03-30T00:00:00+00:00", "2026-04-30T00:00:00+00:00"]),
        ("0 0 0 29 2 *", "2026-01-01T00:00:00Z", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
        ("0 0 0 29 2 *", "2096-02-29T00:00:00Z", ["2104-02-29T00:00:00+00:00", "2108-02-29T00:00:00+00:00"]),
        (
            "0 0 0 29 2 MON",
            "2026-01-01T00:00:00Z",
            ["2044-02-29T00:00:00+00:00", "2072-02-29T00:00:00+00:00"],
        ),
        (
            "0 0 12 28-31 2 *",
            "2028-02-28T12:00:00Z",
            ["2028-02-29T12:00:00+00:00", "2029-02-28T12:00:00+00:00"],
        ),
        // Weekdays, by number and name, alone and together with the day of the month.
        ("0 0 8 * * 1-5", "2026-01-02T08:00:00Z", ["2026-01-05T08:00:00+00:00", "2026-01-06T08:00:00+00:00"]),
        (
            "0 0 8 * * mon-Fri",
            "2026-01-02T08:00:00Z",
            ["2026-01-05T08:00:00+00:00", "2026-01-06T08:00:00+00:00"],
        ),
        (
            "0 0 8 * * FRI-SUN/2",
            "2026-01-02T08:00:00Z",
            ["2026-01-04T08:00:00+00:00", "2026-01-09T08:00:00+00:00"],
        ),
        ("0 0 8 * * 0", "2026-01-01T00:00:00Z", ["2026-01-04T08:00:00+00:00", "2026-01-11T08:00:00+00:00"]),
        ("0 0 8 * * 7", "2026-01-01T00:00:00Z", ["2026-01-04T08:00:00+00:00", "2026-01-11T08:00:00+00:00"]),
        ("0 0 8 * * 7-7", "2026-01-01T00:00:00Z", ["2026-01-04T08:00:00+00:00", "2026-01-11T08:00:00+00:00"]),
        ("0 0 8 * * 7-1", "2026-01-05T08:00:00Z", ["2026-01-11T08:00:00+00:00", "2026-01-12T08:00:00+00:00"]),
        (
            "0 0 8 * * SUN-MON",
            "2026-01-05T08:00:00Z",
            ["2026-01-11T08:00:00+00:00", "2026-01-12T08:00:00+00:00"],
        ),
        (
            "0 0 0 13 * FRI",
            "2026-01-01T00:00:00Z",
            ["2026-02-13T00:00:00+00:00", "2026-03-13T00:00:00+00:00"],
        ),
        (
            "0 0 0 1-7 * MON",
            "2026-01-06T00:00:00Z",
            ["2026-02-02T00:00:00+00:00", "2026-03-02T00:00:00+00:00"],
        ),
        ("0 0 */2 * mon", "2026-01-01T00:00:00Z", ["2026-01-05T00:00:00+00:00", "2026-01-19T00:00:00+00:00"]),
        (
            "0 0 0 1 JAN,jul *",
            "2026-01-01T00:00:00Z",
            ["2026-07-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"],
        ),
        ("0 0 0 1 */5 *", "2026-01-01T00:00:00Z", ["2026-06-01T00:00:00+00:00", "2026-11-01T00:00:00+00:00"]),
        ("@hourly", "2026-01-01T00:00:00Z", ["2026-01-01T01:00:00+00:00", "2026-01-01T02:00:00+00:00"]),
        ("@daily", "2026-01-01T00:00:00Z", ["2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00"]),
        (" @Weekly ", "2026-01-01T00:00:00Z", ["2026-01-04T00:00:00+00:00", "2026-01-11T00:00:00+00:00"]),
        ("@monthly", "2026-01-01T00:00:00Z", ["2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"]),
        ("@yearly", "2026-01-01T00:00:00Z", ["2027-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00"]),
    ] {
        check(cron, "UTC", after, &expected);
    }
}

#[test]
fn local_time_without_a_change_of_clocks_is_the_zones_own() {
    check("0 0 9 * * *", "Asia/Kolkata", "2026-01-01T03:30:00Z", &["2026-01-02T09:00:00+05:30"]);
    check("0 0 * * * *", "Asia/Kolkata", "2026-01-01T03:30:00Z", &["2026-01-01T10:00:00+05:30"]);
    check("0 0 0 1 * *", "Asia/Kathmandu", "2026-01-15T00:00:00Z", &["2026-02-01T00:00:00+05:45"]);
    check("0 0 6 * * *", "america/new_york", "2026-01-01T11:00:00Z", &["2026-01-02T06:00:00-05:00"]);
    check("0 0 6 * * *", "America/New_York", "2026-07-01T00:00:00Z", &["2026-07-01T06:00:00-04:00"]);
    check("0 0 0 * * SUN", "Pacific/Auckland", "2026-01-03T10:00:00Z", &["2026-01-04T00:00:00+13:00"]);
}

#[test]
fn times_left_out_run_once_after_the_gap() {
    for (cron, zone, after, expected) in [
        (
            "0 30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "0 30 2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:59:59.5Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"],
        ),
        (
            "0 30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00", "2026-03-10T02:30:00-04:00"],
        ),
        (
            "0 15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00", "2026-10-06T02:15:00+11:00"],
        ),
        // Times before and after the gap do not change.
        (
            "59 59 1 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:59:59+01:00", "2026-03-30T01:59:59+02:00", "2026-03-31T01:59:59+02:00"],
        ),
        (
            "0 0 0 * * *",
            "Europe/London",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T00:00:00+00:00", "2026-03-30T00:00:00+01:00", "2026-03-31T00:00:00+01:00"],
        ),
        // Several skipped times are one run, together with what is due at that moment anyway.
        (
            "0 0,20,40 2 * * *",
            "Europe/Berlin",
            "2026-03-28T02:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T02:20:00+02:00"],
        ),
        (
            "0 0 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T03:00:00+02:00"],
        ),
        (
            "0 30 2,14 * * *",
            "Europe/Berlin",
            "2026-03-28T14:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T14:30:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "0 0 */2 * * *",
            "Europe/Berlin",
            "2026-03-28T23:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00", "2026-03-29T06:00:00+02:00"],
        ),
        (
            "0 */30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        // Midnight is skipped, and a whole day is.
        (
            "@daily",
            "Africa/Cairo",
            "2024-04-25T12:00:00Z",
            ["2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00", "2024-04-28T00:00:00+03:00"],
        ),
        (
            "0 0 9 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            ["2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"],
        ),
        (
            "0 0 9 30 12 *",
            "Pacific/Apia",
            "2010-12-31T00:00:00Z",
            ["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00", "2013-12-30T09:00:00+14:00"],
        ),
    ] {
        check(cron, zone, after, &expected);
    }
}

#[test]
fn times_that_come_twice_run_the_first_time() {
    for (cron, zone, after, expected) in [
        (
            "0 30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "0 30 2,14 * * *",
            "Europe/Berlin",
            "2026-10-24T14:00:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T14:30:00+01:00"],
        ),
        // Asked at the change, and while the time comes for the second time.
        (
            "0 30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T01:00:00Z",
            ["2026-10-26T02:30:00+01:00", "2026-10-27T02:30:00+01:00"],
        ),
        (
            "0 30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:59:59Z",
            ["2026-10-26T02:30:00+01:00", "2026-10-27T02:30:00+01:00"],
        ),
        (
            "0 0 3 * * *",
            "Europe/Berlin",
            "2026-10-25T01:20:00Z",
            ["2026-10-25T03:00:00+01:00", "2026-10-26T03:00:00+01:00"],
        ),
        (
            "0 0 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T02:00:00+02:00", "2026-10-26T02:00:00+01:00"],
        ),
        (
            "0 30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        (
            "0 45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
        ),
        (
            "0 0 */2 * * *",
            "Europe/Berlin",
            "2026-10-24T23:00:00Z",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T04:00:00+01:00"],
        ),
        // The clock goes back from midnight to eleven: the day before ends twice, this one begins once.
        (
            "@daily",
            "America/Havana",
            "2026-10-31T12:00:00Z",
            ["2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"],
        ),
    ] {
        check(cron, zone, after, &expected);
    }
}

#[test]
fn a_rhythm_neither_pauses_nor_doubles() {
    for (cron, zone, after, expected) in [
        (
            "0 */30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:15:00Z",
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
        ),
        (
            "0 15,45 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:15:00Z",
            ["2026-03-29T01:45:00+01:00", "2026-03-29T03:15:00+02:00", "2026-03-29T03:45:00+02:00"],
        ),
        (
            "0 */30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:15:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"],
        ),
        (
            "@hourly",
            "America/New_York",
            "2026-11-01T04:30:00Z",
            ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"],
        ),
        (
            "*/30 * 1-3 * * *",
            "Europe/Berlin",
            "2026-10-25T00:59:00Z",
            ["2026-10-25T02:59:30+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:00:30+01:00"],
        ),
        (
            "0 */20 0-23 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:30:00Z",
            ["2026-04-05T01:40:00+11:00", "2026-04-05T01:40:00+10:30", "2026-04-05T02:00:00+10:30"],
        ),
        (
            "0 */15 * * * *",
            "Australia/Lord_Howe",
            "2026-10-03T15:10:00Z",
            ["2026-10-04T01:45:00+10:30", "2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00"],
        ),
    ] {
        check(cron, zone, after, &expected);
    }
}

#[test]
fn every_day_that_exists_is_found_in_time() {
    for weekday in 0..7 {
        let leap_days = schedule(&format!("0 0 0 29 2 {weekday}"), "UTC");
        for year in 1970..2400 {
            let from = ms(&format!("{year}-01-01T00:00:00Z"));
            assert!(leap_days.next_after(from).is_some(), "29 February on weekday {weekday} from {year}");
        }
    }
    assert_eq!(schedule("@daily", "UTC").next_after(ms("9999-12-30T12:00:00Z")), None);
    for unix_ms in [i64::MIN, i64::MAX] {
        assert_eq!(schedule("@daily", "Europe/Berlin").next_after(unix_ms), None);
    }
}

#[test]
fn errors_say_what_would_be_right() {
    for (cron, zone, why) in [
        (
            "",
            "UTC",
            r#"schedule: "": 0 fields: use six (second, minute, hour, day of month, month, weekday)"#,
        ),
        ("* * * *", "UTC", "4 fields: use six"),
        ("* * * * * * 2026", "UTC", "7 fields: use six"),
        ("@reboot", "UTC", "no such alias: use @hourly, @daily, @weekly, @monthly, @yearly, or fields"),
        ("60 * * * * *", "UTC", r#"second: "60" is not one: use 0 to 59, or *"#),
        ("0 61 * * * *", "UTC", r#"schedule: "0 61 * * * *": minute: "61" is not one: use 0 to 59, or *"#),
        ("0 0 24 * * *", "UTC", r#"hour: "24" is not one: use 0 to 23, or *"#),
        ("0 0 FEB * * *", "UTC", r#"hour: "FEB" is not one"#),
        ("0 0 0 0 * *", "UTC", r#"day of month: "0" is not one: use 1 to 31"#),
        ("0 0 0 L * *", "UTC", "use 1 to 31, or *; L, W and # are not known"),
        ("0 0 0 ? * *", "UTC", r#"day of month: "?" has no meaning here: use *"#),
        ("0 0 0 * 13 *", "UTC", r#"month: "13" is not one: use 1 to 12, or JAN to DEC"#),
        ("0 0 0 * 0 *", "UTC", r#"month: "0" is not one"#),
        ("0 0 0 * * 8", "UTC", r#"weekday: "8" is not one: use 0 (Sunday) to 6, or SUN to SAT, or *"#),
        ("0 0 0 * * Monday", "UTC", r#"weekday: "Monday" is not one: use 0 (Sunday) to 6, or SUN to SAT"#),
        ("0 0 0 * * 1MON", "UTC", r#"weekday: "1MON" is not one"#),
        ("0 0 0 * * MON#2", "UTC", "L, W and # are not known"),
        ("0 0 22-6 * * *", "UTC", r#"hour: "22-6" runs backwards: use 22-23,0-6"#),
        ("0 0 0 * * FRI-MON", "UTC", r#"weekday: "FRI-MON" runs backwards: use FRI-6,0-MON"#),
        ("0 1,,2 * * * *", "UTC", "minute: a value is missing: use 0 to 59, or *"),
        ("0 1- * * * *", "UTC", "minute: a value is missing"),
        ("0 1-2-3 * * * *", "UTC", r#"minute: "2-3" is not one"#),
        ("0 +1 * * * *", "UTC", r#"minute: "+1" is not one"#),
        ("0 -1 * * * *", "UTC", "minute: a value is missing"),
        ("0 007 * * * *", "UTC", r#"minute: "007" is not one"#),
        ("0 ٣ * * * *", "UTC", r#"minute: "٣" is not one"#),
        ("0 */0 * * * *", "UTC", r#"minute: "0" is not a step: use a whole number from 1 to 59"#),
        ("0 */90 * * * *", "UTC", r#"minute: "90" is not a step: use a whole number from 1 to 59"#),
        ("0 */ * * * *", "UTC", r#"minute: "" is not a step"#),
        ("0 /5 * * * *", "UTC", "minute: a value is missing"),
        ("0 *-5 * * * *", "UTC", r#"minute: "*" is not one"#),
        ("0 0 0 30 2 *", "UTC", "no such day exists: use a day that one of the months has"),
        ("0 0 0 31 4,6,9,11 *", "UTC", "no such day exists"),
        (
            "0 6 1,15 * MON",
            "UTC",
            r#"here both have to: use six fields to say so, "0 0 6 1,15 * MON", or "*""#,
        ),
        ("@daily", "", r#"time_zone: "": no such time zone: use a name of the IANA database"#),
        ("@daily", "Berlin", r#"use a name of the IANA database, such as "Europe/Berlin", or "UTC""#),
        ("@daily", "new york", r#"such as "America/New_York""#),
        ("@daily", "W. Europe Standard Time", r#"no such time zone: use a name of the IANA database"#),
        ("@daily", "../../etc/passwd", r#"no such time zone"#),
        ("@daily", "+02:00", r#"no such time zone"#),
    ] {
        let found = Schedule::parse(cron, zone).expect_err(cron);
        assert!(found.contains(why), "{cron:?} in {zone:?}: {found:?} lacks {why:?}");
        assert!(!found.ends_with('.') && found.len() < 400, "{found}");
    }
    let long = Schedule::parse(&"1,".repeat(1_000_000), "UTC").unwrap_err();
    assert!(long.contains("it has 2000000 bytes: at most 256 are allowed") && long.len() < 200, "{long}");
    let long = Schedule::parse("@daily", &"x/".repeat(1_000_000)).unwrap_err();
    assert!(long.contains("at most 64 are allowed") && long.len() < 200, "{long}");
    // The remedy in the message has to work.
    check("0 0 22-23,0-6 * * *", "UTC", "2026-01-01T06:00:00Z", &["2026-01-01T22:00:00+00:00"]);
    check("0 0 0 * * FRI-6,0-MON", "UTC", "2026-01-06T00:00:00Z", &["2026-01-09T00:00:00+00:00"]);
}
