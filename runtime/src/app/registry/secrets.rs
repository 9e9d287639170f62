//! The secrets of apps: a change of them is a change of the app, prepared, committed and switched as one.

use std::sync::Arc;

use super::{Change, Deployed, Registry};
use crate::app::error::ChangeError;
use crate::app::secret_store::{self, StoredSecret};
use crate::capability::secrets::{SecretChanges, SecretName, Secrets};
use crate::clock;
use crate::names::AppName;

/// The values of changed secrets as they are stored; `None` removes one.
pub(super) type Sealed = Vec<(SecretName, Option<Vec<u8>>)>;

impl Registry {
    /// The secrets of an app, sealed. An app that is not deployed yet may have some.
    pub async fn stored_secrets(&self, app: &AppName) -> Result<Vec<StoredSecret>, ChangeError> {
        let app = app.clone();
        Ok(self.db.read(move |connection| secret_store::secrets(connection, &app)).await?)
    }

    /// Sets and removes secrets. A served app goes on as a new revision with them; the others have them when they
    /// are deployed.
    pub async fn change_secrets(
        self: &Arc<Self>,
        name: &AppName,
        changes: SecretChanges,
    ) -> Result<Option<Deployed>, ChangeError> {
        let _changing = self.changing.lock().await;
        let present = self.secrets(name).await?;
        if let Some((missing, _)) =
            changes.iter().find(|(name, value)| value.is_none() && !present.contains_key(name))
        {
            return Err(ChangeError::NoSecret(name.clone(), missing.clone()));
        }
        let Ok(app) = self.app(name) else {
            crate::capability::secrets::changed(present, &changes)?;
            let (app, sealed) = (name.clone(), self.seal(name, &changes)?);
            self.db.write(move |transaction| store(transaction, &app, &sealed)).await?;
            return Ok(None);
        };
        let mut revision = app.active().revision.clone();
        revision.id = app.next_revision();
        revision.created_ms = clock::now_ms();
        let change = Change { revision, is_new: true, dry_run: false, secrets: changes };
        self.activate(change).await.map(Some)
    }

    /// The secrets of an app as its guests get them.
    pub(super) async fn secrets(&self, app: &AppName) -> Result<Secrets, ChangeError> {
        let open = |stored: StoredSecret| {
            let name = SecretName::new(&stored.name)?;
            let value = self.capabilities.secret_key().unseal_secret(app, &name, &stored.sealed)?;
            Ok((name, value))
        };
        self.stored_secrets(app).await?.into_iter().map(open).collect()
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
