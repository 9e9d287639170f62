//! Counts the invocations of a scale group: every invocation exactly once, across revisions.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::event_loop::own_core;
use crate::invocation::{Outcome, Throttle, is_failure};
use crate::meter::histogram::{Durations, Histogram, Writer};

/// Counters of one group since the host started.
#[derive(Default)]
pub struct Counts {
    /// Of invocations that got a slot. Each event loop has its own, so that none waits for another; the last one is for all other
    /// threads.
    cores: [OnceLock<Box<PerCore>>; CORES + 1],
    /// Invocations by outcome, except those that were answered.
    otherwise: [AtomicU64; Outcome::CODES.len()],
    throttled: [AtomicU64; Throttle::CODES.len()],
    cold: AtomicU64,
    waits: OnceLock<Box<Histogram>>,
    cold_starts: OnceLock<Box<Histogram>>,
}

/// Event loops that have counters of their own.
const CORES: usize = 8;

/// The order matters: except for one counter of the histogram, all that every invocation writes is in one cache line.
#[derive(Default)]
#[repr(C, align(128))]
struct PerCore {
    ended: AtomicU64,
    answered: AtomicU64,
    cpu_nanoseconds: AtomicU64,
    runs: Histogram,
}

/// A copy of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountsNow {
    /// Invocations that got a slot, however they ended.
    pub invocations: u64,
    /// Invocations refused because of a limit or quota.
    pub throttled: u64,
    /// Invocations that got a slot and failed.
    pub failed: u64,
    /// Instances made because an invocation needed one.
    pub cold: u64,
    /// Sum of how long those that got a slot ran.
    pub ran: Duration,
    /// Processor time that guests used.
    pub cpu: Duration,
}

impl Counts {
    /// Counts an invocation that got a slot, by its outcome and how long it ran. Called once for each. Returns its number on this
    /// core among those that failed, or among those that did not.
    pub fn ended(&self, outcome: &Outcome, ran: Duration) -> u64 {
        let (core, writer) = self.core();
        core.runs.note(ran, writer);
        let number = writer.add(&core.ended, 1);
        if *outcome == Outcome::Answered {
            writer.add(&core.answered, 1);
            return number;
        }
        let alike = self.otherwise[outcome.index()].fetch_add(1, Ordering::Relaxed);
        if outcome.is_failure() { alike } else { number }
    }

    /// Counts an invocation that a limit or quota refused. Returns its number among those.
    pub fn refused(&self, throttle: Throttle) -> u64 {
        self.throttled[throttle.index()].fetch_add(1, Ordering::Relaxed)
    }

    /// Counts processor time that a guest used.
    pub fn computed(&self, cpu: Duration) {
        let nanoseconds = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        let (core, writer) = self.core();
        writer.add(&core.cpu_nanoseconds, nanoseconds);
    }

    /// Notes how long an invocation waited for its slot; one that did not wait need not be noted.
    pub fn waited(&self, waited: Duration) {
        self.waits.get_or_init(Box::default).note(waited, Writer::OneOfMany);
    }

    /// Counts an instance that an invocation had to wait for.
    pub fn cold(&self) {
        self.cold.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long a cold start took: from the decision to make an instance until it could take an invocation.
    pub fn cold_start(&self, took: Duration) {
        self.cold_starts.get_or_init(Box::default).note(took, Writer::OneOfMany);
    }

    /// Returns the present numbers.
    pub fn now(&self) -> CountsNow {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let cores = || self.cores.iter().filter_map(OnceLock::get);
        CountsNow {
            invocations: cores().map(|core| load(&core.ended)).sum(),
            throttled: self.throttled.iter().map(load).sum(),
            failed: self.by_outcome().filter(|(code, _)| is_failure(code)).map(|(_, count)| count).sum(),
            cold: load(&self.cold),
            ran: cores().map(|core| core.runs.total()).sum(),
            cpu: Duration::from_nanos(cores().map(|core| load(&core.cpu_nanoseconds)).sum()),
        }
    }

    /// Returns how many ended with each outcome, without those that were throttled.
    pub fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let cores = self.cores.iter().filter_map(OnceLock::get);
        let answered = cores.map(|core| core.answered.load(Ordering::Relaxed)).sum();
        let counted = Outcome::CODES.into_iter().zip(&self.otherwise);
        counted.filter(|(code, _)| *code != THROTTLED).map(move |(code, count)| match code {
            ANSWERED => (code, answered),
            _ => (code, count.load(Ordering::Relaxed)),
        })
    }

    /// Returns how many were refused because of each limit or quota.
    pub fn by_throttle(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Throttle::CODES.into_iter().zip(self.throttled.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Returns how long invocations ran, from their slot to the end of their answer.
    pub fn runs(&self) -> Durations {
        let mut sum = Durations::default();
        self.cores.iter().filter_map(OnceLock::get).for_each(|core| core.runs.add_to(&mut sum));
        sum
    }

    /// Returns how long invocations waited, of those that had to wait for a slot.
    pub fn waits(&self) -> Durations {
        all_of(&self.waits)
    }

    /// Returns how long cold starts took.
    pub fn cold_starts(&self) -> Durations {
        all_of(&self.cold_starts)
    }

    /// Returns the counters of this thread, and how it may add to them.
    fn core(&self) -> (&PerCore, Writer) {
        let (at, writer) = match own_core() {
            Some(own) if own < CORES => (own, Writer::Alone),
            _ => (CORES, Writer::OneOfMany),
        };
        (self.cores[at].get_or_init(Box::default), writer)
    }
}

const ANSWERED: &str = Outcome::CODES[0];
const THROTTLED: &str = Outcome::CODES[1];

fn all_of(histogram: &OnceLock<Box<Histogram>>) -> Durations {
    let mut sum = Durations::default();
    if let Some(histogram) = histogram.get() {
        histogram.add_to(&mut sum);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::BodyError;

    fn every_outcome() -> [Outcome; Outcome::CODES.len()] {
        [
            Outcome::Answered,
            Outcome::Throttled(Throttle::Pace),
            Outcome::TimedOut(Duration::ZERO),
            Outcome::Trapped(String::new()),
            Outcome::MemoryLimit(String::new()),
            Outcome::NoResponse,
            Outcome::InvalidResponse(""),
            Outcome::StartFailed(String::new()),
            Outcome::WorkerLost(""),
            Outcome::HostFailed,
            Outcome::Cancelled,
            Outcome::BadBody(BodyError::TooLarge),
            Outcome::BadBody(BodyError::TooSlow),
            Outcome::BadBody(BodyError::Broken),
            Outcome::BadBody(BodyError::LengthRequired),
        ]
    }

    #[test]
    fn each_is_counted_once_by_how_it_ended() {
        let counts = Counts::default();
        for (at, outcome) in every_outcome().iter().enumerate() {
            assert_eq!(outcome.index(), at);
        }
        let trapped = Outcome::Trapped("unreachable".into());
        for outcome in [Outcome::Answered, trapped.clone(), Outcome::Cancelled, Outcome::Answered, trapped] {
            counts.ended(&outcome, Duration::from_millis(3));
        }
        counts.refused(Throttle::Pace);
        counts.computed(Duration::from_millis(2));
        let expected = CountsNow {
            invocations: 5,
            throttled: 1,
            failed: 2,
            cold: 0,
            ran: Duration::from_millis(15),
            cpu: Duration::from_millis(2),
        };
        assert_eq!(counts.now(), expected);
        let seen: Vec<_> = counts.by_outcome().filter(|(_, count)| *count > 0).collect();
        assert_eq!(seen, [("answered", 2), ("trapped", 2), ("cancelled", 1)]);
        assert_eq!(counts.by_outcome().map(|(_, count)| count).sum::<u64>(), counts.runs().count());
        assert_eq!(counts.by_throttle().find(|(_, count)| *count > 0), Some(("pace", 1)));
    }
}
