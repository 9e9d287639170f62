//! Meters what apps have used, as the cloud would bill it (SPEC 6.1): measured per instance, added up and stored per scale group
//! and hour, and priced when it is asked for.
//!
//! [`instance`] measures, [`book`] holds what is not stored yet, [`keeper`] moves it to the [`store`], [`price`] computes the
//! cost.
//! Everything but the store is pure; time is passed in.

pub mod book;
pub mod hours;
pub mod instance;
pub mod keeper;
pub mod price;
pub mod store;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod worked_example;

use std::ops::AddAssign;

use serde::Serialize;

use crate::meter::usage::hours::Hour;
use crate::names::AppName;

/// What was used. Memory over time is counted as the cloud's own meters count it: the instance's class in MB times
/// milliseconds; 1,024,000 of them are one GB-second.
///
/// Sums stop at the largest number instead of overflowing. That is far away: an instance of 4,096 MB would have to run for a
/// hundred thousand years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Invocations that have ended.
    pub executions: u64,
    /// Active time of instances that come and go with the load, in MB × ms.
    pub on_demand_mb_ms: u64,
    /// Time that always-ready instances existed, in MB × ms.
    pub always_ready_baseline_mb_ms: u64,
    /// Active time of always-ready instances, in MB × ms.
    pub always_ready_execution_mb_ms: u64,
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, more: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.executions, more.executions);
        add(&mut self.on_demand_mb_ms, more.on_demand_mb_ms);
        add(&mut self.always_ready_baseline_mb_ms, more.always_ready_baseline_mb_ms);
        add(&mut self.always_ready_execution_mb_ms, more.always_ready_execution_mb_ms);
    }
}

/// What a scale group has used within an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// The app, which may have been removed since.
    pub app: AppName,
    /// Its scale group: `http` or `function:NAME`.
    pub group: String,
    /// The hour.
    pub hour: Hour,
    /// What it has used.
    pub amounts: Amounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_amount_is_added_to_its_own_and_none_begins_again_at_zero() {
        let amounts = |first: u64| Amounts {
            executions: first,
            on_demand_mb_ms: first * 10,
            always_ready_baseline_mb_ms: first * 100,
            always_ready_execution_mb_ms: first * 1_000,
        };
        let mut sum = amounts(2);
        sum += amounts(5);
        assert_eq!(sum, amounts(7));
        let most = u64::MAX;
        let full = Amounts {
            executions: most,
            on_demand_mb_ms: most,
            always_ready_baseline_mb_ms: most,
            always_ready_execution_mb_ms: most,
        };
        sum += full;
        assert_eq!(sum, full);
    }
}
