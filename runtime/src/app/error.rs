//! Why a change of an app was refused or failed.

use crate::capability::bundle::Flaw;
use crate::capability::secrets::{SecretError, SecretName, Unopened};
use crate::component::cache::CacheError;
use crate::instance::template::TemplateError;
use crate::limits;
use crate::names::{AppName, BundleHash, RevisionId};
use crate::persist::error::DbError;

/// Why a change was refused or failed. Nothing has changed in that case.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The manifest contradicts itself.
    #[error("{0}")]
    Manifest(String),
    /// The module could not be made ready.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The component does not fit what the host offers.
    #[error("link the component: {0}")]
    Link(String),
    /// The guest failed while starting.
    #[error("the component does not start: {0}")]
    Start(String),
    /// Its always-ready instances cannot all exist within the quota.
    #[error("{0}")]
    Quota(String),
    /// A host name that another app has claimed.
    #[error("host {host} is claimed by app {app}: remove it there first")]
    HostTaken {
        /// The name.
        host: String,
        /// Who has it.
        app: AppName,
    },
    /// No such app.
    #[error("there is no app {0}: 'wfn ls' shows what is deployed")]
    NoApp(AppName),
    /// The app is stored, but could not be brought back at start.
    #[error("app {0} is not served: {1}; deploy it again, roll back to another revision or remove it")]
    Broken(AppName, String),
    /// The app is stored, but not brought back yet: the host has just started.
    #[error("app {0} is coming back: the host has just started; try again in a moment")]
    Coming(AppName),
    /// No such revision.
    #[error("app {0} has no revision {1}: 'wfn versions {0}' shows what is kept")]
    NoRevision(AppName, RevisionId),
    /// There is no revision to roll back to.
    #[error("app {0} has no revision before {1}")]
    NoEarlierRevision(AppName, RevisionId),
    /// A split of an app that gets no requests.
    #[error("app {0} is not deployed yet, so there is nothing to share: deploy it without --canary first")]
    NothingToShare(AppName),
    /// A split without a named revision, where no revision follows the active one.
    #[error(
        "app {0} has no revision after {1}, which is active: deploy one with --canary PERCENT, or name a kept one with --revision"
    )]
    NoLaterRevision(AppName, RevisionId),
    /// A split of the active revision with itself.
    #[error("revision {1} of app {0} is the active one: name another; 'wfn versions {0}' shows what is kept")]
    AlreadyActive(AppName, RevisionId),
    /// The app has no split to end.
    #[error("app {0} has no such split to end: 'wfn status {0}' shows what serves")]
    NoSplit(AppName),
    /// Files that were not uploaded, or that are damaged on the disk.
    #[error("bundle {0} {what}", what = match .1 {
        Flaw::Missing => "is not stored on this host: upload it first",
        Flaw::Damaged => "is damaged on the disk of this host: upload it again",
    })]
    Bundle(BundleHash, Flaw),
    /// Files that cannot be read.
    #[error("look at the files of the app: {0}")]
    Files(std::io::Error),
    /// No such secret.
    #[error("app {0} has no secret {1}: 'wfn secret list {0}' shows what it has")]
    NoSecret(AppName, SecretName),
    /// A name, a value or a number of secrets beyond its limits.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A stored secret that this host's key does not open.
    #[error(transparent)]
    Unopened(#[from] Unopened),
    /// A secret could not be encrypted.
    #[error("encrypt a secret: {0}")]
    Seal(std::io::Error),
    /// There are [`limits::APPS_MAX`] apps already.
    #[error("this host has {} apps, which is the most it takes", limits::APPS_MAX)]
    TooManyApps,
    /// [`limits::COMPILE_QUEUE_MAX`] modules wait to be compiled already.
    #[error("{} deployments are waiting for the compiler: try again later", limits::COMPILE_QUEUE_MAX)]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<TemplateError> for ChangeError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Link(why) => Self::Link(why),
            TemplateError::Manifest(why) => Self::Manifest(why),
        }
    }
}
