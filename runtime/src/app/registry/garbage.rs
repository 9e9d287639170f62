//! Removes what nobody needs any more: modules, bundles, and what dropped stores and queues hold.

use std::collections::HashSet;
use std::time::Duration;

use crate::app::registry::{Registry, blocking};
use crate::app::store;
use crate::capability::key_value;
use crate::names::{BundleHash, ModuleHash};
use crate::persist::db::DbError;

impl Registry {
    /// Gives the room of dropped stores and queues back.
    pub async fn sweep_stores(&self) {
        if let Err(error) = key_value::sweep(&self.db).await {
            tracing::warn!("remove what dropped key-value stores hold: {error}");
        }
        if let Err(error) = self.capabilities.queues().sweep().await {
            tracing::warn!("remove what dropped queues hold: {error}");
        }
    }

    /// Removes the files of modules that no revision runs and that were uploaded longer than `age` ago.
    pub async fn collect_garbage(&self, age: Duration) -> Result<(), DbError> {
        // A change that is under way may be about to refer to what nobody refers to yet.
        let _changing = self.changing.lock().await;
        let modules = self.db.write(store::modules).await?;
        let referenced: HashSet<ModuleHash> =
            modules.iter().filter_map(|text| ModuleHash::parse(text).ok()).collect();
        let cache = self.cache.clone();
        if let Err(error) = blocking(move || cache.retain(&referenced, age)).await {
            tracing::warn!("remove unused modules: {error}");
        }
        let bundles = self.db.write(store::bundles).await?;
        let referenced: HashSet<_> = bundles.iter().filter_map(|text| BundleHash::parse(text).ok()).collect();
        let capabilities = self.capabilities.clone();
        if let Err(error) = blocking(move || capabilities.bundles().retain(&referenced, age)).await {
            tracing::warn!("remove unused bundles: {error}");
        }
        Ok(())
    }
}
