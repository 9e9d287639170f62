//! Chooses the instance that takes the next invocation: the pure bookkeeping of a pool.
//!
//! The ledger knows instances, their slots and their idle workers, and decides. It makes nothing and reads no clock. Rules (SPEC
//! 2.2–2.7):
//! - an invocation goes to the lowest-numbered instance with a free slot, so always-ready instances are
//!   used first and the surplus falls idle;
//! - a further instance is asked for only when every slot is taken, so the number of instances is
//!   `ceil(in flight / concurrency)`, exactly;
//! - an instance has at most `concurrency` workers, and never more than `always_ready + max_instances`
//!   instances exist.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::meter::usage::Amounts;
use crate::meter::usage::instance::InstanceMeter;

/// The limits of the ledger; a part of [`crate::manifest::ScalePolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Slots of an instance.
    pub concurrency: u32,
    /// Instances that stay.
    pub always_ready: u32,
    /// Most instances beyond them.
    pub max_instances: u32,
    /// Memory of an instance, in MB. Its usage is counted in this.
    pub class_mb: u64,
}

/// Where a slot was taken, and what to run in.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<I, W> {
    /// Number of the instance within the pool.
    pub number: usize,
    /// What the holder of the slot runs in.
    pub room: SlotRoom<I, W>,
}

/// What a taken slot runs in.
#[derive(Debug, PartialEq, Eq)]
pub enum SlotRoom<I, W> {
    /// An idle worker.
    Worker(W),
    /// The instance has no idle worker: make one in it.
    Instance(I),
}

/// Why no slot was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// Every slot is taken and an instance may be added: reserve its memory, then [`Ledger::open`].
    MayOpen,
    /// Every slot is taken and the maximum is reached.
    AtMaximum,
}

struct Seat<I, W> {
    instance: I,
    usage: InstanceMeter,
    in_flight: u32,
    /// Idle workers with the core they were last used on; the most recently used is last.
    idle: Vec<(usize, W)>,
    idle_since: Instant,
}

/// The bookkeeping of one pool. `I` is the instance, `W` a worker; both opaque here.
pub struct Ledger<I, W> {
    bounds: Bounds,
    seats: Vec<Option<Seat<I, W>>>,
    /// One bit per seat: it exists and has a free slot.
    open_slots: Vec<u64>,
    instances: usize,
    instances_peak: usize,
    in_flight: usize,
    /// Taken slots whose guest has returned and whose answer is being sent, with the instance in which each is counted now.
    sending: BTreeMap<u64, usize>,
    next_sending: u64,
    /// The most slots of one instance that were taken at once since the last time this was asked for.
    fullest: u32,
    /// Usage of closed instances that was not taken out yet.
    used: Amounts,
}

/// How many of the most recently used idle workers are searched for one of the same core.
const SAME_CORE_SEARCH: usize = 16;

impl<I, W> Seat<I, W> {
    /// Returns the idle worker that was used last on `core`, or else the one that was used last.
    fn take_idle(&mut self, core: usize) -> Option<W> {
        let recent = self.idle.len().saturating_sub(SAME_CORE_SEARCH);
        match self.idle[recent..].iter().rposition(|(last, _)| *last == core) {
            Some(at) => Some(self.idle.remove(recent + at).1),
            None => self.idle.pop().map(|(_, worker)| worker),
        }
    }
}

impl<I: Clone + PartialEq, W> Ledger<I, W> {
    /// An empty ledger.
    pub fn new(bounds: Bounds) -> Self {
        let seats = bounds.always_ready as usize + bounds.max_instances as usize;
        Self {
            bounds,
            seats: std::iter::repeat_with(|| None).take(seats).collect(),
            open_slots: vec![0; seats.div_ceil(64)],
            instances: 0,
            instances_peak: 0,
            in_flight: 0,
            sending: BTreeMap::new(),
            next_sending: 0,
            fullest: 0,
            used: Amounts::default(),
        }
    }

    /// Sets the number of slots of an instance. If more are taken than that, they have to be given back before others are taken.
    pub fn set_concurrency(&mut self, concurrency: u32) {
        self.bounds.concurrency = concurrency;
        for number in 0..self.seats.len() {
            let open = self.seats[number].as_ref().is_some_and(|seat| seat.in_flight < concurrency);
            self.set_open(number, open);
        }
    }

    /// Returns the number of slots of an instance.
    pub fn concurrency(&self) -> u32 {
        self.bounds.concurrency
    }

    /// Returns the most slots of one instance that were taken at once since the last call.
    pub fn take_fullest(&mut self) -> u32 {
        let now = self.seats.iter().flatten().map(|seat| seat.in_flight).max().unwrap_or_default();
        std::mem::replace(&mut self.fullest, now)
    }

    /// Takes a slot for an invocation that runs on `core`. The clock is read only where it matters.
    pub fn take(&mut self, core: usize, now: impl FnOnce() -> Instant) -> Result<Taken<I, W>, NoSlot> {
        let Some(number) = self.lowest_open() else {
            return Err(if self.vacant().is_some() { NoSlot::MayOpen } else { NoSlot::AtMaximum });
        };
        Ok(self.take_in(number, core, now))
    }

    /// Takes a free slot of an instance.
    fn take_in(&mut self, number: usize, core: usize, now: impl FnOnce() -> Instant) -> Taken<I, W> {
        let concurrency = self.bounds.concurrency;
        let seat = self.seat(number);
        seat.in_flight += 1;
        seat.usage.begin(now);
        let worker = seat.take_idle(core);
        let room = worker.map_or_else(|| SlotRoom::Instance(seat.instance.clone()), SlotRoom::Worker);
        let in_flight = seat.in_flight;
        let full = in_flight >= concurrency;
        self.in_flight += 1;
        self.fullest = self.fullest.max(in_flight);
        if full {
            self.set_open(number, false);
        }
        Taken { number, room }
    }

    /// Returns the idle worker of a taken slot's instance that was used last, for a holder without a worker.
    pub fn idle_worker(&mut self, number: usize, core: usize) -> Option<W> {
        self.seat(number).take_idle(core)
    }

    /// Notes that the guest in a taken slot has returned: `worker` may serve others while the answer is being sent. Returns the
    /// name of the slot from now on, because [`Self::exchange`] may count it in another instance.
    pub fn send(&mut self, number: usize, worker: W, core: usize) -> u64 {
        self.seat(number).idle.push((core, worker));
        self.next_sending += 1;
        self.sending.insert(self.next_sending, number);
        self.next_sending
    }

    /// Notes that the answer of a slot is sent. Returns the instance to give the slot back to.
    ///
    /// # Panics
    /// If it is not being sent.
    pub fn sent(&mut self, sending: u64) -> usize {
        self.sending.remove(&sending).expect("an answer is sent once")
    }

    /// Exchanges a taken slot, for which there is no worker, for one of an instance that has an idle one: that of an answer which
    /// is being sent, or else a free one. Returns it, and whether the former instance is idle now and may be retired for others.
    /// `None` if there is none.
    pub fn exchange(&mut self, number: usize, core: usize, now: Instant) -> Option<(usize, W, bool)> {
        let seats = &mut self.seats;
        for at in self.sending.values_mut() {
            if let Some(worker) = seats[*at].as_mut().and_then(|seat| seat.take_idle(core)) {
                return Some((std::mem::replace(at, number), worker, false));
            }
        }
        let concurrency = self.bounds.concurrency;
        let has_idle = |seat: &Seat<I, W>| seat.in_flight < concurrency && !seat.idle.is_empty();
        let other = self.seats.iter().position(|seat| seat.as_ref().is_some_and(has_idle))?;
        let SlotRoom::Worker(worker) = self.take_in(other, core, || now).room else { return None };
        Some((other, worker, self.release(number, None, core, now)))
    }

    /// Gives a slot back, with its worker if that may be used again. Returns whether its instance is idle now and may be retired
    /// for others.
    ///
    /// # Panics
    /// If the instance has no slot taken: a slot was given back twice.
    pub fn release(&mut self, number: usize, worker: Option<W>, core: usize, now: Instant) -> bool {
        let concurrency = self.bounds.concurrency;
        let seat = self.seat(number);
        seat.in_flight = seat.in_flight.checked_sub(1).expect("a slot is given back once");
        seat.usage.end(now);
        seat.idle.extend(worker.map(|worker| (core, worker)));
        let is_idle = seat.in_flight == 0;
        if is_idle {
            seat.idle_since = now;
        }
        let open = seat.in_flight < concurrency;
        self.in_flight -= 1;
        self.set_open(number, open);
        is_idle && number >= self.bounds.always_ready as usize
    }

    /// Returns the number that the next instance would get. Always-ready numbers come first.
    pub fn vacant(&self) -> Option<usize> {
        if self.instances == self.seats.len() {
            return None;
        }
        self.seats.iter().position(Option::is_none)
    }

    /// Adds an instance with the workers it already has. The caller has reserved its memory.
    ///
    /// # Panics
    /// If the maximum is reached: [`Self::vacant`] was not asked under the same lock.
    pub fn open(&mut self, instance: I, workers: Vec<W>, core: usize, now: Instant) -> usize {
        let number = self.vacant().expect("an instance is opened only below the maximum");
        let idle = workers.into_iter().map(|worker| (core, worker)).collect();
        let usage = InstanceMeter::new(self.bounds.class_mb, number < self.bounds.always_ready as usize, now);
        self.seats[number] = Some(Seat { instance, usage, in_flight: 0, idle, idle_since: now });
        self.set_open(number, true);
        self.instances += 1;
        self.instances_peak = self.instances_peak.max(self.instances);
        number
    }

    /// Adds a worker that was made in advance for an instance, if that still exists and has room for it.
    pub fn stock(&mut self, number: usize, instance: &I, worker: W, core: usize) -> Result<(), W> {
        let concurrency = self.bounds.concurrency as usize;
        match self.seats[number].as_mut() {
            Some(seat)
                if seat.instance == *instance && seat.in_flight as usize + seat.idle.len() < concurrency =>
            {
                seat.idle.push((core, worker));
                Ok(())
            }
            _ => Err(worker),
        }
    }

    /// Closes instances beyond the always-ready ones that have been idle for `idle_timeout`. Returns what they held, which the
    /// caller drops outside the lock.
    pub fn close_idle(&mut self, idle_timeout: Duration, now: Instant) -> Vec<(I, Vec<W>)> {
        let always_ready = self.bounds.always_ready as usize;
        self.close_where(now, |number, seat| {
            number >= always_ready && now.saturating_duration_since(seat.idle_since) >= idle_timeout
        })
    }

    /// Closes up to `count` idle instances, the highest-numbered first; always-ready ones only if
    /// `always_ready_too` (when the pool drains).
    pub fn close_some(&mut self, count: usize, always_ready_too: bool, now: Instant) -> Vec<(I, Vec<W>)> {
        let lowest = if always_ready_too { 0 } else { self.bounds.always_ready as usize };
        let mut left = count;
        self.close_where(now, |number, _| {
            let close = number >= lowest && left > 0;
            left -= usize::from(close);
            close
        })
    }

    fn close_where(
        &mut self,
        now: Instant,
        mut close: impl FnMut(usize, &Seat<I, W>) -> bool,
    ) -> Vec<(I, Vec<W>)> {
        let mut closed = Vec::new();
        for number in (0..self.seats.len()).rev() {
            if self.seats[number].as_ref().is_some_and(|seat| seat.in_flight == 0 && close(number, seat))
                && let Some(seat) = self.seats[number].take()
            {
                self.set_open(number, false);
                self.instances -= 1;
                self.used += seat.usage.close(now);
                closed.push((seat.instance, seat.idle.into_iter().map(|(_, worker)| worker).collect()));
            }
        }
        closed
    }

    /// Takes out the usage of its instances until now that was not taken out before.
    pub fn take_used(&mut self, now: Instant) -> Amounts {
        let mut used = std::mem::take(&mut self.used);
        for seat in self.seats.iter_mut().flatten() {
            used += seat.usage.publish(now);
        }
        used
    }

    /// Returns the instance with this number, if it exists.
    pub fn instance(&self, number: usize) -> Option<&I> {
        self.seats[number].as_ref().map(|seat| &seat.instance)
    }

    /// Whether an always-ready instance is missing.
    pub fn lacks_always_ready(&self) -> bool {
        self.seats[..self.bounds.always_ready as usize].iter().any(Option::is_none)
    }

    /// Returns the instances that exist.
    pub fn live(&self) -> impl Iterator<Item = &I> {
        self.seats.iter().flatten().map(|seat| &seat.instance)
    }

    /// Returns how many instances exist.
    pub fn instances(&self) -> usize {
        self.instances
    }

    /// Returns the most instances that existed at once.
    pub fn instances_peak(&self) -> usize {
        self.instances_peak
    }

    /// Returns how many slots are taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns how many idle workers there are.
    pub fn idle_workers(&self) -> usize {
        self.seats.iter().flatten().map(|seat| seat.idle.len()).sum()
    }

    fn seat(&mut self, number: usize) -> &mut Seat<I, W> {
        self.seats[number].as_mut().expect("an instance with a slot taken is never closed")
    }

    fn lowest_open(&self) -> Option<usize> {
        let word = self.open_slots.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.open_slots[word].trailing_zeros() as usize)
    }

    fn set_open(&mut self, number: usize, open: bool) {
        let bit = 1 << (number % 64);
        if open {
            self.open_slots[number / 64] |= bit;
        } else {
            self.open_slots[number / 64] &= !bit;
        }
    }
}

#[cfg(test)]
impl<I, W> Ledger<I, W> {
    /// Returns how many instances beyond the always-ready ones are idle.
    pub fn idle_surplus(&self) -> usize {
        let surplus = &self.seats[self.bounds.always_ready as usize..];
        surplus.iter().flatten().filter(|seat| seat.in_flight == 0).count()
    }
}

#[cfg(test)]
mod tests;
