//! What is to become of an app, and what became of it.

use std::time::Duration;

use crate::app::revision::{Revision, Serving};
use crate::capability::secrets::SecretChanges;
use crate::names::RevisionId;

/// What a change did or, on a dry run, would do.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The revision that it was about.
    pub revision: Revision,
    /// What serves after it.
    pub serving: Serving,
    /// The second revision of a split that has ended with it.
    pub split_ended: Option<RevisionId>,
    /// How long the always-ready instances took to make.
    pub prepared_in: Duration,
    /// Whether it is only a trial.
    pub dry_run: bool,
}

impl Deployed {
    /// What a change did that changed nothing: `revision` serves as it did.
    pub(super) fn unchanged(revision: Revision, serving: Serving) -> Self {
        Self { revision, serving, split_ended: None, prepared_in: Duration::ZERO, dry_run: false }
    }
}

/// What is to become of an app.
pub(super) struct AppChange {
    /// The revision that it is about.
    pub revision: Revision,
    /// Whether that is stored, too, or was before.
    pub is_new: bool,
    /// What is to serve.
    pub serving: Serving,
    /// Whether everything but the switch is done.
    pub dry_run: bool,
    /// What becomes of the app's secrets at the same time.
    pub secrets: SecretChanges,
}

impl AppChange {
    /// Lets kept revisions serve.
    pub fn to(serving: Serving, revision: Revision) -> Self {
        Self { revision, is_new: false, serving, dry_run: false, secrets: SecretChanges::new() }
    }
}

/// How who wants a module compiled waits for the compiler.
#[derive(Debug, Clone, Copy)]
pub(super) enum CompileQueue {
    /// With [`crate::limits::COMPILE_QUEUE_MAX`] others at most.
    Bounded,
    /// However many wait: apps that come back, of which there are as many as there were.
    Unbounded,
}
