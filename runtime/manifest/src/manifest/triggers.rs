//! Reads the triggers of an app: the `[[trigger.…]]` tables of the manifest, checked strictly.
//!
//! Each names a function, which is a scale group of its own (SPEC 2.5): instances of the same component that only this
//! trigger calls, with a POST to the function's path.

pub mod pull;
pub mod timer;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::manifest::function::FunctionName;
use crate::manifest::grants::{StoreLabel, StoreName};
use crate::manifest::scale::ScalePolicy;
use crate::manifest::triggers::pull::PullTrigger;
use crate::manifest::triggers::timer::TimerTrigger;

/// All triggers of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triggers {
    /// Functions that are called with the messages of a queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<PullTrigger>,
    /// Functions that are called for each version of a blob.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blob: Vec<PullTrigger>,
    /// Functions that are called at the times of a schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timer: Vec<TimerTrigger>,
}

impl Triggers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.blob.is_empty() && self.timer.is_empty()
    }

    /// The functions that take events from a queue, each from its own: messages, or events of blobs.
    pub fn pulls(&self) -> impl Iterator<Item = &PullTrigger> {
        self.queue.iter().chain(&self.blob)
    }

    /// The function that takes events from that queue.
    pub fn of_queue(&self, queue: &StoreName) -> Option<&PullTrigger> {
        self.pulls().find(|trigger| trigger.queue() == queue)
    }

    /// The timer function of that name.
    pub fn timer(&self, name: &FunctionName) -> Option<&TimerTrigger> {
        self.timer.iter().find(|trigger| trigger.name == *name)
    }

    /// The scale policy of each function, in an app with the policy `app`.
    pub fn policies(&self, app: ScalePolicy) -> Vec<(FunctionName, ScalePolicy)> {
        let of_pulls = self.pulls().map(|trigger| (trigger.name.clone(), trigger.policy(app)));
        let of_timers = self.timer.iter().map(|trigger| (trigger.name.clone(), trigger.policy(app)));
        of_pulls.chain(of_timers).collect()
    }

    /// Checks the settings that concern several triggers, in an app that has `queues` and `containers`.
    pub fn check(&self, queues: &[StoreLabel], containers: &[StoreLabel]) -> Result<(), String> {
        let (count, max) = (self.pulls().count() + self.timer.len(), limits::TRIGGERS_MAX);
        if count > max {
            return Err(format!("{count} triggers: at most {max} are allowed"));
        }
        let of_timers = self.timer.iter().map(|trigger| &trigger.name);
        let names: BTreeSet<_> = self.pulls().map(|trigger| &trigger.name).chain(of_timers).collect();
        let sources: BTreeSet<_> = self.pulls().map(PullTrigger::queue).collect();
        if names.len() < count || sources.len() < self.pulls().count() {
            return Err("two triggers have the same name or the same queue".to_owned());
        }
        let is_own = |labels: &[StoreLabel], store: &StoreName| {
            labels.iter().any(|label| label.owner.is_none() && label.store == *store)
        };
        for trigger in &self.queue {
            trigger.check_queue().map_err(|why| format!("trigger.queue {}: {why}", trigger.name))?;
            let queue = trigger.queue();
            if !is_own(queues, queue) {
                return Err(format!("trigger.queue: {queue} is not a queue of this app: add it to queues"));
            }
        }
        for trigger in &self.blob {
            let wrong = |why: String| format!("trigger.blob {}: {why}", trigger.name);
            let container = trigger.check_blob().map_err(wrong)?;
            if !is_own(containers, container) {
                let why = format!("{container} is not a container of this app: add it to blob_containers");
                return Err(wrong(why));
            }
            if is_own(queues, trigger.queue()) {
                let why = "the queue of its name keeps its events: use another name for the one in queues";
                return Err(wrong(why.to_owned()));
            }
        }
        for trigger in &self.timer {
            trigger.schedule().map_err(|why| format!("trigger.timer {}: {why}", trigger.name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::file::ManifestFile;

    #[test]
    fn what_does_not_go_together_is_refused() {
        let check = |text: &str| {
            let file = ManifestFile::parse(text).unwrap();
            file.trigger.check(&file.queues, &file.blob_containers)
        };
        let one = "[[trigger.queue]]\nname = \"a\"\n";
        assert!(check(one).unwrap_err().contains("add it to queues"));
        assert!(check(&format!("queues = [\"b/a\"]\n{one}")).unwrap_err().contains("add it to queues"));
        assert_eq!(check(&format!("queues = [\"a\"]\n{one}")), Ok(()));
        let twice = format!("queues = [\"a\"]\n{one}[[trigger.queue]]\nname = \"b\"\nqueue = \"a\"\n");
        assert!(check(&twice).unwrap_err().contains("the same queue"));
        for (wrong, why) in [
            ("container = \"c\"", "container"),
            ("prefix = \"c\"", "prefix"),
            ("session = true\nbatch = true", "do not go together"),
            ("concurrency = 4", "batch_size"),
        ] {
            let error = check(&format!("queues = [\"a\"]\n{one}{wrong}\n")).unwrap_err();
            assert!(error.starts_with("trigger.queue a: ") && error.contains(why), "{error}");
        }
        for wrong in
            ["path = \"orders\"", "batch_size = 0", "retry = \"often\"", "retry_delay = \"8h\"\nmax = 1"]
        {
            assert!(ManifestFile::parse(&format!("{one}{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn functions_of_blobs_and_timers_are_checked() {
        let check = |text: &str| {
            let file = ManifestFile::parse(text).unwrap();
            file.trigger.check(&file.queues, &file.blob_containers)
        };
        let blob = "[[trigger.blob]]\nname = \"thumbs\"\ncontainer = \"photos\"\n";
        assert_eq!(check(&format!("blob_containers = [\"photos\"]\n{blob}prefix = \"in/\"\n")), Ok(()));
        assert!(check(blob).unwrap_err().contains("add it to blob_containers"));
        let queue = format!("queues = [\"thumbs\"]\nblob_containers = [\"photos\"]\n{blob}");
        assert!(check(&queue).unwrap_err().contains("keeps its events"));
        for wrong in ["session = true", "batch = true", "queue = \"photos\""] {
            let error = check(&format!("blob_containers = [\"photos\"]\n{blob}{wrong}\n")).unwrap_err();
            assert!(error.starts_with("trigger.blob thumbs: "), "{error}");
        }
        let timer = "[[trigger.timer]]\nname = \"nightly\"\n";
        assert_eq!(check(&format!("{timer}schedule = \"0 0 2 * * *\"\n")), Ok(()));
        let error = check(&format!("{timer}schedule = \"99 * * * *\"\n")).unwrap_err();
        assert!(error.starts_with("trigger.timer nightly: schedule"), "{error}");
        let both = format!(
            "queues = [\"nightly\"]\n[[trigger.queue]]\nname = \"nightly\"\n{timer}schedule = \"@daily\"\n"
        );
        assert!(check(&both).unwrap_err().contains("the same name"));
    }
}
