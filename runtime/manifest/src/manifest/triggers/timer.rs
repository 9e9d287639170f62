//! Functions that a schedule calls: `[[trigger.timer]]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::manifest::function::{FunctionName, FunctionPath};
use crate::manifest::scale::{ScalePolicy, Timeout};
use crate::manifest::schedule::{MissedRuns, Schedule, Timer};
use crate::manifest::values::{Bounded, Span};
use crate::names::AppName;

/// How much later than its schedule says a run may begin.
type Jitter = Span<0, { limits::TIMER_JITTER_MAX.as_millis() as u64 }>;

/// A function and its schedule. Its runs never overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerTrigger {
    /// The function.
    pub name: FunctionName,
    /// A cron expression with six fields (seconds first), or five.
    pub schedule: String,
    /// Its time zone, a name of the IANA database; by default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Each run begins up to this much later, so that many functions with one schedule do not begin at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// What happens to runs that could not begin in time.
    #[serde(default)]
    pub missed_runs: MissedRuns,
    /// Path of the function in the component; by default `/` and its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<FunctionPath>,
    /// Deadline of a run; by default that of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Whether an instance exists before the first run and stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ready: Option<Bounded<0, 1>>,
}

impl TimerTrigger {
    /// The schedule in its time zone; the error says what is wrong with either.
    pub fn schedule(&self) -> Result<Schedule, String> {
        Schedule::parse(&self.schedule, self.time_zone())
    }

    /// The name of its time zone.
    pub fn time_zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or("UTC")
    }

    /// What decides about its runs. `app` is the app of the function.
    pub fn timer(&self, app: &AppName) -> Result<Timer, String> {
        let jitter = self.jitter.map_or(Duration::ZERO, Span::get);
        Ok(Timer::new(self.schedule()?, self.missed_runs, jitter, app.as_str(), self.name.as_str()))
    }

    /// The function's path.
    pub fn path(&self) -> String {
        FunctionPath::of(&self.name, self.path.as_ref())
    }

    /// The scale policy of this function, in an app with the policy `app`. One run at a time needs one instance.
    pub fn policy(&self, app: ScalePolicy) -> ScalePolicy {
        ScalePolicy {
            concurrency: 1,
            is_dynamic: false,
            always_ready: self.always_ready.map_or(0, Bounded::get),
            max_instances: 1,
            timeout: self.timeout.map_or(app.timeout, Span::get),
            ..app
        }
    }
}
