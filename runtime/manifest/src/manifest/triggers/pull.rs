//! Functions that take their events from a queue: those of `[[trigger.queue]]`, and those of `[[trigger.blob]]`, whose
//! events are in the queue with the name of the function.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::manifest::function::{FunctionName, FunctionPath};
use crate::manifest::grants::StoreName;
use crate::manifest::scale::{Concurrency, ScalePolicy, Timeout};
use crate::manifest::values::{Bounded, OrDynamic, Span};

/// Time from a failed delivery to the next.
type RetryDelay = Span<0, { limits::QUEUE_TIME_MAX.as_millis() as u64 }>;

/// A function and where its events come from. [`super::Triggers::check`] checks which settings belong together, so that
/// the error can name the wrong one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullTrigger {
    /// The function.
    pub name: FunctionName,
    /// One of the app's own queues; by default the one with the name of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<StoreName>,
    /// One of the app's own containers. Each new version of a blob in it is an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<StoreName>,
    /// Only blobs whose names begin with this; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only blobs whose names end with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Path of the function in the component; by default `/` and its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<FunctionPath>,
    /// `"dynamic"`: the host decides how many messages an instance has in flight (`wfn_runtime::pool::dynamic`), and
    /// ignores `batch_size` and `new_batch_threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Messages that are fetched at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<Bounded<1, { limits::QUEUE_BATCH_MAX }>>,
    /// Messages that may still be in flight in an instance when the next ones are fetched; by default half of
    /// `batch_size`. An instance has at most the sum of both in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_batch_threshold: Option<Bounded<0, { limits::QUEUE_BATCH_MAX }>>,
    /// Most messages in flight in all instances together; by default as many as fit into them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<Bounded<1, { limits::QUEUE_IN_FLIGHT_MAX }>>,
    /// Deliveries after which a message is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deliveries: Option<Bounded<1, { limits::QUEUE_DELIVERIES_MAX }>>,
    /// How the time between deliveries grows.
    #[serde(default)]
    pub retry: Retry,
    /// Time between the first two deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<RetryDelay>,
    /// Longest time between deliveries.
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
    /// Deadline of one invocation; by default that of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
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

impl PullTrigger {
    /// The queue that it takes events from.
    pub fn queue(&self) -> &StoreName {
        self.queue.as_ref().unwrap_or(&self.name)
    }

    /// The function's path.
    pub fn path(&self) -> String {
        FunctionPath::of(&self.name, self.path.as_ref())
    }

    /// Messages that are fetched at a time.
    pub fn batch_size(&self) -> u32 {
        self.batch_size.map_or(limits::QUEUE_BATCH_DEFAULT, Bounded::get)
    }

    /// How many messages have to fit before some are fetched, if `most` may be in flight.
    pub fn fetched_at_least(&self, most: usize) -> usize {
        // With dynamic concurrency, half of `most` is enough.
        let most = if self.is_dynamic() { most.div_ceil(2) } else { most };
        most.min(self.batch_size() as usize)
    }

    /// Whether the host decides how many messages an instance has in flight.
    pub fn is_dynamic(&self) -> bool {
        self.concurrency == Some(OrDynamic::Dynamic)
    }

    /// Messages in one request.
    pub fn messages_per_request(&self) -> usize {
        if self.batch { self.batch_size() as usize } else { 1 }
    }

    /// The scale policy of this function, in an app with the policy `app`.
    pub fn policy(&self, app: ScalePolicy) -> ScalePolicy {
        let threshold = self.new_batch_threshold.map_or(self.batch_size() / 2, Bounded::get);
        ScalePolicy {
            // An instance takes one batch at a time (SPEC 4.2).
            concurrency: match self.concurrency {
                Some(OrDynamic::Dynamic) => limits::DYNAMIC_CONCURRENCY_MAX,
                _ if self.batch => 1,
                _ => self.batch_size() + threshold,
            },
            is_dynamic: self.is_dynamic(),
            always_ready: self.always_ready.map_or(0, Bounded::get),
            timeout: self.timeout.map_or(app.timeout, Span::get),
            ..app
        }
    }

    /// Most messages in flight in all instances with this `policy`, with `concurrency` requests in each.
    pub fn in_flight_max(&self, policy: &ScalePolicy, concurrency: u32) -> usize {
        let requests = (policy.max_instances + policy.always_ready) * concurrency;
        let fit = requests.saturating_mul(self.messages_per_request() as u32);
        self.max_in_flight.map_or(fit, |most| most.get().min(fit)).min(limits::QUEUE_IN_FLIGHT_MAX) as usize
    }

    /// How long a message waits after its delivery number `failures` has failed; `None` if that was the last one.
    /// `random` is uniform from 0 to 1. The wait is between half of the delay and all of it, so that messages that
    /// failed together do not come back together.
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

    /// Whether the function gets events for a blob of that name.
    pub fn takes_blob(&self, name: &str) -> bool {
        let is = |affix: &Option<String>, holds: fn(&str, &str) -> bool| {
            affix.as_ref().is_none_or(|affix| holds(name, affix))
        };
        is(&self.prefix, |name, prefix| name.starts_with(prefix))
            && is(&self.suffix, |name, suffix| name.ends_with(suffix))
    }

    pub(super) fn check_queue(&self) -> Result<(), String> {
        let of_blobs = [
            ("container", self.container.is_some()),
            ("prefix", self.prefix.is_some()),
            ("suffix", self.suffix.is_some()),
        ];
        if let Some((setting, _)) = of_blobs.iter().find(|(_, is_set)| *is_set) {
            return Err(format!("{setting} is for functions of blobs, [[trigger.blob]]"));
        }
        if self.session && self.batch {
            return Err("session and batch do not go together".to_owned());
        }
        self.check_common()
    }

    /// The container. An error if a setting is not one of a function of blobs.
    pub(super) fn check_blob(&self) -> Result<&StoreName, String> {
        let of_queues = [("queue", self.queue.is_some()), ("session", self.session), ("batch", self.batch)];
        if let Some((setting, _)) = of_queues.iter().find(|(_, is_set)| *is_set) {
            return Err(format!("{setting} is for functions of queues, [[trigger.queue]]"));
        }
        let max = limits::BLOB_NAME_BYTES_MAX;
        if [&self.prefix, &self.suffix].into_iter().flatten().any(|affix| affix.len() > max) {
            return Err(format!("prefix and suffix have at most {max} bytes"));
        }
        self.check_common()?;
        self.container
            .as_ref()
            .ok_or_else(|| "container is missing: the one whose blobs are meant".to_owned())
    }

    fn check_common(&self) -> Result<(), String> {
        match self.concurrency {
            Some(OrDynamic::Fixed(_)) => {
                Err("concurrency can be \"dynamic\" here; a fixed one is batch_size and \
                                              new_batch_threshold together"
                    .to_owned())
            }
            Some(OrDynamic::Dynamic) if self.batch => Err(
                "concurrency = \"dynamic\" and batch do not go together: a batch is enough for an instance"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Language;
    use crate::manifest::file::ManifestFile;

    fn trigger(text: &str) -> PullTrigger {
        let file = ManifestFile::parse(&format!("[[trigger.queue]]\nname = \"orders\"\n{text}")).unwrap();
        file.trigger.queue.into_iter().next().unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_cloud() {
        let trigger = trigger("");
        let policy = trigger.policy(Default::default());
        assert_eq!((trigger.path().as_str(), trigger.queue().as_str()), ("/orders", "orders"));
        assert_eq!((trigger.batch_size(), policy.concurrency, policy.always_ready), (16, 24, 0));
        assert_eq!(trigger.in_flight_max(&policy, 24), 2_400);
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
    fn blobs_are_chosen_by_how_their_names_begin_and_end() {
        let takes = |text: &str, name: &str| trigger(text).takes_blob(name);
        assert!(takes("", "any"));
        let both = "prefix = \"in/\"\nsuffix = \".png\"";
        for (name, is_taken) in [("in/a.png", true), ("a.png", false), ("in/a.jpg", false), ("in/.png", true)]
        {
            assert_eq!(takes(both, name), is_taken, "{name}");
        }
    }

    impl Default for ScalePolicy {
        fn default() -> Self {
            crate::manifest::ScaleSettings::default().resolved(Language::Other)
        }
    }
}
