//! Shares out the file descriptors of the process, so that some are always left for accepting connections, for the admin API and
//! for the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits;

/// How the descriptors of a process are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients of the functions listeners.
    pub connections: usize,
    /// Connections of guests to other servers.
    pub outbound: usize,
    /// Files and pipes that guests open.
    pub files: u32,
    /// Connections of the admin listener: half of what is kept for the host itself.
    pub admin: usize,
}

impl Shares {
    /// Returns the shares of a process that may have `limit` descriptors: a sixteenth for the host itself, a fifth for what
    /// guests open, a fifth for their connections, and the rest for clients.
    pub fn of(limit: u64) -> Self {
        let limit = usize::try_from(limit.min(limits::DESCRIPTORS_COUNTED_MAX)).unwrap_or(usize::MAX);
        let (reserve, of_guests) = (limit / 16, limit / 5);
        Self {
            connections: limits::CONNECTIONS_MAX.min(limit - reserve - 2 * of_guests).max(1),
            outbound: limits::OUTBOUND_CONNECTIONS_MAX.min(of_guests).max(1),
            files: u32::try_from(of_guests).unwrap_or(u32::MAX),
            admin: limits::ADMIN_CONNECTIONS_MAX.min(reserve / 2).max(limits::ADMIN_CONNECTIONS_LEAST),
        }
    }
}

/// The descriptors that all guests may hold for files.
#[derive(Debug)]
pub struct FileBudget {
    limit: u32,
    used: AtomicU32,
}

impl FileBudget {
    /// A budget of `limit` descriptors.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU32::new(0) })
    }
}

/// The part of it that one revision of an app may hold: half, so that others can still open some.
#[derive(Debug)]
pub struct AppFiles {
    host: Arc<FileBudget>,
    used: AtomicU32,
}

impl AppFiles {
    /// What a revision may hold of `host`.
    pub fn new(host: Arc<FileBudget>) -> Arc<Self> {
        Arc::new(Self { host, used: AtomicU32::new(0) })
    }

    /// None yet, for one worker.
    pub fn lease(self: &Arc<Self>) -> FileLease {
        FileLease { app: self.clone(), count: 0 }
    }
}

/// The descriptors that one worker may hold; given back when it is dropped.
#[derive(Debug)]
pub struct FileLease {
    app: Arc<AppFiles>,
    count: u32,
}

impl FileLease {
    /// Whether the worker may hold `needed` descriptors now.
    pub fn covers(&mut self, needed: u32) -> bool {
        if needed <= self.count {
            return true;
        }
        if needed > limits::WORKER_FILES_MAX {
            return false;
        }
        let more = needed - self.count;
        if !add(&self.app.used, more, self.app.host.limit / 2) {
            return false;
        }
        if !add(&self.app.host.used, more, self.app.host.limit) {
            self.app.used.fetch_sub(more, Ordering::AcqRel);
            return false;
        }
        self.count = needed;
        true
    }
}

impl FileLease {
    /// The worker has closed all of its files.
    pub fn release(&mut self) {
        if self.count > 0 {
            self.app.used.fetch_sub(self.count, Ordering::AcqRel);
            self.app.host.used.fetch_sub(self.count, Ordering::AcqRel);
            self.count = 0;
        }
    }
}

impl Drop for FileLease {
    fn drop(&mut self) {
        self.release();
    }
}

/// Adds `count` to `used` unless that would pass `limit`.
fn add(used: &AtomicU32, count: u32, limit: u32) -> bool {
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
        held.checked_add(count).filter(|sum| *sum <= limit)
    })
    .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_leave_some_for_the_host() {
        for limit in [0, 1, 256, 1_024, 4_096, 20_000, 65_536, 1 << 20, u64::MAX] {
            let Shares { connections, outbound, files, admin } = Shares::of(limit);
            assert!((limits::ADMIN_CONNECTIONS_LEAST..=limits::ADMIN_CONNECTIONS_MAX).contains(&admin));
            let taken = connections as u64 + outbound as u64 + u64::from(files);
            assert!(limit < 16 || taken + limit.min(4_096) / 16 <= limit, "{limit}: {taken}");
            assert!(connections <= limits::CONNECTIONS_MAX && outbound <= limits::OUTBOUND_CONNECTIONS_MAX);
        }
        assert_eq!(Shares::of(1 << 20).connections, limits::CONNECTIONS_MAX);
        assert_eq!((Shares::of(1 << 20).admin, Shares::of(1_024).admin), (limits::ADMIN_CONNECTIONS_MAX, 32));
    }

    #[test]
    fn one_app_leaves_half_to_others_and_everything_comes_back() {
        let host = FileBudget::new(100);
        let (greedy, modest) = (AppFiles::new(host.clone()), AppFiles::new(host.clone()));
        let (mut first, mut second, mut third) = (greedy.lease(), greedy.lease(), modest.lease());
        assert!(first.covers(30) && first.covers(20) && second.covers(20) && !second.covers(21));
        assert!(third.covers(50) && !third.covers(51));
        drop(first);
        assert!(second.covers(50) && !third.covers(51));
        drop((second, third));
        assert_eq!((host.used.load(Ordering::SeqCst), greedy.used.load(Ordering::SeqCst)), (0, 0));
        let large = AppFiles::new(FileBudget::new(u32::MAX));
        assert!(large.lease().covers(limits::WORKER_FILES_MAX));
        assert!(!large.lease().covers(limits::WORKER_FILES_MAX + 1));
    }
}
