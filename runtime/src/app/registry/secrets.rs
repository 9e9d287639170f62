//! Changes the secrets of apps. Such a change is a change of the app: prepared, committed and switched as one.

use std::sync::Arc;
use std::time::Instant;

use super::Registry;
use super::change::{AppChange, Deployed};
use crate::app::error::ChangeError;
use crate::app::revision::Serving;
use crate::app::secret_store::{self, StoredSecret};
use crate::app::store as app_store;
use crate::capability::secrets::{SecretChanges, SecretName, SecretValue, Secrets, changed};
use crate::clock;
use crate::names::AppName;

/// Changed secrets, sealed, as they are stored; `None` removes one.
pub(super) type Sealed = Vec<(SecretName, Option<Vec<u8>>)>;

impl Registry {
    /// Returns the secrets of an app, sealed. An app may have secrets before it is deployed.
    pub async fn stored_secrets(&self, app: &AppName) -> Result<Vec<StoredSecret>, ChangeError> {
        let app = app.clone();
        Ok(self.db.read(move |connection| secret_store::secrets(connection, &app)).await?)
    }

    /// Sets and removes secrets. A served app goes on as a new revision with them, and so does the second revision of a split. An
    /// app that is not served because its secrets cannot be read is brought back once all can be. Other apps get them when they
    /// are deployed.
    pub async fn change_secrets(
        self: &Arc<Self>,
        name: &AppName,
        changes: SecretChanges,
    ) -> Result<Option<Deployed>, ChangeError> {
        let _changing = self.changing.app(name).await;
        let stored = self.stored_secrets(name).await?;
        let is_stored = |name: &SecretName| stored.iter().any(|stored| stored.name == name.as_str());
        if let Some((missing, _)) = changes.iter().find(|(name, value)| value.is_none() && !is_stored(name)) {
            return Err(ChangeError::NoSecret(name.clone(), missing.clone()));
        }
        let Ok(app) = self.app(name) else {
            // A secret that cannot be read is to be set again, and is counted then.
            let present = stored.iter().filter_map(|stored| self.open(name, stored).ok()).collect();
            changed(present, &changes)?;
            let (app, sealed) = (name.clone(), self.seal(name, &changes)?);
            self.db.write(move |transaction| store(transaction, &app, &sealed)).await?;
            return self.bring_back_broken(name).await;
        };
        let mut revision = app.active().revision.clone();
        revision.id = app.next_revision();
        revision.created_ms = clock::now_ms();
        let serving = Serving { active: revision.clone(), ..app.active().serving() };
        let change = AppChange { is_new: true, secrets: changes, ..AppChange::to(serving, revision) };
        self.activate(change).await.map(Some)
    }

    /// Serves an app that could not be brought back before, if that is possible now.
    async fn bring_back_broken(&self, name: &AppName) -> Result<Option<Deployed>, ChangeError> {
        if !self.broken.read().contains_key(name) {
            return Ok(None);
        }
        let begun = Instant::now();
        let stored = self.db.write(app_store::apps).await?;
        for app in stored.iter().filter(|app| app.name == *name) {
            self.bring_back(app).await;
            self.bring_back_split(app).await;
        }
        self.publish_routes();
        let serving = self.app(name).ok().map(|app| app.active().serving());
        Ok(serving.map(|serving| Deployed {
            revision: serving.active.clone(),
            serving,
            split_ended: None,
            prepared_in: begun.elapsed(),
            dry_run: false,
        }))
    }

    /// Returns the secrets of an app after `changes`, as its guests get them. A changed secret need not be readable before, so
    /// this repairs an app whose key was lost.
    pub(super) async fn secrets(
        &self,
        app: &AppName,
        changes: &SecretChanges,
    ) -> Result<Secrets, ChangeError> {
        let is_kept = |stored: &StoredSecret| !changes.keys().any(|name| name.as_str() == stored.name);
        let kept = self.stored_secrets(app).await?.into_iter().filter(is_kept);
        let kept: Secrets = kept.map(|stored| self.open(app, &stored)).collect::<Result<_, _>>()?;
        Ok(changed(kept, changes)?)
    }

    fn open(&self, app: &AppName, stored: &StoredSecret) -> Result<(SecretName, SecretValue), ChangeError> {
        let name = SecretName::new(&stored.name)?;
        let value = self.capabilities.secret_key().unseal_secret(app, &name, &stored.sealed)?;
        Ok((name, value))
    }

    pub(super) fn seal(&self, app: &AppName, changes: &SecretChanges) -> Result<Sealed, ChangeError> {
        let key = self.capabilities.secret_key();
        let seal = |(name, value): (&SecretName, &Option<_>)| {
            let sealed = value.as_ref().map(|value| key.seal_secret(app, name, value)).transpose();
            sealed.map(|sealed| (name.clone(), sealed)).map_err(ChangeError::Seal)
        };
        changes.iter().map(seal).collect()
    }
}

/// Writes changed secrets.
pub(super) fn store(
    transaction: &rusqlite::Transaction<'_>,
    app: &AppName,
    sealed: &Sealed,
) -> rusqlite::Result<()> {
    let now_ms = clock::now_ms();
    sealed.iter().try_for_each(|(name, sealed)| {
        secret_store::change(transaction, app, name, sealed.as_deref(), now_ms)
    })
}
