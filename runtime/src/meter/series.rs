//! Keeps what a group did in each of the last seconds, for graphs.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::limits;
use crate::meter::counts::{Counts, CountsNow};
use crate::meter::histogram::Durations;

/// The present numbers of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolView {
    /// Instances that exist.
    pub instances: usize,
    /// The most that existed at once.
    pub instances_peak: usize,
    /// Slots taken.
    pub in_flight: usize,
    /// Invocations in the wait queue.
    pub waiting: usize,
    /// Bytes of linear memory of all its instances.
    pub memory_bytes: u64,
}

impl AddAssign for PoolView {
    fn add_assign(&mut self, other: Self) {
        self.instances += other.instances;
        self.instances_peak += other.instances_peak;
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        self.memory_bytes += other.memory_bytes;
    }
}

/// One second of a group. Counts are of that second, other numbers of its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// When it began: milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// Invocations that ended.
    pub invocations: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Invocations that a limit or quota refused.
    pub throttled: u64,
    /// Instances made because an invocation needed one.
    pub cold: u64,
    /// Microseconds of processor time that guests used.
    pub cpu_us: u64,
    /// How long invocations ran, in microseconds; none, if none ended.
    pub p50_us: Option<f64>,
    /// Nine of ten ran no longer.
    pub p90_us: Option<f64>,
    /// 99 of 100 ran no longer.
    pub p99_us: Option<f64>,
    /// None ran longer.
    pub max_us: Option<f64>,
    /// Instances that exist.
    pub instances: usize,
    /// Slots taken.
    pub in_flight: usize,
    /// Invocations in the wait queue.
    pub waiting: usize,
    /// Bytes of linear memory of all its instances.
    pub memory_bytes: u64,
}

/// The last [`limits::SERIES_SECONDS`] of a group. Seconds in which nothing changed are left out.
#[derive(Default)]
pub struct Series(Mutex<State>);

#[derive(Default)]
struct State {
    points: VecDeque<Point>,
    counts: CountsNow,
    runs: Durations,
    view: PoolView,
}

/// The sum of the last seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lately {
    /// How many seconds.
    pub seconds: u64,
    /// Invocations that ended.
    pub invocations: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Invocations that a limit or quota refused.
    pub throttled: u64,
    /// Microseconds of processor time that guests used.
    pub cpu_us: u64,
    /// How long they ran: the mean of the medians of these seconds; none, if none ended.
    pub p50_us: Option<f64>,
    /// 99 of 100 ran no longer in any of these seconds.
    pub p99_us: Option<f64>,
}

impl Series {
    /// Notes the second that began at `time_ms` and ends now, from the counts until now.
    pub fn note(&self, time_ms: u64, counts: &Counts, view: PoolView) {
        let mut state = self.0.lock();
        let now = counts.now();
        if now == state.counts && view == state.view {
            return;
        }
        let counted = now.invocations != state.counts.invocations;
        let runs = if counted { counts.runs() } else { state.runs.clone() };
        let ran = runs.since(&state.runs);
        let microseconds = |share| {
            counted.then(|| ran.quantile(share)).flatten().map(|took: Duration| took.as_secs_f64() * 1e6)
        };
        let before = state.counts;
        let point = Point {
            time_ms,
            invocations: now.invocations - before.invocations,
            failed: now.failed - before.failed,
            throttled: now.throttled - before.throttled,
            cold: now.cold - before.cold,
            cpu_us: (now.cpu - before.cpu).as_micros() as u64,
            p50_us: microseconds(0.5),
            p90_us: microseconds(0.9),
            p99_us: microseconds(0.99),
            max_us: microseconds(1.0),
            instances: view.instances,
            in_flight: view.in_flight,
            waiting: view.waiting,
            memory_bytes: view.memory_bytes,
        };
        (state.counts, state.runs, state.view) = (now, runs, view);
        if state.points.len() == limits::SERIES_SECONDS {
            state.points.pop_front();
        }
        state.points.push_back(point);
    }

    /// The points that began after `since_ms`, the oldest first.
    pub fn since(&self, since_ms: u64) -> Vec<Point> {
        self.0.lock().points.iter().filter(|point| point.time_ms > since_ms).cloned().collect()
    }

    /// The sum of the `seconds` before `now_ms`.
    pub fn lately(&self, now_ms: u64, seconds: u64) -> Lately {
        let points = self.since(now_ms.saturating_sub(seconds * 1_000));
        let sum = |of: fn(&Point) -> u64| points.iter().map(of).sum();
        let invocations = sum(|point| point.invocations);
        let medians = points.iter().filter_map(|point| Some(point.p50_us? * point.invocations as f64));
        Lately {
            seconds,
            invocations,
            failed: sum(|point| point.failed),
            throttled: sum(|point| point.throttled),
            cpu_us: sum(|point| point.cpu_us),
            p50_us: (invocations > 0).then(|| medians.sum::<f64>() / invocations as f64),
            p99_us: points.iter().filter_map(|point| point.p99_us).reduce(f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::{Outcome, Throttle};

    #[test]
    fn each_second_has_what_came_in_it() {
        let (series, counts, idle) = (Series::default(), Counts::default(), PoolView::default());
        counts.ended(&Outcome::Answered, Duration::from_millis(4));
        counts.ended(&Outcome::NoResponse, Duration::from_millis(8));
        series.note(1_000, &counts, PoolView { instances: 1, ..idle });
        // Nothing happened: no point.
        series.note(2_000, &counts, PoolView { instances: 1, ..idle });
        counts.refused(Throttle::Pace);
        counts.ended(&Outcome::Answered, Duration::from_millis(100));
        series.note(3_000, &counts, PoolView { instances: 2, ..idle });
        // Only the instances went.
        series.note(4_000, &counts, idle);

        let points = series.since(0);
        let seen: Vec<_> = points
            .iter()
            .map(|point| (point.time_ms, point.invocations, point.failed, point.throttled, point.instances))
            .collect();
        assert_eq!(seen, [(1_000, 2, 1, 0, 1), (3_000, 1, 0, 1, 2), (4_000, 0, 0, 0, 0)]);
        let near = |measured: Option<f64>, milliseconds: f64| {
            (measured.expect("some ended") / 1e3 / milliseconds - 1.0).abs() < 0.07
        };
        assert!(near(points[0].p50_us, 4.0) && near(points[0].max_us, 8.0));
        assert!(near(points[1].p50_us, 100.0), "the second has its own quantiles: {points:?}");
        assert_eq!(points[2].p50_us, None);
        assert_eq!(series.since(1_000).len(), 2);
        let lately = series.lately(4_500, 2);
        assert_eq!((lately.invocations, lately.throttled), (1, 1));
    }

    #[test]
    fn only_the_last_seconds_are_kept() {
        let (series, counts) = (Series::default(), Counts::default());
        for second in 0..limits::SERIES_SECONDS as u64 + 5 {
            counts.cold();
            series.note(second * 1_000, &counts, PoolView::default());
        }
        let points = series.since(0);
        assert_eq!((points.len(), points[0].time_ms), (limits::SERIES_SECONDS, 5_000));
    }
}
