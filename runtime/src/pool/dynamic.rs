//! Decides how many invocations a function may have in flight when its manifest says "dynamic" (SPEC 3.2).
//!
//! Once a second the host is sampled ([`HostSamples`]) and the reading goes to each function's own
//! [`DynamicConcurrency`], which moves its value up while the host is healthy and down while it is throttled. The
//! clock is passed in; nothing here waits or measures. Instants are those of one monotonic clock.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How often the host is sampled and the value of every function is reconsidered. One sample gives one reading.
pub const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// Period of the canary: a task of the event loops whose only work is to be on time.
pub const CANARY_PERIOD: Duration = Duration::from_millis(100);

/// One-second CPU samples that are averaged, so that a burst of one second is no throttle but five seconds are.
const CPU_SAMPLES: usize = 5;
/// CPU use, in thousandths of all cores, from which the CPU throttle is enabled. The rest is for the host and for bursts.
const CPU_PERMILLE_THROTTLED: u32 = 800;
/// Memory use, in thousandths, from which the memory throttle is enabled.
const MEMORY_PERMILLE_THROTTLED: u32 = 800;
/// Canary ticks that a sample must have been due, half a second of them, to say something about the scheduler.
const CANARY_TICKS_MIN: u32 = 5;
/// Healthy readings in a row before the value goes up. Five seconds without a throttle are not chance.
const HEALTHY_READINGS: u32 = 5;
/// Throttled readings in a row before the value goes down. Fewer than for an increase, so that overload ends soon.
const THROTTLED_READINGS: u32 = 3;
/// Least time after a move in which nothing moves, so that the move shows in a reading. The mean latency is added.
const SETTLE_MIN: Duration = Duration::from_secs(2);
/// Most of that time, for slow functions and those of which no invocation has ended.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Least time after a decrease in which nothing increases. [`QUIET_LATENCIES`] times the mean latency is added.
const QUIET_MIN: Duration = Duration::from_secs(10);
/// Most of that time.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// How many mean latencies are added to the quiet time.
const QUIET_LATENCIES: u32 = 10;
/// A move that comes later than this after the last one does not continue its run, though it goes the same way.
const RUN_GAP_MAX: Duration = Duration::from_secs(10);
/// Moves of a run that make the next step longer: a step is at most one more than this, in invocations.
const RUN_COUNTED_MAX: u32 = 5;

/// Signs that the host has enough to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostThrottle {
    /// The mean of the last five CPU samples is at 80 % of all cores or above.
    Cpu,
    /// Memory in use is at 80 % or above.
    Memory,
    /// The canary missed more than half of its ticks: the event loops do not get to their work.
    Scheduler,
}

impl fmt::Display for HostThrottle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Scheduler => "scheduler",
        })
    }
}

/// State of one throttle, or of all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottleState {
    /// Above its threshold.
    Enabled,
    /// Below its threshold. All of them: the host is healthy.
    Disabled,
    /// Not measured, or not often enough yet.
    Unknown,
}

impl ThrottleState {
    fn of(enabled: bool) -> Self {
        if enabled { Self::Enabled } else { Self::Disabled }
    }
}

/// What was measured of the host in one [`SAMPLE_PERIOD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSample {
    /// CPU time used, in thousandths of what all cores had. `None`: could not be measured.
    pub cpu_permille: Option<u32>,
    /// Memory in use, in thousandths of what there is. `None`: could not be measured.
    pub memory_permille: Option<u32>,
    /// Canary ticks that were due since the last sample: the time that passed, in whole [`CANARY_PERIOD`]s.
    pub canary_ticks_due: u32,
    /// How many of them did not come.
    pub canary_ticks_missed: u32,
}

/// The latest samples of the host: as many as its throttles need.
///
/// The window of the scheduler throttle is one sample, ten ticks of the canary: three readings in a row have to be
/// bad before a value goes down, so a single bad one does no harm.
#[derive(Debug)]
pub struct HostSamples {
    cpu_permille: [Option<u32>; CPU_SAMPLES],
    /// Where the next CPU sample goes, over the oldest.
    next_cpu: usize,
    memory: ThrottleState,
    scheduler: ThrottleState,
}

impl Default for HostSamples {
    fn default() -> Self {
        let unknown = ThrottleState::Unknown;
        Self { cpu_permille: [None; CPU_SAMPLES], next_cpu: 0, memory: unknown, scheduler: unknown }
    }
}

impl HostSamples {
    /// Adds the sample of the last [`SAMPLE_PERIOD`] and returns the state of the throttles.
    pub fn add(&mut self, sample: HostSample) -> Reading {
        // A late sample can seem to hold more time than there was. It must not outweigh the others.
        self.cpu_permille[self.next_cpu] = sample.cpu_permille.map(|share| share.min(1_000));
        self.next_cpu = (self.next_cpu + 1) % CPU_SAMPLES;
        self.memory = match sample.memory_permille {
            None => ThrottleState::Unknown,
            Some(share) => ThrottleState::of(share >= MEMORY_PERMILLE_THROTTLED),
        };
        let missed = sample.canary_ticks_missed.min(sample.canary_ticks_due);
        self.scheduler = if sample.canary_ticks_due < CANARY_TICKS_MIN {
            ThrottleState::Unknown
        } else {
            ThrottleState::of(missed > sample.canary_ticks_due - missed)
        };
        self.reading()
    }

    /// Returns what the samples so far say. Unknown if there are too few.
    #[must_use]
    pub fn reading(&self) -> Reading {
        // The mean reaches the threshold when the sum reaches the threshold times the number of samples. Without all samples
        // there is no sum.
        let sum: Option<usize> =
            self.cpu_permille.iter().map(|share| share.map(|share| share as usize)).sum();
        let cpu = match sum {
            None => ThrottleState::Unknown,
            Some(sum) => ThrottleState::of(sum >= CPU_PERMILLE_THROTTLED as usize * CPU_SAMPLES),
        };
        Reading { cpu, memory: self.memory, scheduler: self.scheduler }
    }
}

/// The throttles of the host at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// [`HostThrottle::Cpu`].
    pub cpu: ThrottleState,
    /// [`HostThrottle::Memory`].
    pub memory: ThrottleState,
    /// [`HostThrottle::Scheduler`].
    pub scheduler: ThrottleState,
}

impl Reading {
    /// All together: enabled if any is, or else unknown if any is, or else disabled.
    #[must_use]
    pub fn overall(&self) -> ThrottleState {
        let all = [self.cpu, self.memory, self.scheduler];
        if all.contains(&ThrottleState::Enabled) {
            ThrottleState::Enabled
        } else if all.contains(&ThrottleState::Unknown) {
            ThrottleState::Unknown
        } else {
            ThrottleState::Disabled
        }
    }

    /// The throttles that are enabled.
    pub fn enabled(&self) -> impl Iterator<Item = HostThrottle> {
        let all = [
            (HostThrottle::Cpu, self.cpu),
            (HostThrottle::Memory, self.memory),
            (HostThrottle::Scheduler, self.scheduler),
        ];
        all.into_iter().filter(|(_, state)| *state == ThrottleState::Enabled).map(|(throttle, _)| throttle)
    }

    /// Whether triggers that fetch their work may fetch. An unknown state stops nothing.
    ///
    /// Unlike SPEC 3.2, a CPU throttle alone does not stop them. Values go down in any case, and idle cores would only end the
    /// throttle, which would then come back, so that a fifth of the machine would be unused (docs/decisions).
    #[must_use]
    pub fn fetching(&self) -> Fetching {
        match [self.memory, self.scheduler].contains(&ThrottleState::Enabled) {
            true => Fetching::Paused,
            false => Fetching::Free,
        }
    }
}

/// Whether triggers that fetch their work may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fetching {
    /// As many as their values allow.
    #[default]
    Free,
    /// Nothing.
    Paused,
}

/// Which way a value moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More invocations at once.
    Increase,
    /// Fewer.
    Decrease,
}

/// One move of a value; its `Display` is the log line of category Host.Concurrency, without the function's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjustment {
    /// The value before, in invocations.
    pub from: u32,
    /// The value from now on.
    pub to: u32,
    /// Which way that is.
    pub direction: Direction,
    /// State of the host at that time; [`Reading::enabled`] names the throttles that caused a decrease.
    pub reading: Reading,
    /// The most invocations seen in flight since the move before this one.
    pub in_flight: u32,
}

impl fmt::Display for Adjustment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, in_flight, .. } = self;
        let verb = match self.direction {
            Direction::Increase => "increased",
            Direction::Decrease => "decreased",
        };
        write!(formatter, "concurrency {verb} from {from} to {to}, {in_flight} in flight")?;
        for (position, throttle) in self.reading.enabled().enumerate() {
            let before = if position == 0 { "; throttles enabled: " } else { ", " };
            write!(formatter, "{before}{throttle}")?;
        }
        Ok(())
    }
}

/// What a function has learned; kept over a restart of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The value, in invocations.
    pub value: u32,
    /// Cores of the machine it was learned on.
    pub cores: NonZeroU32,
}

impl Snapshot {
    /// Returns the value for a machine with `cores`: scaled by the ratio of cores, rounded (halves up), with 1 ≤ value ≤
    /// `maximum`.
    #[must_use]
    pub fn scaled(&self, cores: NonZeroU32, maximum: u32) -> u32 {
        let learned_on = u64::from(self.cores.get());
        let scaled = (u64::from(self.value) * u64::from(cores.get()) + learned_on / 2) / learned_on;
        u32::try_from(scaled).unwrap_or(u32::MAX).clamp(1, maximum.max(1))
    }
}

/// The concurrency of one function. Invariant: 1 ≤ value ≤ maximum.
#[derive(Debug)]
pub struct DynamicConcurrency {
    value: u32,
    maximum: u32,
    /// State of the last reading, and how many readings in a row had it. Unknown is a state like the others here: it moves
    /// nothing, and it ends a row.
    state: ThrottleState,
    equal_readings: u32,
    /// Most in flight since the last move.
    in_flight_peak: u32,
    /// When the value last moved, or was created.
    adjusted_at: Instant,
    decreased_at: Option<Instant>,
    /// Which way the value last moved.
    direction: Option<Direction>,
    /// How many moves in a row, up to the last, each followed one in the same direction within [`RUN_GAP_MAX`]. The first move
    /// after a turn or a pause follows none, so the second step is as short as the first: the CPU samples still contain the time
    /// before the turn.
    run: u32,
}

impl DynamicConcurrency {
    /// Makes a function that nothing is known of: the value is 1. `maximum` is in invocations; 0 counts as 1.
    #[must_use]
    pub fn new(maximum: u32, now: Instant) -> Self {
        Self {
            value: 1,
            maximum: maximum.max(1),
            state: ThrottleState::Unknown,
            equal_readings: 0,
            in_flight_peak: 0,
            adjusted_at: now,
            decreased_at: None,
            direction: None,
            run: 0,
        }
    }

    /// Makes a function that continues with what it has learned, on a machine with `cores`.
    #[must_use]
    pub fn restore(snapshot: Snapshot, cores: NonZeroU32, maximum: u32, now: Instant) -> Self {
        Self { value: snapshot.scaled(cores, maximum), ..Self::new(maximum, now) }
    }

    /// Returns what to keep, on a machine with `cores`.
    #[must_use]
    pub fn snapshot(&self, cores: NonZeroU32) -> Snapshot {
        Snapshot { value: self.value, cores }
    }

    /// Returns the most invocations that may be in flight now. After a decrease more may still be in flight from before.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.value
    }

    /// Takes the reading of this [`SAMPLE_PERIOD`] and returns the move of the value, if it moved.
    ///
    /// `in_flight` is the most invocations in flight since the last call of this; `mean_latency` is that of the
    /// invocations that have ended since the last move, `None` if none has.
    pub fn observe(
        &mut self,
        now: Instant,
        reading: Reading,
        in_flight: u32,
        mean_latency: Option<Duration>,
    ) -> Option<Adjustment> {
        self.in_flight_peak = self.in_flight_peak.max(in_flight);
        let state = reading.overall();
        self.equal_readings = if state == self.state { self.equal_readings.saturating_add(1) } else { 1 };
        self.state = state;
        let settle = with_latency(SETTLE_MIN, 1, mean_latency, SETTLE_MAX);
        if now.saturating_duration_since(self.adjusted_at) <= settle {
            return None;
        }
        let direction = match state {
            ThrottleState::Disabled if self.may_increase(now, mean_latency) => Direction::Increase,
            ThrottleState::Enabled if self.may_decrease() => Direction::Decrease,
            _ => return None,
        };
        Some(self.adjust(now, direction, reading))
    }

    fn may_increase(&self, now: Instant, mean_latency: Option<Duration>) -> bool {
        let quiet = with_latency(QUIET_MIN, QUIET_LATENCIES, mean_latency, QUIET_MAX);
        self.equal_readings >= HEALTHY_READINGS
            && self.decreased_at.is_none_or(|at| now.saturating_duration_since(at) >= quiet)
            // A value that is not used up teaches nothing about a larger one.
            && self.in_flight_peak >= self.value
            && self.value < self.maximum
    }

    fn may_decrease(&self) -> bool {
        self.equal_readings >= THROTTLED_READINGS && self.value > 1
    }

    fn adjust(&mut self, now: Instant, direction: Direction, reading: Reading) -> Adjustment {
        let in_time = now.saturating_duration_since(self.adjusted_at) <= RUN_GAP_MAX;
        let follows = self.direction == Some(direction) && in_time;
        let step = if follows { 1 + self.run.min(RUN_COUNTED_MAX) } else { 1 };
        let from = self.value;
        self.value = match direction {
            Direction::Increase => from.saturating_add(step).min(self.maximum),
            Direction::Decrease => from.saturating_sub(step).max(1),
        };
        if direction == Direction::Decrease {
            self.decreased_at = Some(now);
        }
        self.run = if follows { self.run.saturating_add(1) } else { 0 };
        self.direction = Some(direction);
        self.adjusted_at = now;
        let in_flight = std::mem::take(&mut self.in_flight_peak);
        Adjustment { from, to: self.value, direction, reading, in_flight }
    }
}

/// Returns `least` plus `times` × the mean latency, at most `most`. Without a latency it is `most`.
fn with_latency(least: Duration, times: u32, mean_latency: Option<Duration>, most: Duration) -> Duration {
    mean_latency.map_or(most, |latency| least.saturating_add(latency.saturating_mul(times)).min(most))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
