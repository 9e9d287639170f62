//! The wait queue of a pool: invocations that wait for a slot, first come, first served.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::MutexGuard;
use tokio::sync::oneshot;

use crate::invocation::Throttle;
use crate::limits;
use crate::pool::slot::{Slot, TakenNow};
use crate::pool::{Pool, State};

/// The callers that wait, and what for.
pub(super) struct WaitQueue {
    places: VecDeque<oneshot::Sender<Slot>>,
    /// Why the first one waits.
    pub(super) throttle: Throttle,
}

/// A place in the wait queue.
pub(super) struct WaitingCaller {
    pub(super) throttle: Throttle,
    pub(super) slot: Option<oneshot::Receiver<Slot>>,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self { places: VecDeque::new(), throttle: Throttle::MaximumInstances }
    }
}

impl WaitQueue {
    /// Whether it has no places.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns how many places it has, including those of callers that have left.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns how many callers still wait.
    pub(super) fn waiting(&self) -> usize {
        self.places.iter().filter(|place| !place.is_closed()).count()
    }

    /// Whether a caller waits for the host's quota or memory.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.is_empty() && matches!(self.throttle, Throttle::MemoryQuota | Throttle::HostMemory)
    }

    /// Joins the queue, unless it is full.
    pub(super) fn join(&mut self, throttle: Throttle) -> WaitingCaller {
        if self.is_empty() {
            self.throttle = throttle;
        }
        if self.places.len() >= limits::WAIT_QUEUE_MAX {
            self.places.retain(|place| !place.is_closed());
        }
        let slot = (self.places.len() < limits::WAIT_QUEUE_MAX).then(|| {
            let (place, slot) = oneshot::channel();
            self.places.push_back(place);
            slot
        });
        WaitingCaller { throttle, slot }
    }

    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        self.places.pop_front()
    }
}

impl Pool {
    /// Gives free slots to waiting callers, also in new instances. Called when there may be some.
    pub fn serve_queue(self: &Arc<Self>) {
        while self.serve_one() {}
    }

    /// Does the same after room came free on the host. Returns whether there may be room for other pools, too.
    pub fn serve_queue_with_room(self: &Arc<Self>) -> bool {
        loop {
            self.serve_queue();
            if !self.state.lock().queue.waits_for_room() {
                return true;
            }
            match self.take_with_room() {
                (state, Ok(taken)) => {
                    self.hand_over(state, taken);
                }
                (mut state, Err(throttle)) => {
                    state.queue.throttle = throttle;
                    return !state.queue.waits_for_room();
                }
            }
        }
    }

    /// Gives one slot to the first waiting caller. Returns whether it did.
    pub(super) fn serve_one(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return false;
        }
        match self.take_now(&mut state) {
            Ok(taken) => self.hand_over(state, taken),
            Err(throttle) => {
                let before = std::mem::replace(&mut state.queue.throttle, throttle);
                // What it waits for now may already be there.
                if before != throttle && state.queue.waits_for_room() {
                    self.resources.capacity().want();
                    self.resources.capacity().may_be_made();
                }
                false
            }
        }
    }

    /// Gives a slot to the first caller in the queue that still waits. Returns whether there was one.
    fn hand_over(self: &Arc<Self>, mut state: MutexGuard<'_, State>, taken: TakenNow) -> bool {
        let mut slot = Slot::new(self.clone(), taken);
        while let Some(waiter) = state.queue.next() {
            match waiter.send(slot) {
                Ok(()) => return true,
                Err(refused) => slot = refused,
            }
        }
        // Dropped after the lock is released, because dropping a slot takes the lock, too.
        drop(state);
        drop(slot);
        false
    }
}
