//! What calls the functions of an app besides HTTP: the `[[trigger.…]]` tables of the manifest, checked strictly.
//!
//! Each names a function, which is a scale group of its own (SPEC 2.5): instances of the same component that only this
//! trigger calls, with a POST to the function's path.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::manifest::ScalePolicy;
use crate::app::values::{Bounded, Span};
use crate::capability::grants::{StoreLabel, StoreName};
use crate::limits;

/// The name of a function: what its scale group and its log lines are called.
pub type FunctionName = StoreName;
/// Time from a failed delivery to the next.
type RetryDelay = Span<0, { limits::QUEUE_TIME_MAX.as_millis() as u64 }>;

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triggers {
    /// Functions that are called with the messages of a queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<QueueTrigger>,
}

/// A function and its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueTrigger {
    /// The function.
    pub name: FunctionName,
    /// The queue, one of the app's own; without it the one of the function's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<StoreName>,
    /// Where the component takes the messages; without it `/` and the function's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<FunctionPath>,
    /// Messages that are fetched at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<Bounded<1, { limits::QUEUE_BATCH_MAX }>>,
    /// Messages that may still be in flight in an instance when the next ones are fetched; half of `batch_size` without
    /// it. Both together are what an instance has in flight at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_batch_threshold: Option<Bounded<0, { limits::QUEUE_BATCH_MAX }>>,
    /// Messages in flight in all instances; as many as fit into them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<Bounded<1, { limits::QUEUE_IN_FLIGHT_MAX }>>,
    /// Deliveries after which a message is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deliveries: Option<Bounded<1, { limits::QUEUE_DELIVERIES_MAX }>>,
    /// How the time between deliveries grows.
    #[serde(default)]
    pub retry: Retry,
    /// The first time between deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<RetryDelay>,
    /// The longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay_max: Option<RetryDelay>,
    /// Whether messages of one session are delivered in order, one at a time.
    #[serde(default)]
    pub session: bool,
    /// Whether up to `batch_size` messages come in one request.
    #[serde(default)]
    pub batch: bool,
    /// Instances that exist before the first message and stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ready: Option<Bounded<0, { limits::INSTANCES_MAX }>>,
}

/// How the time between deliveries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// It doubles.
    #[default]
    Exponential,
    /// It stays.
    Fixed,
}

/// The path of a function within its component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionPath(String);

impl FunctionPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FunctionPath {
    type Error = String;
    fn try_from(path: String) -> Result<Self, String> {
        let is_path = path.starts_with('/') && path.len() <= limits::QUEUE_PROPERTY_BYTES_MAX;
        match is_path && path.parse::<http::uri::PathAndQuery>().is_ok() {
            true => Ok(Self(path)),
            false => Err(format!("path {path:?}: use the path of a URL, such as \"/orders\"")),
        }
    }
}

impl From<FunctionPath> for String {
    fn from(path: FunctionPath) -> Self {
        path.0
    }
}

impl Triggers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The function that takes the messages of that queue.
    pub fn of_queue(&self, queue: &StoreName) -> Option<&QueueTrigger> {
        self.queue.iter().find(|trigger| trigger.queue() == queue)
    }

    /// Checks what goes across them, for an app that has `queues`.
    pub fn check(&self, queues: &[StoreLabel]) -> Result<(), String> {
        let max = limits::TRIGGERS_MAX;
        if self.queue.len() > max {
            return Err(format!("{} triggers: at most {max} are allowed", self.queue.len()));
        }
        let names: BTreeSet<_> = self.queue.iter().map(|trigger| &trigger.name).collect();
        let of: BTreeSet<_> = self.queue.iter().map(QueueTrigger::queue).collect();
        if names.len() < self.queue.len() || of.len() < self.queue.len() {
            return Err("two triggers have the same name or the same queue".to_owned());
        }
        if let Some(both) = self.queue.iter().find(|trigger| trigger.session && trigger.batch) {
            return Err(format!("trigger.queue {}: session and batch do not go together", both.name));
        }
        let is_own =
            |queue: &StoreName| queues.iter().any(|label| label.owner.is_none() && label.store == *queue);
        match of.into_iter().find(|queue| !is_own(queue)) {
            Some(queue) => {
                Err(format!("trigger.queue: {queue} is not a queue of this app: add it to queues"))
            }
            None => Ok(()),
        }
    }
}

impl QueueTrigger {
    /// The queue.
    pub fn queue(&self) -> &StoreName {
        self.queue.as_ref().unwrap_or(&self.name)
    }

    /// The function's path.
    pub fn path(&self) -> String {
        self.path.as_ref().map_or_else(|| format!("/{}", self.name), |path| path.as_str().to_owned())
    }

    /// Messages that are fetched at a time.
    pub fn batch_size(&self) -> u32 {
        self.batch_size.map_or(limits::QUEUE_BATCH_DEFAULT, Bounded::get)
    }

    /// Messages that come in one request.
    pub fn messages_per_request(&self) -> usize {
        if self.batch { self.batch_size() as usize } else { 1 }
    }

    /// What the instances of this function go by, in an app that goes by `app`.
    pub fn policy(&self, app: ScalePolicy) -> ScalePolicy {
        let threshold = self.new_batch_threshold.map_or(self.batch_size() / 2, Bounded::get);
        ScalePolicy {
            // A batch is enough for an instance (SPEC 4.2).
            concurrency: if self.batch { 1 } else { self.batch_size() + threshold },
            always_ready: self.always_ready.map_or(0, Bounded::get),
            ..app
        }
    }

    /// Messages in flight in all instances that go by `policy`.
    pub fn in_flight_max(&self, policy: &ScalePolicy) -> usize {
        let requests = (policy.max_instances + policy.always_ready) * policy.concurrency;
        let fit = requests.saturating_mul(self.messages_per_request() as u32);
        self.max_in_flight.map_or(fit, |most| most.get().min(fit)) as usize
    }

    /// How long a message waits after its delivery number `failures` has failed; `None` if that was the last.
    /// `random` is evenly spread over 0 to 1: the wait is between half of what it could be and all, so that messages
    /// that failed together do not come back together.
    pub fn wait_after(&self, failures: u32, random: f64) -> Option<Duration> {
        if failures >= self.max_deliveries.map_or(limits::QUEUE_DELIVERIES_DEFAULT, Bounded::get) {
            return None;
        }
        let first = self.retry_delay.map_or(limits::QUEUE_RETRY_DELAY_DEFAULT, Span::get);
        let longest = self.retry_delay_max.map_or(limits::QUEUE_RETRY_DELAY_MAX_DEFAULT, Span::get);
        let whole = match self.retry {
            Retry::Fixed => first,
            Retry::Exponential => first.saturating_mul(1 << (failures - 1).min(30)).min(longest.max(first)),
        };
        Some(whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::manifest_file::ManifestFile;
    use crate::component::inspect::Language;

    fn trigger(text: &str) -> QueueTrigger {
        let file = ManifestFile::parse(&format!("[[trigger.queue]]\nname = \"orders\"\n{text}")).unwrap();
        file.trigger.queue.into_iter().next().unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_cloud() {
        let trigger = trigger("");
        let policy = trigger.policy(Default::default());
        assert_eq!((trigger.path().as_str(), trigger.queue().as_str()), ("/orders", "orders"));
        assert_eq!((trigger.batch_size(), policy.concurrency, policy.always_ready), (16, 24, 0));
        assert_eq!(trigger.in_flight_max(&policy), 2_400);
    }

    #[test]
    fn waits_double_to_their_bound_and_end() {
        let of = |text: &str| -> Vec<Option<u64>> {
            let trigger = trigger(text);
            (1..=6).map(|failures| Some(trigger.wait_after(failures, 1.0)?.as_millis() as u64)).collect()
        };
        let seconds = |all: [u64; 4]| all.map(|seconds| Some(seconds * 1_000)).to_vec();
        assert_eq!(of("retry_delay = \"2s\""), [seconds([2, 4, 8, 16]), vec![None, None]].concat());
        assert_eq!(of("retry_delay = \"2s\"\nretry_delay_max = \"5s\"")[..4], seconds([2, 4, 5, 5]));
        assert_eq!(
            of("retry = \"fixed\"\nretry_delay = \"3s\"\nmax_deliveries = 3")[..3],
            [Some(3_000), Some(3_000), None]
        );
        assert_eq!(trigger("retry_delay = \"2s\"").wait_after(1, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(trigger("max_deliveries = 1").wait_after(1, 0.5), None);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let check = |text: &str| {
            let file = ManifestFile::parse(text).unwrap();
            file.trigger.check(&file.queues)
        };
        let one = "[[trigger.queue]]\nname = \"a\"\n";
        assert!(check(one).unwrap_err().contains("add it to queues"));
        assert!(check(&format!("queues = [\"b/a\"]\n{one}")).unwrap_err().contains("add it to queues"));
        assert_eq!(check(&format!("queues = [\"a\"]\n{one}")), Ok(()));
        let twice = format!("queues = [\"a\"]\n{one}[[trigger.queue]]\nname = \"b\"\nqueue = \"a\"\n");
        assert!(check(&twice).unwrap_err().contains("the same queue"));
        for wrong in
            ["path = \"orders\"", "batch_size = 0", "retry = \"often\"", "retry_delay = \"8h\"\nmax = 1"]
        {
            assert!(ManifestFile::parse(&format!("{one}{wrong}")).is_err(), "{wrong}");
        }
    }

    impl Default for ScalePolicy {
        fn default() -> Self {
            crate::app::manifest::ScaleSettings::default().resolved(Language::Other)
        }
    }
}
