//! Which key-value stores, blob containers and queues an app has, for its operator: those with data, and those that the
//! manifest of its active revision names.

use http::StatusCode;
use rusqlite::Connection;

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::app::error::ChangeError;
use crate::manifest::grants::{Kind, Place, StoreLabel, StoreName};
use crate::names::AppName;

/// Stores of one kind by name, each with what it holds.
pub type Held<U> = Vec<(String, U)>;

/// One kind of stores.
pub struct StoreKind<U> {
    /// Which kind.
    pub kind: Kind,
    /// Reads those of an app that have data.
    pub table: fn(&Connection, &AppName) -> rusqlite::Result<Held<U>>,
}

impl<U: Default + Send + 'static> StoreKind<U> {
    /// The stores of `app` that have data. An app that was removed may have left some.
    pub async fn held(&self, api: &Api, app: &AppName) -> Result<Held<U>, ApiError> {
        let (app, table) = (app.clone(), self.table);
        Ok(api.registry.db().read(move |connection: &Connection| table(connection, &app)).await?)
    }

    /// All stores of `app`, by name.
    pub async fn all(&self, api: &Api, app: &AppName) -> Result<Held<U>, ApiError> {
        let mut stores = self.held(api, app).await?;
        match self.named(api, app) {
            Ok(named) => {
                for name in named.iter().map(StoreName::as_str) {
                    if !stores.iter().any(|(known, _)| known == name) {
                        stores.push((name.to_owned(), U::default()));
                    }
                }
            }
            Err(error) if stores.is_empty() => return Err(error.into()),
            Err(_) => {}
        }
        stores.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(stores)
    }

    /// The place of a store that `app` has: a typing error makes none.
    pub async fn place(&self, api: &Api, app: &str, store: &str) -> Result<Place, ApiError> {
        let app = AppName::new(app)?;
        let store = StoreName::new(store).map_err(|why| ApiError::bad_request("invalid-name", why))?;
        let named = self.named(api, &app);
        let is_named = named.as_ref().is_ok_and(|named| named.contains(&store));
        if !is_named && !self.held(api, &app).await?.iter().any(|(name, _)| name == store.as_str()) {
            let named: Vec<String> = named?.iter().map(StoreName::to_string).collect();
            let (name, setting, noun) = (self.kind.name(), self.kind.setting(), self.kind.noun());
            let message = match named.as_slice() {
                [] => format!("app {app} has no {name}s: name some as {setting} in its wfn.toml"),
                _ => format!("app {app} has no {noun} {store}; its {noun}s are {}", named.join(", ")),
            };
            return Err(ApiError::new(StatusCode::NOT_FOUND, self.kind.no_such(), message));
        }
        Ok(Place { app, store })
    }

    /// The stores of its own that the active revision of `app` names, and the queues in which the events of its functions
    /// of blobs wait.
    fn named(&self, api: &Api, app: &AppName) -> Result<Vec<StoreName>, ChangeError> {
        let active = api.registry.app(app)?.active();
        let manifest = &active.revision.manifest;
        let own = |label: &StoreLabel| label.owner.is_none().then(|| label.store.clone());
        let mut named: Vec<_> = manifest.stores(self.kind).iter().filter_map(own).collect();
        if self.kind == Kind::Queue {
            named.extend(manifest.trigger.blob.iter().map(|trigger| trigger.queue().clone()));
        }
        Ok(named)
    }
}
