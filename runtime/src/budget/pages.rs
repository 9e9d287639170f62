//! Pages of large memories: what a guest has written is charged, not what it declares.
//!
//! The memory of an interpreter begins as an image of many megabytes, of which a call writes a few. Pages that nobody has written
//! are the same for all workers. A thread's page faults while a guest runs are an upper bound for the pages that it writes
//! (docs/decisions/2026-11-30-pages-that-are-written.md).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::limits;

/// Bytes of a page.
const PAGE_BYTES: u64 = 4_096;

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
    /// The most that a worker was seen to write. `u64::MAX` until a worker has served.
    most_bytes: AtomicU64,
    /// Slots of workers that have ended, which are expected to be used again with pages that were written.
    left: AtomicU32,
}

impl Default for WrittenEstimate {
    fn default() -> Self {
        Self { most_bytes: AtomicU64::new(u64::MAX), left: AtomicU32::new(0) }
    }
}

impl WrittenEstimate {
    /// Bytes that a worker is expected to write of the `declared_bytes` that it begins with: all, until one has served.
    pub fn of(&self, declared_bytes: u64) -> u64 {
        self.most_bytes.load(Ordering::Relaxed).min(declared_bytes)
    }

    /// Notes that a worker which has served has written `bytes`.
    pub fn served(&self, bytes: u64) {
        let more = |most: u64| (most == u64::MAX || bytes > most).then_some(bytes);
        // All workers share this, so it is written only when it changes.
        let _ = self.most_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Bytes that a worker which begins now may find written in its slot: unused slots keep that for the next worker.
    pub fn found(&self) -> u64 {
        let one_less = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => limits::SLOT_BYTES_KEPT,
            Err(_) => 0,
        }
    }

    /// Notes that a worker has ended.
    pub fn ended(&self) {
        let one_more = |left: u32| (left < limits::SLOTS_KEPT).then_some(left + 1);
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
    fn an_estimate_is_whole_until_a_worker_has_served_and_then_the_most() {
        let estimate = WrittenEstimate::default();
        assert_eq!(estimate.of(20 << 20), 20 << 20);
        estimate.served(3 << 20);
        estimate.served(1 << 20);
        assert_eq!((estimate.of(20 << 20), estimate.of(2 << 20)), (3 << 20, 2 << 20));
        estimate.served(5 << 20);
        assert_eq!(estimate.of(20 << 20), 5 << 20);
    }

    #[test]
    fn a_slot_that_is_used_again_has_written_pages() {
        let estimate = WrittenEstimate::default();
        assert_eq!(estimate.found(), 0);
        estimate.ended();
        assert_eq!((estimate.found(), estimate.found()), (limits::SLOT_BYTES_KEPT, 0));
    }
}
