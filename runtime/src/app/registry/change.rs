//! Describes a change of an app, and its result.

use std::time::Duration;

use crate::app::revision::{Revision, Serving};
use crate::capability::secrets::SecretChanges;
use crate::names::RevisionId;

/// What a change did or, on a dry run, would do.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The revision that the change was about.
    pub revision: Revision,
    /// What serves after the change.
    pub serving: Serving,
    /// The second revision of a split that ended with the change.
    pub split_ended: Option<RevisionId>,
    /// How long making the always-ready instances took.
    pub prepared_in: Duration,
    /// Whether the change was only tried.
    pub dry_run: bool,
}

impl Deployed {
    /// Returns the result of a change that changed nothing: `revision` serves as before.
    pub(super) fn unchanged(revision: Revision, serving: Serving) -> Self {
        Self { revision, serving, split_ended: None, prepared_in: Duration::ZERO, dry_run: false }
    }
}

/// A change of an app.
pub(super) struct AppChange {
    /// The revision that the change is about.
    pub revision: Revision,
    /// Whether that revision is new and has to be stored.
    pub is_new: bool,
    /// What is to serve after the change.
    pub serving: Serving,
    /// Whether to stop before the commit.
    pub dry_run: bool,
    /// Changes of the app's secrets that are made together with it.
    pub secrets: SecretChanges,
}

impl AppChange {
    /// A change that lets kept revisions serve.
    pub fn to(serving: Serving, revision: Revision) -> Self {
        Self { revision, is_new: false, serving, dry_run: false, secrets: SecretChanges::new() }
    }
}

/// How many others may wait for the compiler already.
#[derive(Debug, Clone, Copy)]
pub(super) enum CompileQueue {
    /// At most [`crate::limits::COMPILE_QUEUE_MAX`].
    Bounded,
    /// Any number: apps that come back at start, whose number is bounded.
    Unbounded,
}
