//! Holds what is measured of an app: its output, its invocations, its counts, and why it scaled.

pub mod counts;
pub mod histogram;
pub mod invocation_log;
pub mod line;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod output;
pub mod redactor;
pub mod sampling;
pub mod scaling;
pub mod series;
pub mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::meter::counts::Counts;
use crate::meter::invocation_log::InvocationLog;
use crate::meter::log::AppLog;
use crate::meter::scaling::ScaleLog;
use crate::meter::series::Series;

/// What is measured of one app since the host started, across its revisions.
#[derive(Default)]
pub struct Meter {
    /// Its output.
    pub log: Arc<AppLog>,
    /// Its latest invocations.
    pub invocation_log: InvocationLog,
    /// Why it got more or fewer instances, or did not.
    pub scaling: ScaleLog,
    /// Requests that its guests sent.
    pub outbound: Outbound,
    groups: Mutex<BTreeMap<String, Arc<GroupMeter>>>,
}

/// What is measured of one scale group.
pub struct GroupMeter {
    name: String,
    /// How its invocations ended and how long they took.
    pub counts: Counts,
    /// The same for each second of the last minutes.
    pub series: Series,
}

/// Counters of what guests sent.
#[derive(Default)]
pub struct Outbound {
    /// Requests sent.
    pub requests: Counter,
    /// Requests that the policy refused.
    pub refused: Counter,
    /// Connections opened for requests.
    pub connections: Counter,
}

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the present number.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meter {
    /// Returns the meter of `group`. Makes it if there is none.
    pub fn group(&self, group: &str) -> Arc<GroupMeter> {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get(group) {
            return known.clone();
        }
        let new = GroupMeter { name: group.to_owned(), counts: Counts::default(), series: Series::default() };
        groups.entry(group.to_owned()).or_insert(Arc::new(new)).clone()
    }

    /// Returns the meters of all groups that the app has had.
    pub fn groups(&self) -> Vec<Arc<GroupMeter>> {
        self.groups.lock().values().cloned().collect()
    }
}

impl GroupMeter {
    /// Returns the name of its scale group: `http`, or `function:NAME` (SPEC 2.5).
    pub fn name(&self) -> &str {
        &self.name
    }
}
