//! Splits an app: a second revision takes a percentage of the HTTP requests beside the active one (SPEC 1.4).

use std::sync::Arc;

use super::change::{AppChange, Deployed};
use super::{Registry, store};
use crate::app::error::ChangeError;
use crate::app::revision::{Revision, Serving};
use crate::app::running::App;
use crate::app::share::{Percent, Portion};
use crate::capability::secrets::SecretChanges;
use crate::names::{AppName, RevisionId};

impl Registry {
    /// Lets a kept revision take `percent` of the HTTP requests. Without `id` it is the second revision of the present split, or
    /// else the latest one, if that is newer than the active one.
    pub async fn split(
        self: &Arc<Self>,
        name: &AppName,
        id: Option<RevisionId>,
        percent: Portion,
    ) -> Result<Deployed, ChangeError> {
        let _changing = self.changing.app(name).await;
        let Serving { active, split } = self.app(name)?.active().serving();
        let second = split.map(|(second, _)| second);
        if percent.get() == 0 {
            let is_meant = |second: &Revision| id.is_none_or(|id| id == second.id);
            second.filter(is_meant).ok_or_else(|| ChangeError::NoSplit(name.clone()))?;
            return self.activate(AppChange::to(Serving::alone(active.clone()), active)).await;
        }
        let second = match (id, second) {
            (Some(id), _) => self.kept(name, id).await?,
            (None, Some(second)) => second,
            (None, None) => {
                let latest = self.revisions(name).await?.into_iter().next();
                let latest = latest.filter(|latest| latest.id > active.id);
                latest.ok_or_else(|| ChangeError::NoLaterRevision(name.clone(), active.id))?
            }
        };
        if second.id == active.id {
            return Err(ChangeError::AlreadyActive(name.clone(), active.id));
        }
        let serving = match Percent::new(percent.get()) {
            Some(percent) => Serving { active, split: Some((second.clone(), percent)) },
            None => Serving::alone(second.clone()),
        };
        self.activate(AppChange::to(serving, second)).await
    }

    /// Returns the app whose requests a new revision is to share.
    pub(super) fn app_to_share(&self, name: &AppName) -> Result<Arc<App>, ChangeError> {
        self.app(name).map_err(|error| match error {
            ChangeError::NoApp(name) => ChangeError::NothingToShare(name),
            other => other,
        })
    }

    /// Brings back the second revision of a stored app beside the active one. If that fails the split ends, and the active
    /// revision takes everything.
    pub(super) async fn bring_back_split(&self, stored: &store::StoredApp) {
        let (Some((second, _)), Ok(app)) = (&stored.serving.split, self.app(&stored.name)) else { return };
        let secrets = self.secrets(&stored.name, &SecretChanges::new()).await;
        let active = app.active();
        let split = match secrets {
            Ok(secrets) => self.make_active(&stored.serving, &secrets, app.meter(), Some(&active)).await,
            Err(error) => Err(error),
        };
        match split {
            Ok(split) => self.switch(Some(app.clone()), split, app.meter().clone()),
            Err(error) => {
                let (name, id) = (stored.name.clone(), second.id);
                let text = format!("revision {id} cannot be brought back, its split has ended: {error}");
                tracing::error!("app {name}: {text}");
                active.pool.template().host_log(None, &text);
                let alone = Serving::alone(stored.serving.active.clone());
                let ended = self.db.write(move |transaction| store::serve(transaction, &name, None, &alone));
                if let Err(error) = ended.await {
                    tracing::error!("store the end of that split: {error}");
                }
            }
        }
    }
}
