//! Simulates two years of a timer on virtual time: downtime, crashes, slow runs and clocks that jump.

use std::collections::HashSet;

use fastrand::Rng;

use super::*;

const HOUR_MS: i64 = 3_600_000;
const YEARS_MS: i64 = 2 * 365 * 24 * HOUR_MS;

/// One start of a run, with what the clock showed.
struct Start {
    clock_ms: i64,
    occurrence_ms: i64,
    skipped: usize,
    past_due: bool,
}

struct World {
    random: Rng,
    timer: Timer,
    state: TimerState,
    /// True time, and how far the host's clock is off.
    time_ms: i64,
    skew_ms: i64,
    /// When the run that is going on ends, in true time.
    running_until: Option<i64>,
    starts: Vec<Start>,
    /// Decisions without a run that settled occurrences: how many each, counted up to the limit.
    drops: Vec<usize>,
    jumps_back: usize,
}

impl World {
    fn clock(&self) -> i64 {
        self.time_ms + self.skew_ms
    }

    fn skipped(&self) -> usize {
        self.starts.iter().map(|start| start.skipped).chain(self.drops.iter().copied()).sum()
    }

    /// Does what the host does: decide, store, act. Then time passes until something can be different.
    fn step(&mut self) {
        let is_running = self.running_until.is_some_and(|end| end > self.time_ms);
        let decision = self.state.decide(self.clock(), is_running, &self.timer);
        assert!(decision.state.next_due_ms >= self.state.next_due_ms, "what is settled stays settled");
        self.state = decision.state;
        match decision.action {
            Action::Wait { until_ms } => {
                assert!(until_ms > self.clock());
                if decision.skipped > 0 {
                    self.drops.push(decision.skipped);
                }
                // A timer of the system wakes up a little late.
                let pause = until_ms - self.clock() + self.random.i64(0..20);
                self.pass(pause);
            }
            Action::Busy => {
                assert!(is_running);
                let end = self.running_until.unwrap();
                self.pass(end - self.time_ms);
            }
            Action::Run { occurrence_ms, past_due } => {
                assert!(!is_running, "two runs overlap");
                let (clock_ms, skipped) = (self.clock(), decision.skipped);
                self.starts.push(Start { clock_ms, occurrence_ms, skipped, past_due });
                let length = match self.random.i64(0..200) {
                    0 => self.random.i64(0..60 * HOUR_MS),
                    1..20 => self.random.i64(0..2 * HOUR_MS),
                    _ => self.random.i64(0..60_000),
                };
                self.running_until = Some(self.time_ms + length);
            }
        }
    }

    /// Lets time pass. Something may happen meanwhile.
    fn pass(&mut self, pause_ms: i64) {
        if self.random.i64(0..if pause_ms > 10 * HOUR_MS { 5 } else { 200 }) > 0 {
            self.time_ms += pause_ms;
            return;
        }
        self.time_ms += self.random.i64(0..pause_ms + 1);
        let far = if self.random.i64(0..4) == 0 { 200 * HOUR_MS } else { 3 * HOUR_MS };
        match self.random.i64(0..4) {
            // The host is down, mostly with the run it had; what is stored is all that is left.
            0 | 1 => {
                self.time_ms += self.random.i64(0..far);
                self.running_until = None;
            }
            2 => self.skew_ms += self.random.i64(0..far),
            _ => {
                self.skew_ms -= self.random.i64(0..far);
                self.jumps_back += 1;
            }
        }
    }
}

const TIMERS: [(&str, &str, u64); 7] = [
    ("@hourly", "Europe/Berlin", 0),
    ("0 30 2 * * *", "Europe/Berlin", 60),
    ("0 */20 * * * *", "Australia/Lord_Howe", 30),
    ("0 0 9-17 * * MON-FRI", "America/New_York", 600),
    ("0 0,10,20,30,40,50 0-4 * * *", "America/Havana", 100_000),
    ("30 0 0 28-31 * *", "Asia/Kolkata", 0),
    ("*/15 0 3 * * *", "Africa/Cairo", 5),
];

/// Returns how many occurrences got no run of their own.
fn simulate(seed: u64, missed_runs: MissedRuns) -> usize {
    println!("seed {seed}, {missed_runs:?}");
    let (cron, zone, jitter) = TIMERS[seed as usize % TIMERS.len()];
    let schedule = schedule(cron, zone);
    println!("{schedule}");
    let timer = Timer::new(schedule, missed_runs, Duration::from_secs(jitter), "shop", "report");
    let mut random = Rng::with_seed(seed);
    let begin = ms("2026-01-01T00:00:00Z") + random.i64(0..365 * 24 * HOUR_MS);
    let mut world = World {
        random,
        state: TimerState::begin(begin, timer.schedule()),
        timer,
        time_ms: begin,
        skew_ms: 0,
        running_until: None,
        starts: Vec::new(),
        drops: Vec::new(),
        jumps_back: 0,
    };
    while world.time_ms < begin + YEARS_MS {
        world.step();
    }
    let (starts, jumps) = (world.starts.len(), world.jumps_back);
    println!("{starts} runs, {} skipped, {jumps} jumps back", world.skipped());
    assert!(starts > 20 && jumps > 0, "too little happened");
    check_starts(&world, begin);
    world.skipped()
}

/// Checks what a policy promises, from the list of starts.
fn check_starts(world: &World, begin: i64) {
    let (timer, bound) = (&world.timer, limits::MISSED_RUNS_MAX);
    let end = world.state.next_due_ms.unwrap();
    let schedule = timer.schedule();
    let all: Vec<i64> = std::iter::successors(schedule.next_after(begin), |ms| schedule.next_after(*ms))
        .take_while(|occurrence| *occurrence < end)
        .collect();
    let named: HashSet<i64> = all.iter().copied().collect();
    for start in &world.starts {
        assert!(named.contains(&start.occurrence_ms), "the schedule names it");
        assert!(start.clock_ms >= timer.due(start.occurrence_ms), "it does not start early");
    }
    assert!(world.starts.is_sorted_by(|a, b| a.occurrence_ms < b.occurrence_ms), "none runs twice");
    let counts: Vec<usize> =
        world.starts.iter().map(|start| start.skipped).chain(world.drops.clone()).collect();
    if counts.iter().all(|count| *count < bound) {
        assert_eq!(world.starts.len() + counts.iter().sum::<usize>(), all.len(), "all are accounted for");
    }
    let lateness = |start: &Start| start.clock_ms - timer.due(start.occurrence_ms);
    match timer.missed_runs {
        MissedRuns::One => {
            assert!(world.drops.is_empty());
            for pair in world.starts.windows(2) {
                let due = timer.due(pair[1].occurrence_ms);
                assert!(due > pair[0].clock_ms, "what was due at the start of a run is made up for by it");
            }
            for start in &world.starts {
                assert!(start.past_due || start.skipped == 0 || lateness(start) <= 1_000);
                assert!(start.past_due || lateness(start) <= 1_000);
            }
        }
        MissedRuns::All => {
            assert!(world.drops.is_empty());
            for start in &world.starts {
                assert_eq!(start.past_due, lateness(start) > 1_000);
                if start.skipped > 0 {
                    let from = Some(start.occurrence_ms);
                    let waiting = std::iter::successors(from, |ms| schedule.next_after(*ms))
                        .take_while(|ms| timer.due(*ms) <= start.clock_ms)
                        .count();
                    assert_eq!(waiting, bound, "only what is beyond the bound is lost");
                }
            }
        }
        MissedRuns::None => {
            assert!(world.starts.iter().all(|start| !start.past_due && lateness(start) <= 1_000));
        }
    }
}

#[test]
fn two_years_of_jumping_clocks_slow_runs_and_downtime() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("WFN_SIMULATION_SEED").unwrap_or(1);
    let runs = number("WFN_SIMULATION_RUNS").unwrap_or(TIMERS.len() as u64);
    for missed_runs in [MissedRuns::One, MissedRuns::All, MissedRuns::None] {
        let skipped: usize = (first..first + runs).map(|seed| simulate(seed, missed_runs)).sum();
        assert!(skipped > 0 || runs < TIMERS.len() as u64, "{missed_runs:?} was not put to the test");
    }
}
