//! Decides when a timer function runs: the moments that its schedule names, and what happens to missed ones (SPEC 4.3).
//!
//! An occurrence is a moment that the schedule names, in Unix milliseconds; it is due at that moment or up to the jitter
//! later. Occurrences are settled in order: each gets its run, or is covered or dropped by the rule for missed ones, and
//! never comes up again, whatever the clock does.

mod cron;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::limits;
use cron::Cron;

/// How far occurrences are searched for: 29 February on a given weekday may be 40 years away.
const SEARCH: SignedDuration = SignedDuration::from_hours(41 * 366 * 24);
/// Schedules and changes of offsets are exact to a second.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A cron expression in a time zone.
///
/// When clocks are set forward, the times of day that are skipped give one run together, at the first moment after the
/// gap. If every hour is named they give none, because the next hour has a run of its own. When clocks are set back, a
/// time of day that comes twice counts once, the first time. If every hour is named, or minutes or seconds are `*` (or
/// `*/n`), it counts twice, so that runs stay at equal intervals. Zones are those of the database compiled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads six fields (second first), five (at second 0) or an alias, and the zone's name; an error says what to write.
    ///
    /// Day of month and weekday both have to match, as in NCRONTAB. An expression that names no day of any year, such
    /// as 30 February, is refused.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, String> {
        let wrong = |why| format!("schedule: {:?}: {why}", shown(cron));
        let read = Cron::parse(cron).map_err(wrong)?;
        let zone = parse_zone(zone).map_err(|why| format!("time_zone: {:?}: {why}", shown(zone)))?;
        let schedule = Self { text: cron.trim().to_owned(), cron: read, zone };
        match schedule.next_after(0) {
            Some(_) => Ok(schedule),
            None => Err(wrong("no such day exists: use a day that one of the months has".into())),
        }
    }

    /// The expression, as it was given.
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// The name of the zone, as the database spells it.
    pub fn time_zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first occurrence after `unix_ms`, both in Unix milliseconds. `None`: there is none before the year 9999 ends.
    pub fn next_after(&self, unix_ms: i64) -> Option<i64> {
        let now = Timestamp::from_second(unix_ms.div_euclid(1_000)).ok()?;
        let end = now.checked_add(SEARCH).unwrap_or(Timestamp::MAX);
        let mut earliest = now.checked_add(SECOND).ok()?;
        let mut offset = self.zone.to_offset(now);
        let mut counted = self.counted_before(earliest);
        // Between two transitions the offset does not change. The local times that are skipped or come twice are those
        // between the local times before and after a transition.
        for transition in self.zone.following(now).map(Some).chain([None]) {
            let until = transition.as_ref().map_or(end, |transition| transition.timestamp().min(end));
            let local = offset.to_datetime(earliest);
            let from = if self.cron.is_rhythm() { local } else { local.max(counted) };
            if let Some(found) = self.cron.first_in(from, offset.to_datetime(until)) {
                return Some(offset.to_timestamp(found).ok()?.as_millisecond());
            }
            let transition = transition.filter(|_| until < end)?;
            counted = offset.to_datetime(until);
            offset = transition.offset();
            let left_out = !self.cron.is_every_hour() && {
                let resumed = offset.to_datetime(until);
                self.cron.first_in(counted, resumed).is_some()
            };
            if left_out {
                return Some(until.as_millisecond());
            }
            earliest = until;
        }
        None
    }

    /// The local time, before the change, of the last transition before `instant`. Earlier local times have been there
    /// already.
    fn counted_before(&self, instant: Timestamp) -> DateTime {
        let set = self.zone.preceding(instant).next().map(|transition| transition.timestamp());
        let before = set.and_then(|set| set.checked_sub(SECOND).ok());
        before.zip(set).map_or(DateTime::MIN, |(before, set)| self.zone.to_offset(before).to_datetime(set))
    }

    /// The latest occurrence from `first`, which is one itself, to `until`, in Unix milliseconds.
    fn latest_in(&self, first: i64, until: i64) -> i64 {
        // Invariant: `latest` is an occurrence, and none is later than `above`.
        let (mut latest, mut above) = (first, until);
        while latest < above {
            let middle = latest + above.saturating_sub(latest) / 2;
            match self.next_after(middle) {
                Some(occurrence) if occurrence <= until => latest = occurrence,
                _ => above = middle,
            }
        }
        latest
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.time_zone())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn parse_zone(name: &str) -> Result<TimeZone, String> {
    let max = limits::TIME_ZONE_BYTES_MAX;
    if name.len() > max {
        return Err(format!("it has {} bytes: at most {max} are allowed", name.len()));
    }
    let zones = TimeZoneDatabase::bundled();
    zones.get(name).map_err(|_| {
        // The name of the city alone, or a space instead of an underscore, means this zone.
        let plain = |text: &str| text.replace(' ', "_").to_ascii_lowercase();
        let ends = format!("/{}", plain(name));
        let meant = zones.available().find(|zone| plain(zone.as_str()).ends_with(&ends));
        let meant = meant.as_ref().map_or("Europe/Berlin", |zone| zone.as_str());
        format!("no such time zone: use a name of the IANA database, such as {meant:?}, or \"UTC\"")
    })
}

/// What happens to occurrences that could not start in time, because the host was down or the run before was still
/// going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedRuns {
    /// One run makes up for all of them.
    #[default]
    One,
    /// One run each, in order; of more than [`limits::MISSED_RUNS_MAX`], the latest.
    All,
    /// None: the next occurrence is waited for.
    None,
}

/// A timer function's schedule with all that decides about its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    schedule: Schedule,
    missed_runs: MissedRuns,
    jitter: Duration,
    app: String,
    function: String,
}

impl Timer {
    /// The timer of one function of an app. A run may be delayed by up to `jitter`, in whole milliseconds.
    pub fn new(
        schedule: Schedule,
        missed_runs: MissedRuns,
        jitter: Duration,
        app: &str,
        function: &str,
    ) -> Self {
        Self { schedule, missed_runs, jitter, app: app.to_owned(), function: function.to_owned() }
    }

    /// Its schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// When the occurrence is to start, in Unix milliseconds: up to the jitter later, the same after every restart, and
    /// always before the next occurrence.
    pub fn due(&self, occurrence_ms: i64) -> i64 {
        let jitter_ms = i64::try_from(self.jitter.as_millis()).unwrap_or(i64::MAX);
        let next = if jitter_ms == 0 { None } else { self.schedule.next_after(occurrence_ms) };
        let room_ms = next.map_or(0, |next| (next - occurrence_ms - 1).min(jitter_ms));
        occurrence_ms + (self.hash(occurrence_ms) % (room_ms as u64 + 1)) as i64
    }

    fn hash(&self, occurrence_ms: i64) -> u64 {
        let mut hash = Sha256::new();
        for name in [&self.app, &self.function] {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
        }
        let digest = hash.chain_update(occurrence_ms.to_le_bytes()).finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The latest occurrence that is due at `now_ms`. `first` is an occurrence that is due.
    fn latest_due(&self, first: i64, now_ms: i64) -> i64 {
        let latest = self.schedule.latest_in(first, now_ms);
        if self.due(latest) <= now_ms { latest } else { self.schedule.latest_in(first, latest - 1) }
    }

    /// The first occurrence from `first` to `latest` that gets a run: at most [`limits::MISSED_RUNS_MAX`] do, the
    /// latest ones.
    fn first_kept(&self, first: i64, latest: i64) -> i64 {
        let max = limits::MISSED_RUNS_MAX;
        let later = |occurrence: &i64| self.schedule.next_after(*occurrence);
        if std::iter::successors(Some(first), later).take(max).any(|occurrence| occurrence == latest) {
            return first;
        }
        let earlier = |kept: &i64| (*kept > first).then(|| self.schedule.latest_in(first, kept - 1));
        std::iter::successors(Some(latest), earlier).take(max).last().unwrap_or(latest)
    }
}

/// What is stored of a timer.
///
/// Invariant: every occurrence before `next_due_ms` is settled, and it only grows as long as the schedule stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerState {
    /// The occurrence that ran last, in Unix milliseconds.
    pub last_run_ms: Option<i64>,
    /// The first occurrence that is not settled, in Unix milliseconds. `None`: there will be none.
    pub next_due_ms: Option<i64>,
    /// The occurrence whose run has begun and not ended.
    pub begun_ms: Option<i64>,
}

/// What to do about a timer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerDecision {
    /// What to store before acting, so that a run that a crash cuts off is known ([`TimerState::restarted`]).
    pub state: TimerState,
    /// What to do.
    pub action: Action,
    /// Occurrences settled by this decision that get no run of their own, counted up to [`limits::MISSED_RUNS_MAX`].
    pub skipped: usize,
}

/// What a decision says is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing is due: ask again at this moment, and after the clock was set.
    Wait {
        /// In Unix milliseconds; `i64::MAX` means never.
        until_ms: i64,
    },
    /// An occurrence is due while a run goes on: ask again when that has ended.
    Busy,
    /// Start a run.
    Run {
        /// The occurrence it is for, in Unix milliseconds; with [`MissedRuns::One`] the latest that it makes up for.
        occurrence_ms: i64,
        /// It, or the first that it makes up for, should have started more than [`limits::TIMER_PAST_DUE_AFTER`] ago.
        past_due: bool,
    },
}

impl TimerState {
    /// The state of a timer that is new at `now_ms`. Earlier occurrences are not missed ones.
    pub fn begin(now_ms: i64, schedule: &Schedule) -> Self {
        Self::default().rescheduled(now_ms, schedule)
    }

    /// The state after the schedule or its zone was replaced at `now_ms`. Missed occurrences of the old one are
    /// dropped.
    pub fn rescheduled(self, now_ms: i64, schedule: &Schedule) -> Self {
        let settled = self.last_run_ms.map_or(now_ms, |last| last.max(now_ms));
        Self { next_due_ms: schedule.next_after(settled), ..self }
    }

    /// The state after a run has ended, whatever its outcome.
    pub fn ended(self) -> Self {
        Self { begun_ms: None, ..self }
    }

    /// The state after the host was started again. A run that was cut off counts as missed.
    pub fn restarted(self, missed_runs: MissedRuns) -> Self {
        let cut_off = self.begun_ms.filter(|_| missed_runs != MissedRuns::None);
        Self { next_due_ms: cut_off.or(self.next_due_ms), begun_ms: None, ..self }
    }

    /// Whether the clock is before the last run. The timer waits until the clock has caught up, which is worth a
    /// warning. [`Self::begin`] makes it start over.
    pub fn is_ahead_of(&self, now_ms: i64) -> bool {
        self.last_run_ms.is_some_and(|last| last > now_ms)
    }

    /// What to do at `now_ms`. `is_running`: whether a run of this timer is going on.
    pub fn decide(self, now_ms: i64, is_running: bool, timer: &Timer) -> TimerDecision {
        let unchanged = |action| TimerDecision { state: self, action, skipped: 0 };
        let Some(first) = self.next_due_ms else { return unchanged(Action::Wait { until_ms: i64::MAX }) };
        let due_ms = timer.due(first);
        if now_ms < due_ms {
            return unchanged(Action::Wait { until_ms: due_ms });
        }
        if is_running {
            return unchanged(Action::Busy);
        }
        let tolerance_ms = limits::TIMER_PAST_DUE_AFTER.as_millis() as i64;
        let is_late = |occurrence| now_ms.saturating_sub(timer.due(occurrence)) > tolerance_ms;
        let latest = timer.latest_due(first, now_ms);
        match timer.missed_runs {
            MissedRuns::One => self.run(latest, is_late(first), timer),
            MissedRuns::All => {
                let kept = timer.first_kept(first, latest);
                self.run(kept, is_late(kept), timer)
            }
            MissedRuns::None if is_late(latest) => self.drop_until(latest, timer),
            MissedRuns::None => self.run(latest, false, timer),
        }
    }

    fn run(self, occurrence_ms: i64, past_due: bool, timer: &Timer) -> TimerDecision {
        let next_due_ms = timer.schedule.next_after(occurrence_ms);
        TimerDecision {
            state: Self { last_run_ms: Some(occurrence_ms), next_due_ms, begun_ms: Some(occurrence_ms) },
            action: Action::Run { occurrence_ms, past_due },
            skipped: self.count_until(occurrence_ms, timer),
        }
    }

    fn drop_until(self, latest: i64, timer: &Timer) -> TimerDecision {
        let next_due_ms = timer.schedule.next_after(latest);
        let until_ms = next_due_ms.map_or(i64::MAX, |next| timer.due(next));
        TimerDecision {
            state: Self { next_due_ms, ..self },
            action: Action::Wait { until_ms },
            skipped: self.count_until(latest + 1, timer),
        }
    }

    /// How many unsettled occurrences there are before `end_ms`, counted up to [`limits::MISSED_RUNS_MAX`].
    fn count_until(self, end_ms: i64, timer: &Timer) -> usize {
        let open =
            std::iter::successors(self.next_due_ms, |occurrence| timer.schedule.next_after(*occurrence));
        open.take_while(|occurrence| *occurrence < end_ms).take(limits::MISSED_RUNS_MAX).count()
    }
}
