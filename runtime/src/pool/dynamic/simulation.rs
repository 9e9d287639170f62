//! A host with some cores and functions that compute, wait or do both, on virtual time: where their values end up.
//!
//! `WFN_SIMULATION_SEED=7` repeats a run, `WFN_SIMULATION_RUNS=50` makes more of them; `--nocapture` shows the figures.
//!
//! A call computes for a time and waits for a time. As long as fewer calls compute than there are cores, they do
//! not notice each other; beyond that each takes a share, and a hundredth of the cores is lost per queued call and
//! core. What is measured of the host is off by a few percent, at random.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::*;
use crate::limits::DYNAMIC_CONCURRENCY_MAX;

/// A function as the model sees it: times in seconds, memory of a call in thousandths of the host's.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    computes: f64,
    waits: f64,
    memory_permille: f64,
}

const COMPUTING: Kind = Kind { name: "computing", computes: 0.05, waits: 0.0, memory_permille: 0.2 };
const WAITING: Kind = Kind { name: "waiting", computes: 0.001, waits: 0.2, memory_permille: 0.2 };
const WAITING_LONG: Kind = Kind { name: "waiting long", computes: 0.1, waits: 5.0, memory_permille: 0.2 };
const MIXED: Kind = Kind { name: "mixed", computes: 0.02, waits: 0.08, memory_permille: 0.2 };
const HUNGRY: Kind = Kind { name: "hungry", computes: 0.002, waits: 0.3, memory_permille: 10.0 };
const KINDS: [Kind; 5] = [COMPUTING, WAITING, WAITING_LONG, MIXED, HUNGRY];

const CORES: [u32; 5] = [1, 2, 4, 8, 32];
const RUNS_DEFAULT: u64 = 10;
/// More callers than any value lets in.
const CALLERS: u32 = 1_000;
/// Memory in use without any call, in thousandths.
const MEMORY_BASE_PERMILLE: f64 = 200.0;
/// What is left of the cores for each queued call and core.
const QUEUED_CALL_COST: f64 = 0.01;
/// Queued calls per core from which the canary begins to be late, and from which it always is.
const CANARY_LATE: (f64, f64) = (8.0, 14.0);
/// Virtual seconds of a run, and those at its end that count.
const RUN_SECONDS: u64 = 1_800;
const COUNTED_SECONDS: u64 = 600;

/// `exact`, off by up to `error` of itself.
fn about(random: &mut Rng, exact: f64, error: f64) -> f64 {
    exact * (1.0 + error * (2.0 * random.f64() - 1.0))
}

/// The host for one second, with so many calls of each kind in flight.
#[derive(Debug, Clone, Copy)]
struct Second {
    /// How much longer a call computes than it would alone.
    stretch: f64,
    cpu_share: f64,
    memory_permille: f64,
    canary_late_share: f64,
}

impl Second {
    fn new(cores: u32, load: &[(Kind, f64)]) -> Self {
        let cores = f64::from(cores);
        // Cores' worth of computing that gets done if every call computes `stretch` times as long.
        let done = |stretch: f64| -> f64 {
            load.iter()
                .map(|(kind, calls)| calls * kind.computes / (kind.waits + stretch * kind.computes))
                .sum()
        };
        let queued = |stretch: f64| (stretch * done(stretch) / cores - 1.0).max(0.0);
        let needed = |stretch: f64| done(stretch) * (1.0 + QUEUED_CALL_COST * queued(stretch));
        let (mut low, mut high) = (1.0, 1.0e6);
        if needed(low) > cores {
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                if needed(middle) > cores { low = middle } else { high = middle }
            }
        }
        let memory: f64 = load.iter().map(|(kind, calls)| calls * kind.memory_permille).sum();
        Self {
            stretch: low,
            cpu_share: (needed(low) / cores).min(1.0),
            memory_permille: (MEMORY_BASE_PERMILLE + memory).min(1_000.0),
            canary_late_share: ((queued(low) - CANARY_LATE.0) / (CANARY_LATE.1 - CANARY_LATE.0))
                .clamp(0.0, 1.0),
        }
    }

    /// Seconds a call takes.
    fn latency(&self, kind: Kind) -> f64 {
        kind.waits + self.stretch * kind.computes
    }

    fn is_healthy(&self) -> bool {
        self.cpu_share < 0.8 && self.memory_permille < 800.0 && self.canary_late_share <= 0.5
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is not negative")]
    fn sample(&self, random: &mut Rng) -> HostSample {
        let missed = (0..10).filter(|_| random.f64() < self.canary_late_share).count();
        HostSample {
            cpu_permille: Some((about(random, self.cpu_share, 0.03) * 1_000.0) as u32),
            memory_permille: Some(about(random, self.memory_permille, 0.01) as u32),
            canary_ticks_due: 10,
            canary_ticks_missed: u32::try_from(missed).unwrap(),
        }
    }
}

/// Calls a second with a value that never moves.
fn throughput_at(kind: Kind, cores: u32, value: u32) -> f64 {
    f64::from(value) / Second::new(cores, &[(kind, f64::from(value))]).latency(kind)
}

/// The value that, never moved, does the most calls a second, and how many that are.
fn best_static(kind: Kind, cores: u32, counts: impl Fn(&u32) -> bool) -> (u32, f64) {
    let values = (1..=DYNAMIC_CONCURRENCY_MAX).filter(counts);
    values
        .map(|value| (value, throughput_at(kind, cores, value)))
        .fold((1, throughput_at(kind, cores, 1)), |best, next| if next.1 > best.1 { next } else { best })
}

/// One function of a run and what came of it in the seconds that count.
struct Simulated {
    kind: Kind,
    callers: u32,
    function: DynamicConcurrency,
    in_flight: f64,
    moved_at: Duration,
    moves: u32,
    calls_per_second: f64,
    lowest: u32,
    highest: u32,
    mean: f64,
}

impl Simulated {
    fn new(kind: Kind, callers: u32, value: u32, start: Instant) -> Self {
        let one = NonZeroU32::MIN;
        let snapshot = Snapshot { value, cores: one };
        Self {
            kind,
            callers,
            function: DynamicConcurrency::restore(snapshot, one, DYNAMIC_CONCURRENCY_MAX, start),
            in_flight: 0.0,
            moved_at: Duration::ZERO,
            moves: 0,
            calls_per_second: 0.0,
            lowest: u32::MAX,
            highest: 0,
            mean: 0.0,
        }
    }

    /// Calls that came in before a decrease end in their own time.
    fn begin_second(&mut self, latency: f64) {
        let left = self.in_flight * (-1.0 / latency).exp();
        self.in_flight = left.max(f64::from(self.function.value().min(self.callers)));
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "calls are few and not negative"
    )]
    fn end_second(&mut self, start: Instant, elapsed: Duration, reading: Reading, latency: f64) {
        let counted = elapsed > Duration::from_secs(RUN_SECONDS - COUNTED_SECONDS);
        let value = self.function.value();
        let seen = elapsed.saturating_sub(self.moved_at).as_secs_f64() >= latency;
        let mean_latency = seen.then(|| Duration::from_secs_f64(latency));
        let moved = self.function.observe(start + elapsed, reading, self.in_flight as u32, mean_latency);
        if moved.is_some() {
            self.moved_at = elapsed;
        }
        if counted {
            let seconds = Duration::from_secs(COUNTED_SECONDS).as_secs_f64();
            self.moves += u32::from(moved.is_some());
            self.calls_per_second += self.in_flight / latency / seconds;
            self.mean += f64::from(value) / seconds;
            self.lowest = self.lowest.min(value);
            self.highest = self.highest.max(value);
        }
    }
}

/// Runs functions beside each other on one host. A function is a kind, its callers and its value at first.
fn run(cores: u32, functions: &[(Kind, u32, u32)], seed: u64) -> Vec<Simulated> {
    let mut random = Rng::with_seed(seed);
    let mut host = HostSamples::default();
    let start = Instant::now();
    let mut simulated: Vec<_> = functions
        .iter()
        .map(|(kind, callers, value)| Simulated::new(*kind, *callers, *value, start))
        .collect();
    let mut stretch = 1.0;
    for elapsed in (1..=RUN_SECONDS).map(Duration::from_secs) {
        for one in &mut simulated {
            one.begin_second(one.kind.waits + stretch * one.kind.computes);
        }
        let load: Vec<_> = simulated.iter().map(|one| (one.kind, one.in_flight)).collect();
        let second = Second::new(cores, &load);
        let reading = host.add(second.sample(&mut random));
        for one in &mut simulated {
            one.end_second(start, elapsed, reading, second.latency(one.kind));
        }
        stretch = second.stretch;
    }
    simulated
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|given| given.parse::<u64>().expect("a number"));
    match number("WFN_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WFN_SIMULATION_RUNS").unwrap_or(RUNS_DEFAULT),
    }
}

/// The best value is one that leaves the host healthy: the throttles keep a fifth of it free, which no value is to
/// use up. Where that best value is smaller than this, the next one already throttles the host by a lot, and the
/// value goes up to it and back down past the best one all the time.
const COARSE_BELOW: u32 = 4;

#[test]
fn a_function_alone_does_as_many_calls_as_with_the_best_fixed_value() {
    println!(
        "kind, cores, first value: mean value (lowest-highest), moves a minute, of best healthy, of best"
    );
    for (kind, cores) in KINDS.into_iter().flat_map(|kind| CORES.map(|cores| (kind, cores))) {
        let is_healthy = |value: &u32| Second::new(cores, &[(kind, f64::from(*value))]).is_healthy();
        let (best_value, best_healthy) = best_static(kind, cores, is_healthy);
        let (_, best) = best_static(kind, cores, |_| true);
        let least = if best_value < COARSE_BELOW { 0.75 } else { 0.9 };
        for (seed, first) in seeds().flat_map(|seed| [(seed, 1), (seed, DYNAMIC_CONCURRENCY_MAX)]) {
            let one = run(cores, &[(kind, CALLERS, first)], seed).remove(0);
            let (of_healthy, of_best) = (one.calls_per_second / best_healthy, one.calls_per_second / best);
            let a_minute = one.moves * 60 / u32::try_from(COUNTED_SECONDS).unwrap();
            let figures = format!(
                "{:12}, {cores:2}, {first:3}: {:5.1} ({:3}-{:3}), {a_minute:2}, {of_healthy:.3}, {of_best:.3}",
                kind.name, one.mean, one.lowest, one.highest,
            );
            println!("{figures}");
            assert!(of_healthy >= least, "seed {seed}: {figures}");
            let swing = f64::from(one.highest - one.lowest);
            assert!(swing <= 5.0 + one.mean / 10.0, "seed {seed}: it swings too far: {figures}");
        }
    }
}

#[test]
fn a_value_grows_no_further_than_a_step_beyond_its_callers() {
    let callers = 20;
    for seed in seeds() {
        let one = run(8, &[(WAITING, callers, 1)], seed).remove(0);
        assert!((callers..=callers + RUN_COUNTED_MAX).contains(&one.highest), "seed {seed}: {}", one.highest);
        assert_eq!(one.moves, 0, "seed {seed}");
    }
}

#[test]
fn functions_beside_each_other_use_the_cores_without_filling_them() {
    for (cores, seed) in CORES.into_iter().skip(1).flat_map(|cores| seeds().map(move |seed| (cores, seed))) {
        let all = run(cores, &[COMPUTING, WAITING, MIXED].map(|kind| (kind, CALLERS, 1)), seed);
        let computed: f64 = all.iter().map(|one| one.calls_per_second * one.kind.computes).sum();
        let share = computed / f64::from(cores);
        for one in &all {
            println!(
                "{cores:2} cores, {:9}: {:4.1} ({:2}-{:2}), {:5.1} calls/s, all use {share:.2}",
                one.kind.name, one.mean, one.lowest, one.highest, one.calls_per_second,
            );
        }
        assert!((0.6..0.85).contains(&share), "seed {seed}, {cores} cores: {share}");
    }
}
