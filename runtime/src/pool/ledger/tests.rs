//! Tests of the ledger.

use super::*;
use proptest::prelude::*;

type Numbered = Ledger<u32, u32>;

fn ledger(concurrency: u32, always_ready: u32, max_instances: u32) -> Numbered {
    Ledger::new(Bounds { concurrency, always_ready, max_instances, class_mb: 2_048 })
}

/// Takes a slot, opening an instance where that is allowed.
fn take(ledger: &mut Numbered, now: Instant) -> Option<Taken<u32, u32>> {
    match ledger.take(0, || now) {
        Ok(taken) => Some(taken),
        Err(NoSlot::AtMaximum) => None,
        Err(NoSlot::MayOpen) => {
            ledger.open(0, Vec::new(), 0, now);
            Some(ledger.take(0, || now).expect("a new instance has a free slot"))
        }
    }
}

#[test]
fn ten_at_once_need_exactly_ten_over_concurrency_instances() {
    for (concurrency, expected) in [(1, 10), (2, 5), (3, 4), (10, 1), (16, 1)] {
        let mut ledger = ledger(concurrency, 0, 100);
        for _ in 0..10 {
            assert!(take(&mut ledger, Instant::now()).is_some());
        }
        assert_eq!(ledger.instances(), expected, "concurrency {concurrency}");
    }
}

#[test]
fn always_ready_instances_are_used_first_and_stay() {
    let now = Instant::now();
    let mut ledger = ledger(1, 1, 2);
    assert!(ledger.lacks_always_ready());
    ledger.open(7, vec![70], 0, now);
    assert!(!ledger.lacks_always_ready());
    let first = take(&mut ledger, now).unwrap();
    assert_eq!((first.number, first.room), (0, SlotRoom::Worker(70)));
    let second = take(&mut ledger, now).unwrap();
    assert_eq!(second.number, 1);
    ledger.release(1, None, 0, now);
    ledger.release(0, Some(70), 0, now);
    let later = now + Duration::from_secs(60);
    assert_eq!(ledger.close_idle(Duration::from_secs(60), later).len(), 1);
    assert_eq!(ledger.instances(), 1);
    assert_eq!(ledger.close_some(9, false, later).len(), 0);
    assert_eq!(ledger.close_some(9, true, later).len(), 1);
}

#[test]
fn a_worker_of_the_same_core_is_preferred() {
    let now = Instant::now();
    let mut ledger = ledger(4, 0, 1);
    ledger.open(0, Vec::new(), 0, now);
    for _ in 0..3 {
        ledger.take(0, || now).unwrap();
    }
    for (core, worker) in [(0, 10), (1, 11), (0, 12)] {
        ledger.release(0, Some(worker), core, now);
    }
    assert_eq!(ledger.take(1, || now).unwrap().room, SlotRoom::Worker(11));
    assert_eq!(ledger.take(0, || now).unwrap().room, SlotRoom::Worker(12));
    assert_eq!(ledger.take(1, || now).unwrap().room, SlotRoom::Worker(10));
    assert_eq!(ledger.take(1, || now).unwrap().room, SlotRoom::Instance(0));
}

#[test]
fn who_begins_late_gets_the_worker_used_last() {
    let now = Instant::now();
    let mut ledger = ledger(3, 0, 1);
    ledger.open(0, Vec::new(), 0, now);
    for _ in 0..3 {
        ledger.take(0, || now).unwrap();
    }
    // Nobody has ended yet.
    assert_eq!(ledger.idle_worker(0, 0), None);
    ledger.release(0, Some(10), 0, now);
    assert_eq!(ledger.idle_worker(0, 0), Some(10));
    assert_eq!(ledger.idle_worker(0, 0), None);
}

#[test]
fn who_has_no_worker_moves_to_an_instance_that_has_one() {
    let now = Instant::now();
    let mut ledger = ledger(1, 0, 3);
    for instance in 0..3 {
        ledger.open(instance, Vec::new(), 0, now);
        ledger.take(0, || now).unwrap();
    }
    assert_eq!(ledger.exchange(0, 0, now), None);
    ledger.release(2, Some(12), 0, now);
    assert_eq!(ledger.exchange(0, 0, now), Some((2, 12, true)));
    assert_eq!((ledger.in_flight(), ledger.idle_workers()), (2, 0));
    assert_eq!(ledger.take(0, || now).unwrap().number, 0);
}

#[test]
fn who_has_no_worker_changes_places_with_an_answer_that_is_being_sent() {
    let now = Instant::now();
    let mut ledger = ledger(1, 0, 2);
    for instance in 0..2 {
        ledger.open(instance, Vec::new(), 0, now);
        ledger.take(0, || now).unwrap();
    }
    let sending = ledger.send(1, 11, 0);
    assert_eq!(ledger.exchange(0, 0, now), Some((1, 11, false)));
    assert_eq!((ledger.in_flight(), ledger.idle_workers()), (2, 0));
    // The other one has no worker to lend any more.
    assert_eq!(ledger.sent(sending), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    BeginLate { which: usize },
    GiveBack { which: usize, reuse: bool },
    Send { which: usize },
    Sent { which: usize },
    Idle { seconds: u64 },
    Stock,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Take),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, reuse)| Step::GiveBack { which, reuse }),
        4 => any::<usize>().prop_map(|which| Step::BeginLate { which }),
        4 => any::<usize>().prop_map(|which| Step::Send { which }),
        3 => any::<usize>().prop_map(|which| Step::Sent { which }),
        1 => (0u64..90).prop_map(|seconds| Step::Idle { seconds }),
        1 => Just(Step::Stock),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_and_no_worker_is_lost(
        concurrency in 1u32..5, always_ready in 0u32..3, max_instances in 1u32..5,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut now = Instant::now();
        let mut ledger = ledger(concurrency, always_ready, max_instances);
        // Those without a worker have not begun.
        let mut taken: Vec<(usize, Option<u32>)> = Vec::new();
        let mut sending: Vec<u64> = Vec::new();
        let (mut made, mut dropped) = (0u32, 0usize);
        for step in steps {
            let before = ledger.instances();
            match step {
                Step::Take => {
                    let free = before * concurrency as usize > taken.len() + sending.len();
                    let got = take(&mut ledger, now);
                    prop_assert_eq!(got.is_none(), !free && before == (always_ready + max_instances) as usize);
                    prop_assert_eq!(ledger.instances() > before, got.is_some() && !free, "an instance is added only when every slot is taken");
                    if let Some(got) = got {
                        let worker = match got.room {
                            SlotRoom::Worker(worker) => Some(worker),
                            SlotRoom::Instance(_) => None,
                        };
                        taken.push((got.number, worker));
                    }
                }
                Step::GiveBack { which, reuse } if !taken.is_empty() => {
                    let (number, worker) = taken.swap_remove(which % taken.len());
                    dropped += usize::from(!reuse && worker.is_some());
                    ledger.release(number, worker.filter(|_| reuse), which % 2, now);
                }
                Step::BeginLate { which } if !taken.is_empty() => {
                    let which = which % taken.len();
                    if let (number, None) = taken[which]
                        && let Some((other, worker, _)) = ledger.exchange(number, which % 2, now)
                    {
                        taken[which] = (other, Some(worker));
                    } else if let (number, None) = taken[which] {
                        taken[which].1 = ledger.idle_worker(number, which % 2).or_else(|| { made += 1; Some(made) });
                    }
                }
                Step::Send { which } if !taken.is_empty() => {
                    let which = which % taken.len();
                    if let (number, Some(worker)) = taken[which] {
                        sending.push(ledger.send(number, worker, which % 2));
                        taken.swap_remove(which);
                    }
                }
                Step::Sent { which } if !sending.is_empty() => {
                    let number = ledger.sent(sending.swap_remove(which % sending.len()));
                    ledger.release(number, None, which % 2, now);
                }
                Step::GiveBack { .. } | Step::BeginLate { .. } | Step::Send { .. } | Step::Sent { .. } => {}
                Step::Idle { seconds } => {
                    now += Duration::from_secs(seconds);
                    for (_, workers) in ledger.close_idle(Duration::from_secs(60), now) {
                        dropped += workers.len();
                    }
                }
                Step::Stock => {
                    made += 1;
                    if before == 0 || ledger.stock(0, &0, made, 0).is_err() { dropped += 1; }
                }
            }
            prop_assert!(ledger.instances() <= (always_ready + max_instances) as usize);
            prop_assert!(ledger.instances_peak() >= ledger.instances());
            prop_assert_eq!(ledger.in_flight(), taken.len() + sending.len());
            let begun = taken.iter().filter(|(_, worker)| worker.is_some()).count();
            prop_assert_eq!(made as usize, begun + ledger.idle_workers() + dropped, "each worker is held, idle or dropped");
            for (number, seat) in ledger.seats.iter().enumerate() {
                let running = taken.iter().filter(|(at, _)| *at == number).count();
                let held = running + ledger.sending.values().filter(|at| **at == number).count();
                prop_assert_eq!(held, seat.as_ref().map_or(0, |seat| seat.in_flight as usize));
                if let Some(seat) = seat {
                    prop_assert!(running + seat.idle.len() <= concurrency as usize);
                }
            }
        }
    }
}
