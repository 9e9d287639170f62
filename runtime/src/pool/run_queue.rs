//! The run queue of a pool whose guest computes: invocations that have a slot and wait for a core, first come, first served.
//!
//! An invocation that has begun holds a worker with its memory until it ends. If a thousand that share two cores all begin, each
//! ends late and the memory is that of a thousand. So no more run at once than there are cores, and those that have begun go
//! first. An invocation that waits for something else does not count meanwhile, and one that computes for long
//! ([`limits::RUN_COUNTED_MAX`]) not any more, so that short ones need not wait for it. Where invocations take a multiple of that,
//! about as many times the cores of them run.
//!
//! Slots of invocations that wait are alike: whoever begins takes the one whose worker was used last. So a few workers serve
//! all instances.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::limits;

/// The run queue of one pool. `S` is a slot.
#[derive(Debug)]
pub struct RunQueue<S> {
    /// Most invocations that run at once.
    cores: usize,
    state: Mutex<State<S>>,
}

#[derive(Debug)]
struct State<S> {
    /// Permits that count.
    running: usize,
    /// Who waits, each with a number that grows.
    waiting: VecDeque<(u64, oneshot::Sender<Admitted<S>>)>,
    /// As many slots as there are waiting. The last one is taken next.
    slots: VecDeque<S>,
    next_number: u64,
}

/// What an invocation begins with.
#[derive(Debug)]
pub struct Admitted<S> {
    /// The slot in which it runs; perhaps not the one that it waited with.
    pub slot: S,
    /// Dropped at its end.
    pub permit: RunPermit<S>,
}

/// An invocation that has begun. Dropping it lets the next one begin.
#[derive(Debug)]
pub struct RunPermit<S> {
    queue: Arc<RunQueue<S>>,
    counts: bool,
    computed: Duration,
}

/// A place in the run queue. Dropping it gives up the place, and drops one of the slots.
#[derive(Debug)]
pub struct Place<S> {
    queue: Arc<RunQueue<S>>,
    number: u64,
    admitted: oneshot::Receiver<Admitted<S>>,
}

impl<S> RunQueue<S> {
    /// An empty queue, for guests that share `cores`.
    pub fn new(cores: usize) -> Arc<Self> {
        let (waiting, slots) = (VecDeque::new(), VecDeque::new());
        let state = Mutex::new(State { running: 0, waiting, slots, next_number: 0 });
        Arc::new(Self { cores, state })
    }

    /// Joins the queue with `slot`. `is_warm`: the slot has a worker.
    pub fn join(self: &Arc<Self>, slot: S, is_warm: bool) -> Place<S> {
        let (sender, admitted) = oneshot::channel();
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.push_back((number, sender));
        match is_warm {
            true => state.slots.push_back(slot),
            false => state.slots.push_front(slot),
        }
        self.admit(&mut state);
        Place { queue: self.clone(), number, admitted }
    }

    /// Returns the permit of an invocation that has begun without waiting.
    pub fn begun(self: &Arc<Self>) -> RunPermit<S> {
        self.state.lock().running += 1;
        RunPermit { queue: self.clone(), counts: true, computed: Duration::ZERO }
    }

    /// Lets the first ones begin while cores are free.
    fn admit(self: &Arc<Self>, state: &mut State<S>) {
        while state.running < self.cores
            && let Some(slot) = state.slots.pop_back()
            && let Some((_, place)) = state.waiting.pop_front()
        {
            state.running += 1;
            let permit = RunPermit { queue: self.clone(), counts: true, computed: Duration::ZERO };
            // Its receiver is there: a place that is given up leaves the queue first, under the same lock.
            drop(place.send(Admitted { slot, permit }));
        }
    }
}

impl<S> RunPermit<S> {
    /// Notes that the guest is polled.
    pub fn runs(&mut self) {
        if !self.counts && self.computed < limits::RUN_COUNTED_MAX {
            self.counts = true;
            self.queue.state.lock().running += 1;
        }
    }

    /// Notes that the guest was polled and has computed for `time`. `waits`: it waits for something.
    pub fn ran(&mut self, time: Duration, waits: bool) {
        self.computed += time;
        if waits || self.computed >= limits::RUN_COUNTED_MAX {
            self.leave();
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.counts) {
            let mut state = self.queue.state.lock();
            state.running -= 1;
            self.queue.admit(&mut state);
        }
    }
}

impl<S> Drop for RunPermit<S> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<S> Future for Place<S> {
    type Output = Option<Admitted<S>>;

    /// Resolves when the invocation may begin. Never to `None` unless it is polled again afterwards.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.admitted).poll(context).map(Result::ok)
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let given_up = {
            let mut state = self.queue.state.lock();
            let found = state.waiting.binary_search_by_key(&self.number, |(number, _)| *number);
            found.ok().map(|at| (state.waiting.remove(at), state.slots.pop_front()))
        };
        // A slot takes locks when it is dropped. So does a permit that was received and is dropped with this.
        drop(given_up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A place that was waited for, if it is admitted.
    fn admitted(place: &mut Place<u32>) -> Option<Admitted<u32>> {
        place.admitted.try_recv().ok()
    }

    #[test]
    fn the_first_begins_in_the_slot_that_was_used_last() {
        let queue = RunQueue::new(1);
        let mut busy = queue.join(0, true);
        let busy = admitted(&mut busy).unwrap();
        let mut places: Vec<_> =
            [(1, false), (2, true), (3, true), (4, false)].map(|(slot, warm)| queue.join(slot, warm)).into();
        assert!(places.iter_mut().all(|place| admitted(place).is_none()));
        drop(busy);
        let mut slots = Vec::new();
        for place in &mut places {
            slots.push(admitted(place).expect("they begin in their order, when the one before ends").slot);
        }
        assert_eq!(slots, [3, 2, 1, 4]);
    }

    #[test]
    fn one_that_waits_does_not_count_nor_one_that_computes_for_long() {
        let queue = RunQueue::new(1);
        let mut first = admitted(&mut queue.join(0, true)).unwrap();
        let mut second = queue.join(1, true);
        first.permit.ran(Duration::from_millis(1), false);
        assert!(admitted(&mut second).is_none());
        first.permit.ran(Duration::from_millis(1), true);
        let second = admitted(&mut second).unwrap();
        // It goes on, and for a moment two run.
        first.permit.runs();
        let mut third = queue.join(2, true);
        drop(second);
        assert!(admitted(&mut third).is_none());
        first.permit.ran(limits::RUN_COUNTED_MAX, false);
        assert!(admitted(&mut third).is_some());
        first.permit.runs();
        assert!(admitted(&mut queue.join(3, true)).is_some());
    }

    #[test]
    fn who_leaves_drops_a_slot_and_what_it_was_given() {
        let queue = RunQueue::new(1);
        let slot = Arc::new(());
        let first = queue.join(slot.clone(), true);
        let second = queue.join(slot.clone(), false);
        let third = queue.join(slot.clone(), true);
        assert_eq!(Arc::strong_count(&slot), 4);
        drop(second);
        assert_eq!(Arc::strong_count(&slot), 3);
        // Admitted, but never asked.
        drop(first);
        assert_eq!(Arc::strong_count(&slot), 2);
        drop(third);
        assert_eq!((Arc::strong_count(&slot), queue.state.lock().running), (1, 0));
    }

    proptest! {
        #[test]
        fn as_many_run_as_there_are_cores_and_nobody_is_overtaken(
            cores in 1usize..4, steps in prop::collection::vec((0u8..6, 0usize..8), 1..200),
        ) {
            let queue = RunQueue::new(cores);
            let mut places: VecDeque<(u32, Place<u32>)> = VecDeque::new();
            let mut running: Vec<Admitted<u32>> = Vec::new();
            let mut joined = 0;
            for (step, which) in steps {
                match step {
                    0 | 1 => {
                        places.push_back((joined, queue.join(joined, which % 2 == 0)));
                        joined += 1;
                    }
                    2 if !places.is_empty() => drop(places.remove(which % places.len())),
                    3 if !running.is_empty() => drop(running.swap_remove(which % running.len())),
                    4 if !running.is_empty() => {
                        let at = which % running.len();
                        running[at].permit.ran(Duration::from_millis(60), which % 3 == 0);
                    }
                    5 if !running.is_empty() => {
                        let at = which % running.len();
                        running[at].permit.runs();
                    }
                    _ => {}
                }
                while let Some(begun) = places.front_mut().and_then(|(_, place)| admitted(place)) {
                    running.push(begun);
                    places.pop_front();
                }
                let waits = places.iter_mut().filter_map(|(_, place)| admitted(place)).count();
                prop_assert_eq!(waits, 0, "a later one began first");
                let counted = running.iter().filter(|one| one.permit.counts).count();
                let state = queue.state.lock();
                prop_assert_eq!((state.running, state.slots.len()), (counted, places.len()));
                prop_assert!(places.is_empty() || counted >= cores, "a core is free and somebody waits");
            }
        }
    }
}
