//! Where the calls of a pool begin: on the event loop of their connection, or, if its guest is known to compute,
//! on the compute threads at once.
//!
//! A call that turns out to compute has held its event loop for a tick by then; with a thousand of them at once
//! that is a second in which nobody else is served, and no instance is added for those that wait.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the latest calls of a pool did. Approximate: calls that end at the same moment may overwrite each other.
#[derive(Debug, Default)]
pub struct Placement {
    score: AtomicU8,
}

/// A call that computes weighs as much as so many that do not: moving a call costs some ten microseconds, holding
/// an event loop a thousand.
const COMPUTED_WEIGHT: u8 = 8;
/// From here on calls begin on the compute threads: three that computed without a quick one between them.
const COMPUTES: u8 = 3 * COMPUTED_WEIGHT;
/// A pool whose guest has changed its ways is known as such after so many calls.
const SCORE_MAX: u8 = 5 * COMPUTED_WEIGHT;

impl Placement {
    /// Whether the next call had better begin on the compute threads.
    pub fn computes(&self) -> bool {
        self.score.load(Ordering::Relaxed) >= COMPUTES
    }

    /// A call has been polled for the first time: it computed through a tick, or it did not.
    pub fn note(&self, computed: bool) {
        let score = self.score.load(Ordering::Relaxed);
        let next = if computed {
            score.saturating_add(COMPUTED_WEIGHT).min(SCORE_MAX)
        } else {
            score.saturating_sub(1)
        };
        // Most pools never compute: their calls only read.
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
