//! Tests what is decided about single runs, and what is stored.

mod known;
mod properties;
mod simulation;

use super::*;

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule::parse(cron, zone).unwrap_or_else(|why| panic!("{cron} in {zone}: {why}"))
}

#[test]
fn the_manifest_has_words_for_it() {
    #[derive(Deserialize)]
    struct Form {
        schedule: String,
        time_zone: String,
        #[serde(default)]
        missed_runs: MissedRuns,
    }
    let text = "schedule = \"0 30 6 * * *\"\ntime_zone = \"Europe/Berlin\"\n";
    for (line, missed_runs) in [
        ("", MissedRuns::One),
        ("missed_runs = \"one\"", MissedRuns::One),
        ("missed_runs = \"all\"", MissedRuns::All),
        ("missed_runs = \"none\"", MissedRuns::None),
    ] {
        let form: Form = toml::from_str(&format!("{text}{line}")).unwrap();
        assert_eq!(form.missed_runs, missed_runs);
        let schedule = schedule(&form.schedule, &form.time_zone);
        assert_eq!(schedule.to_string(), "0 30 6 * * * (Europe/Berlin)");
        assert_eq!((schedule.cron(), schedule.time_zone()), ("0 30 6 * * *", "Europe/Berlin"));
    }
    let wrong = toml::from_str::<Form>(&format!("{text}missed_runs = \"some\"")).err().unwrap().to_string();
    assert!(wrong.contains("unknown variant `some`, expected one of `one`, `all`, `none`"), "{wrong}");
}

fn timer(cron: &str, missed_runs: MissedRuns, jitter: Duration) -> Timer {
    Timer::new(schedule(cron, "Europe/Berlin"), missed_runs, jitter, "shop", "report")
}

fn run(occurrence: &str, past_due: bool) -> Action {
    Action::Run { occurrence_ms: ms(occurrence), past_due }
}

fn wait(until: &str) -> Action {
    Action::Wait { until_ms: ms(until) }
}

/// Asks in turn, each time with the state that the decision before left, and expects (action, skipped).
fn check_decisions(missed_runs: MissedRuns, steps: &[(&str, bool, Action, usize)]) {
    let timer = timer("@hourly", missed_runs, Duration::ZERO);
    let mut state = TimerState::begin(ms("2026-01-01T00:10:00Z"), timer.schedule());
    for (now, is_running, action, skipped) in steps {
        let decision = state.decide(ms(now), *is_running, &timer);
        assert_eq!((decision.action, decision.skipped), (*action, *skipped), "{missed_runs:?} at {now}");
        state = decision.state;
    }
}

#[test]
fn a_run_starts_when_it_is_due_and_once() {
    for missed_runs in [MissedRuns::One, MissedRuns::All, MissedRuns::None] {
        check_decisions(
            missed_runs,
            &[
                ("2026-01-01T00:10:00Z", false, wait("2026-01-01T01:00:00Z"), 0),
                ("2026-01-01T00:59:59.999Z", false, wait("2026-01-01T01:00:00Z"), 0),
                ("2026-01-01T01:00:00.020Z", false, run("2026-01-01T01:00:00Z", false), 0),
                ("2026-01-01T01:00:00.020Z", true, wait("2026-01-01T02:00:00Z"), 0),
                // The clock is set back to before the run, by a minute and by a year: the run is not repeated.
                ("2026-01-01T00:59:00Z", false, wait("2026-01-01T02:00:00Z"), 0),
                ("2025-01-01T00:59:00Z", false, wait("2026-01-01T02:00:00Z"), 0),
                ("2026-01-01T02:00:01Z", false, run("2026-01-01T02:00:00Z", false), 0),
                ("2026-01-01T03:00:00Z", true, Action::Busy, 0),
                ("2026-01-01T03:00:00.900Z", false, run("2026-01-01T03:00:00Z", false), 0),
            ],
        );
    }
}

#[test]
fn missed_occurrences_are_made_up_for_as_the_policy_says() {
    let late = "2026-01-01T04:30:00Z";
    let next = wait("2026-01-01T05:00:00Z");
    check_decisions(
        MissedRuns::One,
        &[
            (late, false, run("2026-01-01T04:00:00Z", true), 3),
            (late, false, next, 0),
            ("2026-01-01T05:00:00Z", true, Action::Busy, 0),
            ("2026-01-01T06:59:59Z", true, Action::Busy, 0),
            // One that is due this moment makes up for the two before as well.
            ("2026-01-01T07:00:00Z", false, run("2026-01-01T07:00:00Z", true), 2),
        ],
    );
    check_decisions(
        MissedRuns::All,
        &[
            (late, false, run("2026-01-01T01:00:00Z", true), 0),
            (late, true, Action::Busy, 0),
            (late, false, run("2026-01-01T02:00:00Z", true), 0),
            (late, false, run("2026-01-01T03:00:00Z", true), 0),
            (late, false, run("2026-01-01T04:00:00Z", true), 0),
            (late, false, next, 0),
            // 110 hours later 111 are due; the first eleven are dropped.
            ("2026-01-06T01:00:00Z", false, run("2026-01-01T22:00:00Z", true), 17),
            ("2026-01-06T01:00:00Z", false, run("2026-01-01T23:00:00Z", true), 0),
        ],
    );
    check_decisions(
        MissedRuns::None,
        &[
            (late, false, next, 4),
            (late, false, next, 0),
            ("2026-01-01T05:00:01.001Z", false, wait("2026-01-01T06:00:00Z"), 1),
            // Only the one that is due this moment runs.
            ("2026-01-01T09:00:01Z", false, run("2026-01-01T09:00:00Z", false), 3),
        ],
    );
}

#[test]
fn a_new_schedule_misses_nothing_of_the_old_one() {
    let now = ms("2026-01-01T12:30:00Z");
    let old = TimerState {
        last_run_ms: Some(ms("2026-01-01T00:00:00Z")),
        next_due_ms: Some(ms("2026-01-01T01:00:00Z")),
        begun_ms: None,
    };
    let daily = schedule("@daily", "UTC");
    let new = old.rescheduled(now, &daily);
    assert_eq!(new, TimerState { next_due_ms: Some(ms("2026-01-02T00:00:00Z")), ..old });
    // If the clock is before the last run, no occurrence before that run comes again.
    let before = ms("2025-12-30T12:00:00Z");
    assert!(old.is_ahead_of(before) && !old.is_ahead_of(now));
    assert_eq!(old.rescheduled(before, &daily).next_due_ms, Some(ms("2026-01-02T00:00:00Z")));
    assert_eq!(TimerState::begin(before, &daily).next_due_ms, Some(ms("2025-12-31T00:00:00Z")));
}

#[test]
fn a_timer_that_has_no_more_occurrences_waits_for_ever() {
    let never = Action::Wait { until_ms: i64::MAX };
    let timer = timer("@hourly", MissedRuns::All, Duration::from_secs(10));
    assert_eq!(TimerState::default().decide(0, false, &timer).action, never);
    // A state that wfn never stores does no harm.
    for next_due_ms in [i64::MIN, i64::MAX] {
        let state = TimerState { last_run_ms: None, next_due_ms: Some(next_due_ms), begun_ms: None };
        for now in [0, ms("2026-01-01T00:00:00Z"), i64::MAX] {
            state.decide(now, false, &timer);
        }
    }
}

#[test]
fn jitter_is_the_same_after_a_restart_and_stays_before_the_next_occurrence() {
    let jitter = Duration::from_secs(10);
    let hourly = timer("@hourly", MissedRuns::One, jitter);
    let first = ms("2026-01-01T00:00:00Z");
    let delays = |timer: &Timer| -> Vec<i64> {
        let occurrences = std::iter::successors(Some(first), |ms| timer.schedule().next_after(*ms));
        occurrences.take(1_000).map(|occurrence| timer.due(occurrence) - occurrence).collect()
    };
    let found = delays(&hourly);
    assert_eq!(found, delays(&timer("@hourly", MissedRuns::One, jitter)));
    // Known values: another version of the host has to find the same.
    assert_eq!(found[..4], [3_071, 8_311, 96, 9_032]);
    assert!(found.iter().all(|delay| (0..=10_000).contains(delay)));
    assert!(*found.iter().min().unwrap() < 200 && *found.iter().max().unwrap() > 9_800, "it is spread");
    let mean = found.iter().sum::<i64>() / 1_000;
    assert!((4_500..5_500).contains(&mean), "it is even: {mean}");
    for (app, function) in [("shop", "other"), ("other", "report"), ("shopr", "eport")] {
        let other = Timer::new(hourly.schedule().clone(), MissedRuns::One, jitter, app, function);
        assert_ne!(found, delays(&other));
    }
    assert!(delays(&timer("@hourly", MissedRuns::One, Duration::ZERO)).iter().all(|delay| *delay == 0));
    let dense = delays(&timer("* * * * * *", MissedRuns::One, Duration::MAX));
    assert!(dense.iter().all(|delay| (0..1_000).contains(delay)));
}

#[test]
fn a_run_put_off_by_jitter_is_not_past_due() {
    let timer = timer("@hourly", MissedRuns::One, Duration::from_secs(600));
    let occurrence = ms("2026-01-01T01:00:00Z");
    let due = timer.due(occurrence);
    let state = TimerState::begin(occurrence - 1, timer.schedule());
    assert_eq!(state.decide(due - 1, false, &timer).action, Action::Wait { until_ms: due });
    for (late, past_due) in [(0, false), (1_000, false), (1_001, true)] {
        let action = Action::Run { occurrence_ms: occurrence, past_due };
        assert_eq!(state.decide(due + late, false, &timer).action, action, "{late} ms late");
    }
}
