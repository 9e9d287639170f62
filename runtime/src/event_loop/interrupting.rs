//! Chooses the scheduling policy of the event-loop threads: `SCHED_BATCH` or `SCHED_OTHER`.
//!
//! With `SCHED_BATCH` a loop that is woken does not preempt the thread on its core. That is right for a client on the same
//! machine, which is about to send its next requests and is soon done. It is wrong for a guest that computes: each request that
//! comes meanwhile would wait for the kernel's next tick, which is milliseconds away. So the policy is `SCHED_OTHER` while
//! guests compute and for a second or two afterwards, and else `SCHED_BATCH` (docs/decisions/2026-11-22-answers-together.md).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::thread::{Pid, gettid};

/// How often it is checked whether guests still compute. Only then the policy changes back, not after each invocation.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The event loops of this process.
static LOOPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// Whether they preempt others.
static INTERRUPTS: AtomicBool = AtomicBool::new(false);
/// Whether a guest has computed since the last check.
static HAS_COMPUTED: AtomicBool = AtomicBool::new(false);

/// Registers an event loop until it is dropped.
pub(super) struct Registered(Pid);

/// Registers this thread as an event loop.
pub(super) fn register() -> Registered {
    let thread = gettid();
    let mut loops = LOOPS.lock();
    loops.push(thread);
    schedule(Some(thread), policy(INTERRUPTS.load(Ordering::SeqCst)));
    Registered(thread)
}

impl Drop for Registered {
    fn drop(&mut self) {
        LOOPS.lock().retain(|thread| *thread != self.0);
    }
}

/// Notes that a guest is about to compute on this compute thread.
pub(super) fn computes() {
    HAS_COMPUTED.store(true, Ordering::SeqCst);
    if !INTERRUPTS.load(Ordering::SeqCst) && !INTERRUPTS.swap(true, Ordering::SeqCst) {
        apply();
        tokio::spawn(async {
            loop {
                tokio::time::sleep(LOOK_AGAIN).await;
                if !HAS_COMPUTED.swap(false, Ordering::SeqCst) {
                    break;
                }
            }
            INTERRUPTS.store(false, Ordering::SeqCst);
            apply();
        });
    }
}

fn apply() {
    let loops = LOOPS.lock();
    // Read under the lock, so that the last thread applies the latest value.
    let policy = policy(INTERRUPTS.load(Ordering::SeqCst));
    loops.iter().for_each(|thread| schedule(Some(*thread), policy));
}

fn policy(interrupts: bool) -> libc::c_int {
    if interrupts { libc::SCHED_OTHER } else { libc::SCHED_BATCH }
}

/// Gives `thread`, or this one, a scheduling policy: with `SCHED_OTHER`, the usual, a thread that wakes up interrupts one of
/// lower priority; with `SCHED_BATCH` it waits until that waits or has had its time slice.
pub(super) fn schedule(thread: Option<Pid>, policy: libc::c_int) {
    let no_priority = libc::sched_param { sched_priority: 0 };
    let thread = thread.map_or(0, |thread| thread.as_raw_nonzero().get());
    // SAFETY: the call reads the parameters it is given, and changes the scheduling of one thread alone.
    #[expect(unsafe_code, reason = "no library that is in use here offers the call")]
    // Without the right to it, the default serves.
    let _ = unsafe { libc::sched_setscheduler(thread, policy, &raw const no_priority) };
}
