//! Removes what is not needed any more: modules, bundles, and the data of dropped stores and queues.

use std::collections::HashSet;
use std::time::Duration;

use crate::app::registry::changing::Changing;
use crate::app::registry::{Registry, blocking};
use crate::app::store;
use crate::capability::key_value;
use crate::names::{BundleHash, ModuleHash};
use crate::persist::db::Db;
use crate::persist::error::DbError;

impl Registry {
    /// Frees the disk space of dropped stores and queues.
    pub async fn sweep_stores(&self) {
        if let Err(error) = key_value::sweep(&self.db).await {
            tracing::warn!("remove what dropped key-value stores hold: {error}");
        }
        if let Err(error) = self.capabilities.queues().sweep().await {
            tracing::warn!("remove what dropped queues hold: {error}");
        }
    }

    /// Removes the files of modules and bundles that no revision runs and that were uploaded longer than `age` ago.
    pub async fn collect_garbage(&self, age: Duration) -> Result<(), DbError> {
        let (cache, capabilities) = (self.cache.clone(), self.capabilities.clone());
        collect(&self.changing, &self.db, move |Referenced { modules, bundles, apps }| {
            if let Err(error) = cache.retain(&modules, &apps, age) {
                tracing::warn!("remove unused modules: {error}");
            }
            if let Err(error) = capabilities.bundles().retain(&bundles, age) {
                tracing::warn!("remove unused bundles: {error}");
            }
        })
        .await
    }
}

/// The apps, and the modules and bundles that their kept revisions refer to.
struct Referenced {
    apps: HashSet<String>,
    modules: HashSet<ModuleHash>,
    bundles: HashSet<BundleHash>,
}

/// Calls `retain` with what is referred to, to remove the rest. No change is under way meanwhile, because a change may be about
/// to refer to a file that nothing refers to yet.
async fn collect(
    changing: &Changing,
    db: &Db,
    retain: impl FnOnce(Referenced) + Send + 'static,
) -> Result<(), DbError> {
    let _alone = changing.none().await;
    let parsed = |texts: Vec<String>| texts.iter().filter_map(|text| ModuleHash::parse(text).ok()).collect();
    let referenced = db.write(|transaction| {
        Ok((store::modules(transaction)?, store::bundles(transaction)?, store::names(transaction)?))
    });
    let (modules, bundles, apps) = referenced.await?;
    let (modules, apps) = (parsed(modules), apps.into_iter().collect());
    blocking(move || retain(Referenced { apps, modules, bundles: parsed(bundles) })).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::revision::{Revision, Serving};
    use crate::component::inspect::GuestKind;
    use crate::manifest::Language;
    use crate::names::{AppName, RevisionId};

    #[tokio::test]
    async fn what_a_change_is_about_to_refer_to_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let db = Arc::new(Db::open(&folder.path().join("wfn.db")).unwrap());
        let changing = Arc::<Changing>::default();
        let (module, other) = (ModuleHash::new([7; 32]), ModuleHash::new([8; 32]));
        let under_way = changing.app(&AppName::new("a").unwrap()).await;
        let collecting = tokio::spawn({
            let (db, changing) = (db.clone(), changing.clone());
            async move {
                let (kept, referenced) = tokio::sync::oneshot::channel();
                let retain = move |referenced: Referenced| drop(kept.send(referenced.modules));
                collect(&changing, &db, retain).await.unwrap();
                referenced.await.unwrap()
            }
        });
        // Enough turns for a task that does not wait for the change.
        for _ in 0..10 {
            db.write(store::modules).await.unwrap();
            blocking(|| ()).await;
        }
        let manifest: crate::manifest::Manifest =
            serde_json::from_value(serde_json::json!({ "name": "a" })).unwrap();
        let name = manifest.name.clone();
        let (kind, language) = (GuestKind::P2, Language::Other);
        let revision = Revision { id: RevisionId(1), kind, module, manifest, created_ms: 0, language };
        let serving = Serving::alone(revision.clone());
        db.write(move |transaction| store::serve(transaction, &name, Some(&revision), &serving))
            .await
            .unwrap();
        drop(under_way);
        let kept = collecting.await.unwrap();
        assert!(kept.contains(&module) && !kept.contains(&other));
    }
}
