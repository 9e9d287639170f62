//! Chooses the scheduling policy of the event-loop threads: `SCHED_BATCH` or `SCHED_OTHER`.
//!
//! With `SCHED_BATCH` a loop that is woken does not preempt who runs on its core. That is right for a client on the same
//! machine, which is about to send its next requests and is soon done. It is wrong for a guest that computes: each request that
//! comes meanwhile would wait for the kernel's next tick, which is milliseconds away. So the policy is `SCHED_OTHER` while
//! guests compute and for a second or two afterwards, and else `SCHED_BATCH` (docs/decisions/2026-11-22-answers-together.md).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::thread::{Pid, gettid};

/// Guests that compute now and then do not change the policy for each call.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The event loops of this process.
static LOOPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// Whether they interrupt others.
static INTERRUPTS: AtomicBool = AtomicBool::new(false);
/// Whether a guest has computed since the last look.
static HAS_COMPUTED: AtomicBool = AtomicBool::new(false);

/// An event loop, until this is dropped.
pub(super) struct Registered(Pid);

/// This thread is an event loop.
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

/// A guest is about to compute on this compute thread.
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
    // Read under the lock: whoever comes last applies what holds.
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
