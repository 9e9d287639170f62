//! What is seen of an app: its output, its counts, and why it scaled.

pub mod counts;
pub mod log;
pub mod machine;
pub mod scaling;

use std::sync::Arc;

use crate::meter::counts::Counts;
use crate::meter::log::AppLog;
use crate::meter::scaling::ScaleLog;

/// What is seen of one app since the host started, across its revisions.
#[derive(Default)]
pub struct Meter {
    /// Its output.
    pub log: Arc<AppLog>,
    /// How its invocations ended.
    pub counts: Counts,
    /// Why it got more or fewer instances, or did not.
    pub scaling: ScaleLog,
}
