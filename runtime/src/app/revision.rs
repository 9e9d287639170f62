//! A revision: the immutable snapshot of an app that was deployed once.

use serde::{Deserialize, Serialize};

use crate::app::share::Percent;
use crate::component::inspect::GuestKind;
use crate::manifest::function::FunctionName;
use crate::manifest::{Language, Manifest, ScalePolicy};
use crate::names::{ModuleHash, RevisionId};

/// What was deployed. Numbered within its app, content addressed by its module, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number.
    pub id: RevisionId,
    /// The kind of guest.
    pub kind: GuestKind,
    /// The language it was written in.
    pub language: Language,
    /// The module it runs.
    pub module: ModuleHash,
    /// Everything else the user decided.
    pub manifest: Manifest,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Revision {
    /// Its scale settings with every default filled in.
    pub fn policy(&self) -> ScalePolicy {
        self.manifest.scale.resolved(self.language)
    }

    /// What the instances of each function go by that a trigger calls.
    pub fn groups(&self) -> Vec<(FunctionName, ScalePolicy)> {
        self.manifest.trigger.policies(self.policy())
    }
}

/// Which revisions of an app serve.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The active one: triggers, hosts and grants go by it, and HTTP requests go to it.
    pub active: Revision,
    /// In a split a second one, with how many of the HTTP requests it takes.
    pub split: Option<(Revision, Percent)>,
}

impl Serving {
    /// A revision that takes everything.
    pub fn alone(active: Revision) -> Self {
        Self { active, split: None }
    }

    /// How many of a hundred HTTP requests revision `id` takes.
    pub fn percent_of(&self, id: RevisionId) -> u32 {
        let (second, percent) = match &self.split {
            Some((second, percent)) => (Some(second.id), percent.get()),
            None => (None, 0),
        };
        match id {
            _ if id == self.active.id => 100 - percent,
            _ if Some(id) == second => percent,
            _ => 0,
        }
    }
}
