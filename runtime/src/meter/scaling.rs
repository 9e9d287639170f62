//! Logs why a group got more or fewer instances, or did not: each decision with the numbers it was based on (SPEC 2.9).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::invocation::Throttle;
use crate::limits;
use crate::names::RevisionId;

/// The reason of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// An instance was added, because it has to exist before there is a request.
    AlwaysReady,
    /// An instance was added: every slot was taken when an invocation came.
    EverySlotTaken,
    /// No instance was added: the group has as many as it may.
    MaximumInstances,
    /// No instance was added yet: the burst is used up, the rate says when.
    Pace,
    /// No instance was added: the host's quota has no room.
    MemoryQuota,
    /// No instance was added: guests hold as much real memory as they may.
    HostMemory,
    /// Instances were retired that had nothing to do for the idle timeout.
    Idle,
    /// An idle instance was retired, because another app needed its memory.
    RoomForOthers,
    /// Instances were retired with their revision.
    RevisionEnded,
}

impl Reason {
    /// All of them, in the order in which they are declared, with their words.
    const ALL: [(Self, &str); 9] = [
        (Self::AlwaysReady, "always-ready"),
        (Self::EverySlotTaken, "every-slot-taken"),
        (Self::MaximumInstances, "maximum-instances"),
        (Self::Pace, "pace"),
        (Self::MemoryQuota, "memory-quota"),
        (Self::HostMemory, "host-memory"),
        (Self::Idle, "idle"),
        (Self::RoomForOthers, "room-for-others"),
        (Self::RevisionEnded, "revision-ended"),
    ];

    /// What was done: `added`, `withheld` or `retired`.
    pub fn action(self) -> &'static str {
        match self {
            Self::AlwaysReady | Self::EverySlotTaken => "added",
            Self::MaximumInstances | Self::Pace | Self::MemoryQuota | Self::HostMemory => "withheld",
            Self::Idle | Self::RoomForOthers | Self::RevisionEnded => "retired",
        }
    }
}

impl From<Throttle> for Reason {
    fn from(throttle: Throttle) -> Self {
        match throttle {
            // Who waits for a core has a slot; that is no reason for an instance.
            Throttle::MaximumInstances | Throttle::Cores => Self::MaximumInstances,
            Throttle::Pace => Self::Pace,
            Throttle::MemoryQuota => Self::MemoryQuota,
            Throttle::HostMemory | Throttle::WorkerCount => Self::HostMemory,
        }
    }
}

/// The numbers that a decision was based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Inputs {
    /// Instances of the group.
    pub instances: usize,
    /// Slots taken.
    pub in_flight: usize,
    /// Invocations in the wait queue.
    pub waiting: usize,
    /// What all instances of the host have reserved of its quota, in MB.
    pub quota_reserved_mb: u64,
    /// What all guests of the host hold of its memory, in bytes.
    pub guest_memory_bytes: u64,
}

/// One decision, or several of the same kind in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ScalingDecision {
    /// When the first was made: milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// When the last was made.
    pub until_ms: u64,
    /// For which revision.
    pub revision: RevisionId,
    /// The reason.
    pub reason: Reason,
    /// Instances added or retired, or invocations that had to wait for one.
    pub count: u64,
    /// The numbers before the first.
    pub before: Inputs,
    /// The numbers after the last.
    pub after: Inputs,
}

/// The latest decisions of one app, at most [`limits::SCALE_DECISIONS_MAX`].
#[derive(Default)]
pub struct ScaleLog {
    decisions: Mutex<VecDeque<ScalingDecision>>,
    /// Number of instances, or refused invocations, for each reason since the host started.
    counted: [AtomicU64; Reason::ALL.len()],
}

/// Decisions that changed the number of instances count as separate if this much time is between them, so that the steps of a
/// scale-out can be seen.
const STEP_MS: u64 = 100;
/// Refusals come with every request. They are one decision until there is none for this long.
const QUIET_MS: u64 = 1_000;

impl ScaleLog {
    /// Notes a decision because of `reason`, about `count` instances or refused invocations.
    pub fn note(&self, now_ms: u64, revision: RevisionId, reason: Reason, count: u64, states: [Inputs; 2]) {
        self.counted[reason as usize].fetch_add(count, Ordering::Relaxed);
        let [before, after] = states;
        let mut decisions = self.decisions.lock();
        if let Some(last) = decisions.back_mut()
            && last.goes_on(now_ms, revision, reason)
        {
            last.until_ms = now_ms.max(last.until_ms);
            last.count += count;
            last.after = after;
            return;
        }
        if decisions.len() == limits::SCALE_DECISIONS_MAX {
            decisions.pop_front();
        }
        decisions.push_back(ScalingDecision {
            time_ms: now_ms,
            until_ms: now_ms,
            revision,
            reason,
            count,
            before,
            after,
        });
    }

    /// Returns how many instances, or refused invocations, each reason has had since the host started.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = self.counted.iter().map(|count| count.load(Ordering::Relaxed));
        Reason::ALL.into_iter().map(|(_, word)| word).zip(counted)
    }

    /// The kept decisions, the oldest first.
    pub fn decisions(&self) -> Vec<ScalingDecision> {
        self.decisions.lock().iter().copied().collect()
    }
}

impl ScalingDecision {
    /// Whether a decision at `now_ms` is part of this one.
    fn goes_on(&self, now_ms: u64, revision: RevisionId, reason: Reason) -> bool {
        let is_recent = match reason.action() {
            "withheld" => now_ms.saturating_sub(self.until_ms) <= QUIET_MS,
            _ => now_ms.saturating_sub(self.time_ms) < STEP_MS,
        };
        is_recent && self.reason == reason && self.revision == revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(instances: usize) -> Inputs {
        Inputs { instances, in_flight: 0, waiting: 0, quota_reserved_mb: 0, guest_memory_bytes: 0 }
    }

    #[test]
    fn a_scale_out_reads_in_steps_and_refusals_as_one() {
        let log = ScaleLog::default();
        let note = |now_ms, reason, at: usize| {
            log.note(now_ms, RevisionId(1), reason, 1, [inputs(at), inputs(at + 1)]);
        };
        for (at, now_ms) in [0, 20, 99, 100, 150].into_iter().enumerate() {
            note(now_ms, Reason::EverySlotTaken, at);
        }
        for now_ms in [200, 900, 1_800, 3_000] {
            note(now_ms, Reason::MaximumInstances, 5);
        }
        let seen: Vec<_> = log
            .decisions()
            .iter()
            .map(|one| (one.time_ms, one.until_ms, one.count, one.before.instances, one.after.instances))
            .collect();
        assert_eq!(
            seen,
            [(0, 99, 3, 0, 3), (100, 150, 2, 3, 5), (200, 1_800, 3, 5, 6), (3_000, 3_000, 1, 5, 6)]
        );
    }

    #[test]
    fn every_reason_is_counted_under_its_word() {
        let log = ScaleLog::default();
        for (at, (reason, word)) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(serde_json::json!(reason), word);
            log.note(0, RevisionId(1), reason, at as u64, [inputs(1), inputs(0)]);
        }
        let counted: Vec<u64> = log.by_reason().map(|(_, count)| count).collect();
        assert_eq!(counted, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn only_the_latest_are_kept() {
        let log = ScaleLog::default();
        for at in 0..=limits::SCALE_DECISIONS_MAX as u64 {
            log.note(at * 10_000, RevisionId(1), Reason::Idle, 1, [inputs(1), inputs(0)]);
        }
        let kept = log.decisions();
        assert_eq!((kept.len(), kept[0].time_ms), (limits::SCALE_DECISIONS_MAX, 10_000));
    }
}
