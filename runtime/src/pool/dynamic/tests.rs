//! The rules of SPEC 3.2 one by one, each at its boundary, on virtual time.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::de::value::{Error, MapDeserializer};

use super::ThrottleState::{Disabled, Enabled, Unknown};
use super::*;
use crate::limits::DYNAMIC_CONCURRENCY_MAX;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
/// More in flight than any value here.
const PLENTY: u32 = u32::MAX;

fn reading(cpu: ThrottleState) -> Reading {
    Reading { cpu, memory: Disabled, scheduler: Disabled }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn cores(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

/// A function that stands at `value`.
fn at(value: u32, maximum: u32, now: Instant) -> DynamicConcurrency {
    DynamicConcurrency::restore(Snapshot { value, cores: cores(1) }, cores(1), maximum, now)
}

/// Gives a function as many readings of `state` as a move needs, all within the time in which nothing moves.
fn prepare(function: &mut DynamicConcurrency, state: ThrottleState, now: Instant) {
    for _ in 0..HEALTHY_READINGS {
        assert_eq!(function.observe(now, reading(state), PLENTY, None), None);
    }
}

// ── the throttles ────────────────────────────────────────────────────────────────────────────────

fn sample(cpu: Option<u32>, memory: Option<u32>, due: u32, missed: u32) -> HostSample {
    HostSample {
        cpu_permille: cpu,
        memory_permille: memory,
        canary_ticks_due: due,
        canary_ticks_missed: missed,
    }
}

#[test]
fn cpu_is_throttled_when_five_samples_average_four_fifths() {
    let cases: &[(&[Option<u32>], ThrottleState)] = &[
        (&[], Unknown),
        (&[Some(1_000); 4], Unknown),
        (&[Some(800); 5], Enabled),
        (&[Some(800), Some(800), Some(800), Some(800), Some(799)], Disabled),
        (&[Some(600), Some(700), Some(800), Some(900), Some(1_000)], Enabled),
        // One second of everything is a burst.
        (&[Some(0), Some(0), Some(0), Some(0), Some(1_000)], Disabled),
        // The oldest goes.
        (&[Some(0), Some(800), Some(800), Some(800), Some(800), Some(800)], Enabled),
        (&[Some(1_000), Some(800), Some(800), Some(800), Some(800), Some(799)], Disabled),
        // No sample is more than all cores.
        (&[Some(4_000), Some(0), Some(0), Some(0), Some(0)], Disabled),
        // One that is missing is missed for as long as it counts.
        (&[Some(900), Some(900), None, Some(900), Some(900), Some(900)], Unknown),
        (&[Some(900), None, Some(900), Some(900), Some(900), Some(900), Some(900)], Enabled),
    ];
    for (samples, expected) in cases {
        let mut host = HostSamples::default();
        for cpu in *samples {
            host.add(sample(*cpu, Some(0), 10, 0));
        }
        assert_eq!(host.reading().cpu, *expected, "{samples:?}");
    }
}

#[test]
fn memory_is_throttled_from_four_fifths_in_the_latest_sample() {
    let mut host = HostSamples::default();
    assert_eq!(host.reading().memory, Unknown);
    for (memory, expected) in [
        (Some(0), Disabled),
        (Some(799), Disabled),
        (Some(800), Enabled),
        (None, Unknown),
        (Some(1_000), Enabled),
    ] {
        assert_eq!(host.add(sample(Some(0), memory, 10, 0)).memory, expected, "{memory:?}");
    }
}

#[test]
fn the_scheduler_is_throttled_when_more_than_half_of_the_ticks_are_missed() {
    let mut host = HostSamples::default();
    assert_eq!(host.reading().scheduler, Unknown);
    let cases = [
        (10, 0, Disabled),
        (10, 5, Disabled),
        (10, 6, Enabled),
        (9, 4, Disabled),
        (9, 5, Enabled),
        (5, 3, Enabled),
        // Too few to say.
        (4, 4, Unknown),
        (0, 0, Unknown),
        // The sample itself came late.
        (40, 21, Enabled),
        (u32::MAX, u32::MAX, Enabled),
        (10, u32::MAX, Enabled),
    ];
    for (due, missed, expected) in cases {
        assert_eq!(host.add(sample(Some(0), Some(0), due, missed)).scheduler, expected, "{missed} of {due}");
    }
}

#[test]
fn any_enabled_throttle_throttles_and_slows_fetching_and_any_unknown_one_makes_it_unknown() {
    let cases = [
        ([Disabled, Disabled, Disabled], Disabled),
        ([Unknown, Disabled, Disabled], Unknown),
        ([Disabled, Unknown, Disabled], Unknown),
        ([Disabled, Disabled, Unknown], Unknown),
        ([Unknown, Unknown, Unknown], Unknown),
        ([Enabled, Disabled, Disabled], Enabled),
        ([Unknown, Enabled, Disabled], Enabled),
        ([Unknown, Unknown, Enabled], Enabled),
        ([Enabled, Enabled, Enabled], Enabled),
    ];
    for ([cpu, memory, scheduler], expected) in cases {
        let reading = Reading { cpu, memory, scheduler };
        assert_eq!(reading.overall(), expected, "{reading:?}");
        let is_more_than_cpu = [memory, scheduler].contains(&Enabled);
        assert_eq!(reading.fetching() == Fetching::Paused, is_more_than_cpu, "{reading:?}");
    }
    let reading = Reading { cpu: Enabled, memory: Unknown, scheduler: Enabled };
    assert_eq!(reading.enabled().collect::<Vec<_>>(), [HostThrottle::Cpu, HostThrottle::Scheduler]);
}

// ── when a value moves ───────────────────────────────────────────────────────────────────────────

#[test]
fn nothing_moves_until_the_last_move_has_settled() {
    let cases = [
        (Some(Duration::ZERO), seconds(2)),
        (Some(Duration::from_millis(1)), Duration::from_millis(2_001)),
        (Some(seconds(1)), seconds(3)),
        (Some(seconds(3)), seconds(5)),
        (Some(seconds(600)), seconds(5)),
        (Some(Duration::MAX), seconds(5)),
        (None, seconds(5)),
    ];
    for state in [Disabled, Enabled] {
        for (latency, settle) in cases {
            let start = Instant::now();
            let mut function = at(100, 500, start);
            prepare(&mut function, state, start);
            let mut last = start;
            // After the start of the function and after a move alike.
            for _ in 0..2 {
                assert_eq!(
                    function.observe(last + settle, reading(state), PLENTY, latency),
                    None,
                    "{latency:?}"
                );
                last += settle + NANOSECOND;
                assert!(function.observe(last, reading(state), PLENTY, latency).is_some(), "{latency:?}");
            }
        }
    }
}

#[test]
fn nothing_increases_in_the_quiet_time_after_a_decrease() {
    let cases = [
        (Some(Duration::ZERO), seconds(10)),
        (Some(Duration::from_millis(100)), seconds(11)),
        (Some(seconds(1)), seconds(20)),
        (Some(seconds(2)), seconds(30)),
        (Some(Duration::MAX), seconds(30)),
        (None, seconds(30)),
    ];
    for (latency, quiet) in cases {
        let start = Instant::now();
        let mut function = at(100, 500, start);
        prepare(&mut function, Enabled, start);
        let decreased = start + seconds(6);
        assert!(function.observe(decreased, reading(Enabled), PLENTY, None).is_some());
        prepare(&mut function, Disabled, decreased);
        let too_soon = decreased + quiet.saturating_sub(NANOSECOND);
        assert_eq!(function.observe(too_soon, reading(Disabled), PLENTY, latency), None, "{latency:?}");
        let moved = function.observe(decreased + quiet, reading(Disabled), PLENTY, latency);
        assert_eq!(moved.map(|adjustment| adjustment.direction), Some(Direction::Increase), "{latency:?}");
    }
}

#[test]
fn a_decrease_needs_no_quiet_time() {
    let start = Instant::now();
    let mut function = at(100, 500, start);
    prepare(&mut function, Enabled, start);
    assert!(function.observe(start + seconds(3), reading(Enabled), 0, Some(Duration::ZERO)).is_some());
    assert!(function.observe(start + seconds(6), reading(Enabled), 0, Some(Duration::ZERO)).is_some());
}

#[test]
fn a_value_moves_after_five_healthy_or_three_throttled_readings_in_a_row() {
    // h: healthy, t: throttled, u: unknown. The first move is at the last reading, if there is one.
    let cases = [
        ("hhhh", None),
        ("hhhhh", Some(Direction::Increase)),
        ("hhhhuh", None),
        ("hhhhuhhhh", None),
        ("hhhhuhhhhh", Some(Direction::Increase)),
        ("hhhhthhhh", None),
        ("hhhhthhhhh", Some(Direction::Increase)),
        ("tt", None),
        ("ttt", Some(Direction::Decrease)),
        ("ttut", None),
        ("ttutt", None),
        ("ttuttt", Some(Direction::Decrease)),
        ("tthtt", None),
        ("tththhhtt", None),
        ("hhhhttt", Some(Direction::Decrease)),
        ("uuuuuuuuuuuu", None),
        ("", None),
    ];
    for (readings, expected) in cases {
        let mut now = Instant::now();
        let mut function = at(100, 500, now);
        let mut moves = Vec::new();
        for letter in readings.chars() {
            now += seconds(6);
            let state = match letter {
                'h' => Disabled,
                't' => Enabled,
                _ => Unknown,
            };
            moves.push(function.observe(now, reading(state), PLENTY, None).map(|moved| moved.direction));
        }
        let last = moves.pop().flatten();
        assert_eq!(last, expected, "{readings}");
        assert!(moves.iter().all(Option::is_none), "{readings}: {moves:?}");
    }
}

#[test]
fn a_move_does_not_end_the_row_of_readings() {
    for state in [Disabled, Enabled] {
        let start = Instant::now();
        let mut function = at(100, 500, start);
        prepare(&mut function, state, start);
        for second in [3, 6, 9] {
            let now = start + seconds(second);
            assert!(function.observe(now, reading(state), PLENTY, Some(SECOND / 2)).is_some(), "{second}");
        }
    }
}

#[test]
fn a_value_increases_only_when_it_was_used_up_since_the_last_move() {
    let cases: &[(&[u32], bool)] = &[
        (&[0, 0, 0, 0, 0], false),
        (&[9, 9, 9, 9, 9], false),
        (&[9, 9, 9, 9, 10], true),
        (&[10, 0, 0, 0, 0], true),
        (&[11, 0, 0, 0, 0], true),
    ];
    for (in_flight, expected) in cases {
        let mut now = Instant::now();
        let mut function = at(10, 500, now);
        let mut moved = None;
        for count in *in_flight {
            now += seconds(2);
            moved = function.observe(now, reading(Disabled), *count, None);
        }
        assert_eq!(moved.is_some(), *expected, "{in_flight:?}");
        // What was in flight before the move counts no more.
        for _ in 0..5 {
            now += seconds(6);
            assert_eq!(function.observe(now, reading(Disabled), 9, None), None, "{in_flight:?}");
        }
    }
}

// ── how far it moves ─────────────────────────────────────────────────────────────────────────────

/// When a move comes after the one before, and of which readings.
type Move = (Duration, ThrottleState);

/// Moves a function that stands at 100 and is ready to move, after each of `gaps` one way or the other.
fn steps(gaps: &[Move]) -> Vec<i64> {
    let mut now = Instant::now();
    let mut function = at(100, 500, now);
    let mut steps = Vec::new();
    for (gap, state) in gaps {
        prepare(&mut function, *state, now);
        now += *gap;
        let moved = function.observe(now, reading(*state), PLENTY, None).expect("it is ready");
        steps.push(i64::from(moved.to) - i64::from(moved.from));
    }
    steps
}

#[test]
fn steps_grow_with_the_run_of_moves_and_begin_anew_after_a_turn_or_a_pause() {
    let (up, down) = (Disabled, Enabled);
    let (six, ten, more) = (seconds(6), seconds(10), seconds(10) + NANOSECOND);
    let thirty = seconds(30);
    let cases: &[(&[Move], &[i64])] = &[
        (&[(six, up); 9], &[1, 1, 2, 3, 4, 5, 6, 6, 6]),
        (&[(six, down); 9], &[-1, -1, -2, -3, -4, -5, -6, -6, -6]),
        // Ten seconds are within ten seconds.
        (&[(ten, up); 4], &[1, 1, 2, 3]),
        (&[(more, up); 4], &[1, 1, 1, 1]),
        (&[(more, down); 4], &[-1, -1, -1, -1]),
        (&[(six, up), (six, up), (six, up), (more, up), (six, up), (six, up)], &[1, 1, 2, 1, 1, 2]),
        (&[(six, up), (six, up), (six, up), (six, down), (six, down), (six, down)], &[1, 1, 2, -1, -1, -2]),
        (&[(six, down), (six, down), (six, down), (thirty, up), (six, up)], &[-1, -1, -2, 1, 1]),
    ];
    for (gaps, expected) in cases {
        assert_eq!(steps(gaps), *expected, "{gaps:?}");
    }
}

#[test]
fn a_value_stays_between_one_and_its_maximum() {
    // Maximum, value at first, state of all readings, the moves that follow.
    let cases: &[(u32, u32, ThrottleState, &[u32])] = &[
        (6, 1, Disabled, &[2, 3, 5, 6]),
        (5, 1, Disabled, &[2, 3, 5]),
        (1, 1, Disabled, &[]),
        (0, 1, Disabled, &[]),
        (500, 4, Enabled, &[3, 2, 1]),
        (500, 2, Enabled, &[1]),
        (500, 1, Enabled, &[]),
        (500, 5, Unknown, &[]),
        (u32::MAX, u32::MAX - 1, Disabled, &[u32::MAX]),
    ];
    for (maximum, value, state, expected) in cases {
        let mut now = Instant::now();
        let mut function = at(*value, *maximum, now);
        prepare(&mut function, *state, now);
        let mut values = Vec::new();
        for _ in 0..10 {
            now += seconds(6);
            values.extend(function.observe(now, reading(*state), PLENTY, None).map(|moved| moved.to));
        }
        assert_eq!(values, *expected, "maximum {maximum}, value {value}, {state:?}");
        assert_eq!(function.value(), *expected.last().unwrap_or(value));
    }
}

#[test]
fn a_throttled_value_of_one_begins_no_quiet_time() {
    let start = Instant::now();
    let mut function = DynamicConcurrency::new(DYNAMIC_CONCURRENCY_MAX, start);
    prepare(&mut function, Enabled, start);
    assert_eq!(function.observe(start + seconds(6), reading(Enabled), PLENTY, None), None);
    prepare(&mut function, Disabled, start);
    assert!(function.observe(start + seconds(7), reading(Disabled), PLENTY, None).is_some());
}

// ── what is told and kept ────────────────────────────────────────────────────────────────────────

#[test]
fn a_move_tells_what_a_log_line_needs() {
    let start = Instant::now();
    let mut function = DynamicConcurrency::new(500, start);
    prepare(&mut function, Disabled, start);
    let moved = function.observe(start + seconds(6), reading(Disabled), 0, None).unwrap();
    assert_eq!(moved.to_string(), "concurrency increased from 1 to 2, 4294967295 in flight");
    let throttled = Reading { cpu: Enabled, memory: Unknown, scheduler: Enabled };
    for second in [7, 8] {
        assert_eq!(function.observe(start + seconds(second), throttled, 3, None), None);
    }
    let moved = function.observe(start + seconds(12), throttled, 2, None).unwrap();
    let expected =
        Adjustment { from: 2, to: 1, direction: Direction::Decrease, reading: throttled, in_flight: 3 };
    assert_eq!(moved, expected);
    assert_eq!(
        moved.to_string(),
        "concurrency decreased from 2 to 1, 3 in flight; throttles enabled: cpu, scheduler"
    );
}

#[test]
fn a_learned_value_is_scaled_by_the_ratio_of_cores() {
    // Value, cores it was learned with, cores now, maximum, value now.
    let cases = [
        (10, 4, 4, 500, 10),
        (10, 4, 8, 500, 20),
        (10, 8, 4, 500, 5),
        (10, 4, 3, 500, 8), // 7.5
        (7, 3, 1, 500, 2),  // 2.33
        (5, 3, 1, 500, 2),  // 1.67
        (1, 64, 1, 500, 1), // 0.02
        (0, 1, 1, 500, 1),  // no value this code writes
        (400, 4, 8, 500, 500),
        (400, 4, 4, 100, 100),
        (10, 1, 1, 0, 1),
        (u32::MAX, 1, u32::MAX, u32::MAX, u32::MAX),
    ];
    for (value, learned_on, now_on, maximum, expected) in cases {
        let snapshot = Snapshot { value, cores: cores(learned_on) };
        assert_eq!(snapshot.scaled(cores(now_on), maximum), expected, "{value}: {learned_on} to {now_on}");
        let function = DynamicConcurrency::restore(snapshot, cores(now_on), maximum, Instant::now());
        assert_eq!(function.snapshot(cores(now_on)), Snapshot { value: expected, cores: cores(now_on) });
    }
}

#[test]
fn a_snapshot_of_today_can_be_read_tomorrow() {
    let stored = |cores| {
        Snapshot::deserialize(MapDeserializer::<_, Error>::new(
            [("value", 12u32), ("cores", cores)].into_iter(),
        ))
    };
    assert_eq!(stored(2), Ok(Snapshot { value: 12, cores: cores(2) }));
    assert!(stored(0).is_err(), "no machine has no cores");
}

// ── whatever happens ─────────────────────────────────────────────────────────────────────────────

fn any_state() -> impl Strategy<Value = ThrottleState> {
    prop_oneof![8 => Just(Disabled), 4 => Just(Enabled), 1 => Just(Unknown)]
}

prop_compose! {
    /// A while of readings that say the same: so many, milliseconds apart, in flight, latency in milliseconds.
    fn stretch()(
        state in any_state(), count in 1usize..12, gap_ms in 1u64..4_000, in_flight in 0u32..40,
        latency_ms in prop::option::of(0u64..6_000),
    ) -> Vec<(ThrottleState, u64, u32, Option<u64>)> {
        vec![(state, gap_ms, in_flight, latency_ms); count]
    }
}

proptest! {
    #[test]
    fn no_bound_of_time_or_value_is_ever_broken(
        maximum in 1u32..60, first in 1u32..80, stretches in prop::collection::vec(stretch(), 1..60),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut function = at(first, maximum, now);
        let (mut moved_at, mut decreased_at, mut peak) = (start, None::<Instant>, 0);
        let (mut row, mut row_state, mut last_step) = (0, Unknown, 0);
        for (state, gap_ms, in_flight, latency_ms) in stretches.into_iter().flatten() {
            now += Duration::from_millis(gap_ms);
            let latency = latency_ms.map(Duration::from_millis);
            let before = function.value();
            let moved = function.observe(now, reading(state), in_flight, latency);
            peak = peak.max(in_flight);
            row = if state == row_state { row + 1 } else { 1 };
            row_state = state;
            prop_assert!((1..=maximum).contains(&function.value()));
            let Some(moved) = moved else {
                prop_assert_eq!(function.value(), before);
                continue;
            };
            prop_assert_eq!((moved.from, moved.to), (before, function.value()));
            prop_assert_eq!(moved.in_flight, peak);
            let settle = latency.map_or(seconds(5), |mean| (seconds(2) + mean).min(seconds(5)));
            prop_assert!(now - moved_at > settle, "a move within {:?} of the last", now - moved_at);
            let step = moved.from.abs_diff(moved.to);
            prop_assert!((1..=6).contains(&step) && step <= last_step + 1);
            if moved.direction == Direction::Increase {
                let quiet = latency.map_or(seconds(30), |mean| (seconds(10) + mean * 10).min(seconds(30)));
                prop_assert!(decreased_at.is_none_or(|at| now - at >= quiet));
                prop_assert!(state == Disabled && row >= 5 && moved.to > moved.from && peak >= before);
            } else {
                prop_assert!(state == Enabled && row >= 3 && moved.to < moved.from);
                decreased_at = Some(now);
            }
            (moved_at, last_step, peak) = (now, step, 0);
        }
    }
}
