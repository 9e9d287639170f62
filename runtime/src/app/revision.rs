//! A revision: the immutable snapshot of an app that was deployed once.

use serde::{Deserialize, Serialize};

use crate::app::share::Percent;
use crate::component::inspect::GuestKind;
use crate::manifest::function::FunctionName;
use crate::manifest::{Language, Manifest, ScalePolicy};
use crate::names::{ModuleHash, RevisionId};

/// What was deployed. It has a number within its app, names its module by hash, and never changes.
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
    /// All settings of the user.
    pub manifest: Manifest,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Revision {
    /// Returns its scale settings with every default filled in.
    pub fn policy(&self) -> ScalePolicy {
        self.manifest.scale.resolved(self.language)
    }

    /// Returns each function that a trigger calls, with the scale settings of its instances.
    pub fn groups(&self) -> Vec<(FunctionName, ScalePolicy)> {
        self.manifest.trigger.policies(self.policy())
    }
}

/// Which revisions of an app serve.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The active one. It serves HTTP requests, and its triggers, hosts and grants count.
    pub active: Revision,
    /// The second one in a split, with the percentage of the HTTP requests that it takes.
    pub split: Option<(Revision, Percent)>,
}

impl Serving {
    /// A revision that serves alone.
    pub fn alone(active: Revision) -> Self {
        Self { active, split: None }
    }

    /// Returns the percentage of the HTTP requests that revision `id` takes.
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
