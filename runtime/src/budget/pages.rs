//! Pages of large memories: what a guest has written is charged, not what it declares.
//!
//! The memory of an interpreter begins as an image of many megabytes, of which a call writes a few. Pages that nobody has written
//! are the same for all workers. A thread's page faults while a guest runs are an upper bound for the pages that it writes
//! (docs/decisions/2026-11-30-pages-that-are-written.md).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::component::engine::PAGE_BYTES;
use crate::limits;

/// A worker whose first memories are larger is charged the pages that it writes, not what it declares: below, counting them would
/// cost more than it saves.
pub const PAGED_MEMORY_BYTES_MIN: u64 = 4 * limits::MEBIBYTE;
/// How much such a guest may write in a turn before it has to yield, so that what it writes is charged: with a few threads that
/// run guests, this is what the budget may be passed by for a moment.
pub const WRITTEN_IN_A_TURN_BYTES_MAX: u64 = limits::MEBIBYTE;
/// Bytes of the pages that this thread has touched for the first time so far, as far as the kernel had to be asked.
pub fn faulted_bytes() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills a structure of this size; all bytes zero are a valid value of it, too.
    #[expect(unsafe_code, reason = "no library that is in use here offers the call")]
    let faults = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_minflt
    };
    u64::try_from(faults).unwrap_or(0) * PAGE_BYTES
}

/// What is known about how much of their first memories the workers of one revision write.
#[derive(Debug)]
pub struct WrittenEstimate {
    /// What workers that have served have written, the largest soon and smaller ones slowly. `u64::MAX` until one has.
    bytes: AtomicU64,
    /// Slots of workers that have ended, which are expected to be used again with pages that were written.
    left: AtomicU32,
}

impl Default for WrittenEstimate {
    fn default() -> Self {
        Self { bytes: AtomicU64::new(u64::MAX), left: AtomicU32::new(0) }
    }
}

impl WrittenEstimate {
    /// Bytes that a worker is expected to write of the `declared_bytes` that it begins with: all, until one has served.
    pub fn of(&self, declared_bytes: u64) -> u64 {
        self.bytes.load(Ordering::Relaxed).min(declared_bytes)
    }

    /// Notes that a worker which has served has written `bytes`. More counts at once; less by an eighth of the difference, because the
    /// first worker of a process also pays for what is touched once, the pages of its code among them.
    pub fn served(&self, bytes: u64) {
        let next = |known: u64| match known.checked_sub(bytes) {
            _ if known == u64::MAX => Some(bytes),
            None => Some(bytes),
            // All workers share this, so it is written only when it changes.
            Some(less) => (less >= 8 * PAGE_BYTES).then(|| known - less / 8),
        };
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Bytes that a worker which begins now may find written in its slot, where unused slots keep `slot_bytes` for the next worker.
    pub fn found(&self, slot_bytes: u64) -> u64 {
        let one_less = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => slot_bytes,
            Err(_) => 0,
        }
    }

    /// Notes that a worker has ended.
    pub fn ended(&self) {
        let one_more = |left: u32| (left < limits::WORKERS_MAX).then_some(left + 1);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen_and_what_is_not_is_not() {
        const BYTES: usize = 8 << 20;
        let before = faulted_bytes();
        let mut block = vec![0_u8; BYTES];
        let untouched = faulted_bytes() - before;
        assert!(untouched < BYTES as u64 / 4, "{untouched} for a block that is not written");
        for page in block.chunks_mut(PAGE_BYTES as usize) {
            page[0] = 1;
        }
        std::hint::black_box(&block);
        // Where the kernel gives large pages, one fault stands for 512 of these.
        assert!(faulted_bytes() > before);
    }

    #[test]
    fn an_estimate_is_whole_until_a_worker_has_served_and_then_what_workers_write() {
        let estimate = WrittenEstimate::default();
        assert_eq!(estimate.of(20 << 20), 20 << 20);
        estimate.served(3 << 20);
        assert_eq!((estimate.of(20 << 20), estimate.of(2 << 20)), (3 << 20, 2 << 20));
        estimate.served(5 << 20);
        assert_eq!(estimate.of(20 << 20), 5 << 20);
        estimate.served(1 << 20);
        assert_eq!(estimate.of(20 << 20), (4 << 20) + (1 << 19));
        for _ in 0..100 {
            estimate.served(1 << 20);
        }
        assert!(estimate.of(20 << 20) < (1 << 20) + 8 * PAGE_BYTES);
    }

    #[test]
    fn a_slot_that_is_used_again_has_written_pages() {
        let estimate = WrittenEstimate::default();
        assert_eq!(estimate.found(8_192), 0);
        estimate.ended();
        assert_eq!((estimate.found(8_192), estimate.found(8_192)), (8_192, 0));
    }
}
