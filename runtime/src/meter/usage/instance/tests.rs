//! Tests of the meter of one instance: known cases, and random ones beside a model.

use super::*;
use proptest::prelude::*;

const CLASS_MB: u64 = 2_048;

/// A call from one moment to another, both in microseconds since the instance was opened.
type Call = (u64, u64);

fn executed(meter: &mut InstanceMeter, now: Instant) -> u64 {
    meter.publish(now).on_demand_mb_ms / CLASS_MB
}

#[test]
fn periods_are_billed_by_the_watermark() {
    let milliseconds: [(&[Call], u64); 17] = [
        // At least a second, then in steps of 100 ms.
        (&[(0, 0)], 1_000),
        (&[(0, 50)], 1_000),
        (&[(0, 1_000)], 1_000),
        (&[(0, 1_001)], 1_100),
        (&[(0, 1_100)], 1_100),
        (&[(5, 1_106)], 1_200),
        (&[(0, 59_901)], 60_000),
        // Within what is billed: nothing more.
        (&[(0, 50), (300, 350)], 1_000),
        (&[(0, 50), (300, 350), (999, 1_000)], 1_000),
        (&[(0, 1_050), (1_060, 1_100)], 1_100),
        // Longer than that: a minimum from its own begin, less what is billed.
        (&[(0, 50), (950, 1_150)], 1_950),
        (&[(0, 50), (950, 2_101)], 2_150),
        (&[(0, 50), (950, 1_150), (1_900, 1_950)], 1_950),
        // At the watermark and after it: anew.
        (&[(0, 50), (1_000, 1_000)], 2_000),
        (&[(0, 1_500), (1_500, 1_550)], 2_500),
        (&[(0, 50), (7_000, 7_050)], 2_000),
        // At once: once.
        (&[(0, 800), (100, 1_500), (200, 300)], 1_500),
    ];
    for (calls, expected) in milliseconds {
        let opened = Instant::now();
        let at = |ms: u64| opened + Duration::from_millis(ms);
        let mut events: Vec<(u64, bool)> =
            calls.iter().flat_map(|(begin, end)| [(*begin, true), (*end, false)]).collect();
        events.sort_by_key(|(ms, _)| *ms);
        let mut meter = InstanceMeter::new(CLASS_MB, false, opened);
        for (ms, is_begin) in events {
            if is_begin { meter.begin(|| at(ms)) } else { meter.end(at(ms)) }
        }
        let amounts = meter.close(at(60_000));
        let on_demand_mb_ms = expected * CLASS_MB;
        let executions = calls.len() as u64;
        assert_eq!(amounts, Amounts { executions, on_demand_mb_ms, ..Amounts::default() }, "{calls:?}");
    }
}

#[test]
fn a_nanosecond_more_is_a_step_more() {
    for (nanoseconds, expected) in [(1_000_000_000, 1_000), (1_000_000_001, 1_100), (1_100_000_001, 1_200)] {
        let opened = Instant::now();
        let mut meter = InstanceMeter::new(CLASS_MB, false, opened);
        let begun = opened + Duration::from_nanos(999_999);
        meter.begin(|| begun);
        meter.end(begun + Duration::from_nanos(nanoseconds));
        assert_eq!(executed(&mut meter, begun), expected);
    }
}

#[test]
fn a_period_is_published_while_it_lasts_and_never_twice() {
    let opened = Instant::now();
    let at = |ms: u64| opened + Duration::from_millis(ms);
    let mut meter = InstanceMeter::new(CLASS_MB, false, opened);
    assert_eq!(meter.publish(at(500)), Amounts::default());
    meter.begin(|| at(600));
    let steps = [(600, 1_000), (600, 0), (1_600, 0), (1_601, 100), (1_701, 100), (5_000, 3_200), (5_000, 0)];
    for (now, expected) in steps {
        let on_demand_mb_ms = expected * CLASS_MB;
        assert_eq!(meter.publish(at(now)), Amounts { on_demand_mb_ms, ..Amounts::default() }, "at {now}");
    }
    meter.end(at(5_001));
    let last = Amounts { executions: 1, on_demand_mb_ms: 100 * CLASS_MB, ..Amounts::default() };
    assert_eq!(meter.publish(at(9_000)), last);
    assert_eq!(meter.publish(at(9_000)), Amounts::default());
}

#[test]
fn what_runs_when_an_instance_is_closed_is_billed_and_no_execution() {
    let opened = Instant::now();
    let mut meter = InstanceMeter::new(CLASS_MB, true, opened);
    meter.begin(|| opened);
    let amounts = meter.close(opened + Duration::from_millis(1_234));
    let expected = Amounts {
        always_ready_baseline_mb_ms: 1_234 * CLASS_MB,
        always_ready_execution_mb_ms: 1_300 * CLASS_MB,
        ..Amounts::default()
    };
    assert_eq!(amounts, expected);
}

#[test]
fn milliseconds_are_not_lost_between_two_publications() {
    let opened = Instant::now();
    let mut meter = InstanceMeter::new(CLASS_MB, true, opened);
    let mut sum = Amounts::default();
    // 2,000 publications, half a millisecond apart; the second call begins half a millisecond before the watermark.
    let step = Duration::from_micros(500);
    meter.begin(|| opened);
    meter.end(opened);
    for count in 1..=2_000 {
        sum += meter.publish(opened + step * count);
    }
    assert_eq!(sum.always_ready_baseline_mb_ms, 1_000 * CLASS_MB);
    meter.begin(|| opened + step * 1_999);
    meter.end(opened + step * 2_001);
    meter.begin(|| opened + step * 3_998);
    meter.end(opened + step * 4_000);
    sum += meter.close(opened + step * 4_000);
    assert_eq!(sum.always_ready_baseline_mb_ms, 2_000 * CLASS_MB);
    assert_eq!(sum.always_ready_execution_mb_ms, 2_999 * CLASS_MB);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    End,
    Publish,
}

/// Steps, each so many nanoseconds after the one before.
fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let gap = prop_oneof![
        Just(0),
        (1u64..25).prop_map(|steps| steps * 50_000_000),
        (0u64..1_500).prop_map(|ms| ms * 1_000_000),
        0u64..1_500_000_000,
    ];
    let step = prop_oneof![3 => Just(Step::Begin), 3 => Just(Step::End), 1 => Just(Step::Publish)];
    prop::collection::vec((gap, step), 0..80)
}

/// What happened to a meter, in nanoseconds since it was opened.
#[derive(Default)]
struct History {
    /// Active periods, in order. The last has no end if it lasts.
    periods: Vec<(u64, Option<u64>)>,
    ended: u64,
    now: u64,
}

/// Carries steps out: all of them, or but for the publications. The last sum is what the meter is closed with.
fn run(steps: &[(u64, Step)], is_always_ready: bool, publishes: bool) -> (Amounts, History) {
    let opened = Instant::now();
    let mut meter = InstanceMeter::new(CLASS_MB, is_always_ready, opened);
    let (mut sum, mut history, mut in_flight) = (Amounts::default(), History::default(), 0u32);
    for (gap, step) in steps {
        history.now += gap;
        let now = opened + Duration::from_nanos(history.now);
        match step {
            Step::Begin => {
                meter.begin(|| now);
                in_flight += 1;
                if in_flight == 1 {
                    history.periods.push((history.now, None));
                }
            }
            Step::End if in_flight > 0 => {
                meter.end(now);
                in_flight -= 1;
                history.ended += 1;
                if in_flight == 0 {
                    history.periods.last_mut().unwrap().1 = Some(history.now);
                }
            }
            Step::Publish if publishes => sum += meter.publish(now),
            Step::End | Step::Publish => {}
        }
    }
    sum += meter.close(opened + Duration::from_nanos(history.now));
    (sum, history)
}

impl History {
    /// The periods, as if the last one ended now.
    fn periods(&self) -> impl Iterator<Item = (u64, u64)> {
        self.periods.iter().map(|(begin, end)| (*begin, end.unwrap_or(self.now)))
    }

    /// The stretches of time that are billed, in order: a list that is looked at anew for each period.
    fn stretches(&self) -> Vec<(u64, u64)> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for (begin, end) in self.periods() {
            let covers = |moment: u64| move |(from, until): &&(u64, u64)| *from <= moment && moment < *until;
            // The part of the period that nobody has paid for begins where no stretch covers it any more.
            let mut unpaid = begin;
            while let Some((_, until)) = stretches.iter().find(covers(unpaid)) {
                unpaid = *until;
            }
            let is_paid = unpaid > begin && unpaid >= end;
            if !is_paid {
                let mut length = 1_000_000_000;
                while begin + length < end {
                    length += 100_000_000;
                }
                stretches.push((unpaid, begin + length));
            }
        }
        stretches
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_active_moment_is_billed_once(steps in steps()) {
        let (sum, history) = run(&steps, false, true);
        let stretches = history.stretches();
        prop_assert!(stretches.iter().all(|(from, until)| from < until));
        prop_assert!(stretches.windows(2).all(|pair| pair[0].1 <= pair[1].0), "they overlap");
        for (begin, end) in history.periods() {
            let mut left = begin;
            for (from, until) in &stretches {
                if *from <= left && left < *until {
                    left = *until;
                }
            }
            prop_assert!(left >= end, "{begin} to {end} is active and not billed");
        }
        let billed: u64 = stretches.iter().map(|(from, until)| until - from).sum();
        let on_demand_mb_ms = billed / 1_000_000 * CLASS_MB;
        prop_assert_eq!(sum, Amounts { executions: history.ended, on_demand_mb_ms, ..Amounts::default() });
    }

    #[test]
    fn the_sum_does_not_depend_on_how_often_it_is_published(steps in steps(), is_always_ready: bool) {
        let (often, _) = run(&steps, is_always_ready, true);
        let (once, _) = run(&steps, is_always_ready, false);
        prop_assert_eq!(often, once);
    }

    #[test]
    fn a_baseline_is_the_time_of_existence_and_execution_comes_on_top(steps in steps()) {
        let (on_demand, _) = run(&steps, false, true);
        let (always_ready, history) = run(&steps, true, true);
        let expected = Amounts {
            executions: on_demand.executions,
            always_ready_baseline_mb_ms: history.now / 1_000_000 * CLASS_MB,
            always_ready_execution_mb_ms: on_demand.on_demand_mb_ms,
            on_demand_mb_ms: 0,
        };
        prop_assert_eq!(always_ready, expected);
    }

    #[test]
    fn calls_at_once_cost_what_one_call_costs(ends in prop::collection::vec(0u64..5_000_000_000, 1..20)) {
        let opened = Instant::now();
        let at = |nanoseconds: u64| opened + Duration::from_nanos(nanoseconds);
        let mut meter = InstanceMeter::new(CLASS_MB, false, opened);
        let mut ends = ends;
        ends.sort_unstable();
        ends.iter().for_each(|_| meter.begin(|| opened));
        ends.iter().for_each(|end| meter.end(at(*end)));
        let longest = ends[ends.len() - 1];
        let expected = longest.div_ceil(100_000_000).max(10) * 100;
        prop_assert_eq!(executed(&mut meter, at(longest)), expected);
    }

    #[test]
    fn time_that_goes_backwards_bills_nothing_twice(moments in prop::collection::vec((0u64..5_000, 0u8..3), 0..60)) {
        let opened = Instant::now();
        let mut meter = InstanceMeter::new(CLASS_MB, true, opened);
        let (mut in_flight, mut latest, mut sum) = (0, 0, Amounts::default());
        for (ms, step) in moments {
            latest = latest.max(ms);
            let now = opened + Duration::from_millis(ms);
            match step {
                0 => {
                    meter.begin(|| now);
                    in_flight += 1;
                }
                1 if in_flight > 0 => {
                    meter.end(now);
                    in_flight -= 1;
                }
                _ => sum += meter.publish(now),
            }
        }
        prop_assert!(sum.always_ready_baseline_mb_ms <= latest * CLASS_MB);
        prop_assert!(sum.always_ready_execution_mb_ms <= (latest + 1_000) * CLASS_MB);
    }
}
