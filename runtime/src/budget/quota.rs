//! Holds the memory quota: the most that the memory classes of all instances of the host may add up to (SPEC 2.8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::capacity::CapacityNotifier;

/// The host's memory quota in MB. Reserved before an instance exists and given back after its last
/// worker is gone. Invariant: `reserved ≤ limit`, at every moment.
#[derive(Debug)]
pub struct MemoryQuota {
    limit_mb: u64,
    reserved_mb: AtomicU64,
    capacity: Arc<CapacityNotifier>,
}

impl MemoryQuota {
    /// Makes a quota of `limit_mb` with nothing reserved. `capacity` is told of what is given back.
    pub fn new(limit_mb: u64, capacity: Arc<CapacityNotifier>) -> Arc<Self> {
        Arc::new(Self { limit_mb, reserved_mb: AtomicU64::new(0), capacity })
    }

    /// Reserves `megabytes`. `None` if there is not so much.
    pub fn reserve(self: &Arc<Self>, megabytes: u64) -> Option<QuotaLease> {
        self.reserved_mb
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |reserved| {
                reserved.checked_add(megabytes).filter(|sum| *sum <= self.limit_mb)
            })
            .ok()
            .map(|_| QuotaLease { quota: self.clone(), megabytes })
    }

    /// Returns the whole quota in MB.
    pub fn limit_mb(&self) -> u64 {
        self.limit_mb
    }

    /// Returns what instances have reserved of it, in MB.
    pub fn reserved_mb(&self) -> u64 {
        self.reserved_mb.load(Ordering::Acquire)
    }
}

/// A reservation; dropping it gives it back.
#[derive(Debug)]
pub struct QuotaLease {
    quota: Arc<MemoryQuota>,
    megabytes: u64,
}

impl Drop for QuotaLease {
    fn drop(&mut self) {
        self.quota.reserved_mb.fetch_sub(self.megabytes, Ordering::SeqCst);
        self.quota.capacity.may_be_made();
    }
}

/// The always-ready instances of one revision, for [`check_always_ready`].
#[derive(Debug, Clone, Copy)]
pub struct AlwaysReady {
    /// How many instances.
    pub instances: u32,
    /// Their class in MB.
    pub class_mb: u64,
}

impl AlwaysReady {
    fn megabytes(self) -> u64 {
        u64::from(self.instances) * self.class_mb
    }
}

/// Refuses always-ready instances that can never exist together: those of the changed app's revisions (`own`), and those of other
/// apps. The error has the arithmetic ("3 always-ready × 2,048 MB = 6,144 MB > quota 4,096 MB").
pub fn check_always_ready(own: &[AlwaysReady], others: &[AlwaysReady], quota_mb: u64) -> Result<(), String> {
    let sum = |all: &[AlwaysReady]| all.iter().map(|one| one.megabytes()).sum::<u64>();
    let (own_mb, others_mb) = (sum(own), sum(others));
    if own_mb + others_mb <= quota_mb {
        return Ok(());
    }
    let terms =
        own.iter().map(|one| format!("{} always-ready × {} MB", one.instances, grouped(one.class_mb)));
    let mut sum = format!("{} = {} MB", terms.collect::<Vec<_>>().join(" + "), grouped(own_mb));
    if own_mb <= quota_mb {
        sum += &format!(
            ", with {} MB of always-ready instances of other apps {} MB",
            grouped(others_mb),
            grouped(own_mb + others_mb)
        );
    }
    Err(format!(
        "{sum} > quota {} MB: ask for fewer always-ready instances or start the host with a larger --memory-quota-mb",
        grouped(quota_mb)
    ))
}

/// `512000` as `512,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_arithmetic_is_shown() {
        let own = AlwaysReady { instances: 3, class_mb: 2_048 };
        let error = check_always_ready(&[own], &[], 4_096).unwrap_err();
        assert!(error.starts_with("3 always-ready × 2,048 MB = 6,144 MB > quota 4,096 MB"), "{error}");
        let other = AlwaysReady { instances: 1, class_mb: 4_096 };
        assert!(check_always_ready(&[own], &[], 6_144).is_ok());
        let error = check_always_ready(&[own], &[other], 8_000).unwrap_err();
        assert!(
            error.contains("6,144 MB, with 4,096 MB") && error.contains("10,240 MB > quota 8,000"),
            "{error}"
        );
        let error = check_always_ready(&[own, other], &[], 8_000).unwrap_err();
        let sum = "3 always-ready × 2,048 MB + 1 always-ready × 4,096 MB = 10,240 MB > quota 8,000 MB";
        assert!(error.starts_with(sum), "{error}");
    }

    proptest! {
        #[test]
        fn the_quota_is_never_exceeded_and_comes_back(limit in 0u64..20_000, steps in prop::collection::vec((any::<bool>(), 0u64..9_000), 0..200)) {
            let quota = MemoryQuota::new(limit, Arc::default());
            let mut leases = Vec::new();
            let mut held = 0;
            for (take, megabytes) in steps {
                if take {
                    match quota.reserve(megabytes) {
                        Some(lease) => { held += megabytes; leases.push((lease, megabytes)); }
                        None => prop_assert!(held + megabytes > limit),
                    }
                } else if let Some((lease, megabytes)) = leases.pop() {
                    drop(lease);
                    held -= megabytes;
                }
                prop_assert_eq!(quota.reserved_mb(), held);
                prop_assert!(held <= limit);
            }
        }
    }
}
