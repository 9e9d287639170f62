//! Chooses where the invocations of a pool start: on the event loop of their connection, or, if the guest is known to compute, on
//! the compute threads at once.
//!
//! An invocation that turns out to compute has already held its event loop for a tick. A thousand of them at once would hold it
//! for a second, in which nobody else is served and no instance is added for those that wait.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the latest invocations of a pool did. Approximate: invocations that end at the same moment may overwrite each other.
#[derive(Debug, Default)]
pub struct Placement {
    score: AtomicU8,
}

/// Weight of an invocation that computes against one that does not: moving one to another thread costs about ten microseconds,
/// holding an event loop a thousand.
const COMPUTED_WEIGHT: u8 = 8;
/// From this score on, invocations start on the compute threads: three that computed, without a quick one between them.
const COMPUTES: u8 = 3 * COMPUTED_WEIGHT;
/// Highest score. It bounds after how many invocations a guest that no longer computes is recognized as such.
const SCORE_MAX: u8 = 5 * COMPUTED_WEIGHT;

impl Placement {
    /// Whether the next invocation should start on the compute threads.
    pub fn computes(&self) -> bool {
        self.score.load(Ordering::Relaxed) >= COMPUTES
    }

    /// Notes the first poll of an invocation: whether it computed through a tick.
    pub fn note(&self, computed: bool) {
        let score = self.score.load(Ordering::Relaxed);
        let next = if computed {
            score.saturating_add(COMPUTED_WEIGHT).min(SCORE_MAX)
        } else {
            score.saturating_sub(1)
        };
        // Most pools never compute, so their invocations only read.
        if next != score {
            self.score.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_computes_is_known_after_three_calls_and_forgotten_after_some_quick_ones() {
        let placement = Placement::default();
        for _ in 0..2 {
            placement.note(true);
        }
        placement.note(false);
        placement.note(true);
        assert!(!placement.computes());
        placement.note(true);
        assert!(placement.computes());
        for _ in 0..100 {
            placement.note(true);
        }
        for _ in 0..SCORE_MAX - COMPUTES {
            placement.note(false);
            assert!(placement.computes());
        }
        placement.note(false);
        assert!(!placement.computes());
    }
}
