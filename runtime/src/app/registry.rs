//! The registry of apps: deploys, activates, rolls back, removes.
//!
//! A change goes inspect → compile → cache → prepare always-ready instances → commit → switch → drain.
//! Until the commit nothing that serves has changed; after it, the switch is one atomic store. A failed
//! change leaves everything as it was.

mod activate;
mod change;
mod changing;
mod garbage;
pub mod restore;
mod secrets;
mod split;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rusqlite::Transaction;
use tokio::sync::Semaphore;

pub use self::change::Deployed;
use self::change::{AppChange, CompileQueue};
use self::changing::Changing;
use crate::app::error::ChangeError;
use crate::app::readiness::Readiness;
use crate::app::revision::{Revision, Serving};
use crate::app::running::App;
use crate::app::share::Percent;
use crate::app::{LiveRoutes, secret_store, store};
use crate::capability::CapabilityHost;
use crate::capability::blobs::{self, Blobs};
use crate::capability::bundle::Bundles;
use crate::capability::identity::IdentityError;
use crate::capability::key_value::table;
use crate::capability::queues::{self, Queues};
use crate::component::cache::{ComponentCache, Guest};
use crate::limited::Progress;
use crate::manifest::{Manifest, ScaleSettings};
use crate::names::{AppName, ModuleHash, RevisionId};
use crate::persist::db::Db;
use crate::pool::resources::Resources;
use crate::{clock, limits};

/// An app that is stored but not served.
struct Broken {
    reason: String,
    next_revision: u32,
}

/// Called with an app whenever the revisions that serve have changed, or none serves any more.
pub type OnChange = Box<dyn Fn(&Arc<App>) + Send + Sync>;

/// The registry of one host.
pub struct Registry {
    db: Arc<Db>,
    cache: Arc<ComponentCache>,
    resources: Arc<Resources>,
    routes: Arc<LiveRoutes>,
    capabilities: Arc<CapabilityHost>,
    on_change: OnChange,
    apps: RwLock<BTreeMap<AppName, Arc<App>>>,
    /// Apps whose active revision could not be brought back at start.
    broken: RwLock<BTreeMap<AppName, Broken>>,
    /// Apps that are stored and have not been brought back yet, with the number of their next revision.
    coming: RwLock<BTreeMap<AppName, u32>>,
    readiness: Arc<Readiness>,
    changing: Changing,
    /// Held while all routes are read and published, so that older routes never replace newer ones.
    publishing: parking_lot::Mutex<()>,
    /// Lets one compilation run at a time, so that the other core can serve.
    compiling: Semaphore,
    compile_queue: Semaphore,
    /// Lets few loads of machine code run at a time, because they block threads.
    loading: Semaphore,
}

/// How many loads of machine code run at a time, at most.
const LOADS_MAX: usize = 8;

impl Registry {
    /// Makes a registry on `db` that has brought no app back yet. `on_change` is called at each change.
    pub fn new(
        db: Arc<Db>,
        cache: ComponentCache,
        resources: Arc<Resources>,
        routes: Arc<LiveRoutes>,
        capabilities: Arc<CapabilityHost>,
        on_change: OnChange,
        readiness: Arc<Readiness>,
    ) -> Arc<Self> {
        Arc::new(Self {
            db,
            cache: Arc::new(cache),
            resources,
            routes,
            capabilities,
            on_change,
            apps: RwLock::default(),
            broken: RwLock::default(),
            coming: RwLock::default(),
            readiness,
            changing: Changing::default(),
            publishing: parking_lot::Mutex::default(),
            compiling: Semaphore::new(1),
            compile_queue: Semaphore::new(limits::COMPILE_QUEUE_MAX),
            loading: Semaphore::new(LOADS_MAX),
        })
    }

    /// The module store.
    pub fn cache(&self) -> &ComponentCache {
        &self.cache
    }

    /// Reads the host's signing keys. Replaces the newest when it is old enough, or if `replace` is set.
    pub async fn refresh_identity(&self, replace: bool) -> Result<(), IdentityError> {
        let (identity, secret_key) = (self.capabilities.identity(), self.capabilities.secret_key());
        identity.refresh(&self.db, secret_key, clock::now_ms(), replace).await
    }

    /// The bundle store.
    pub fn bundles(&self) -> &Bundles {
        self.capabilities.bundles()
    }

    /// The blobs of all apps.
    pub fn blobs(&self) -> &Arc<Blobs> {
        self.capabilities.blobs()
    }

    /// The queues of all apps.
    pub fn queues(&self) -> &Arc<Queues> {
        self.capabilities.queues()
    }

    /// The host's shared resources.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// Every served app, by name.
    pub fn apps(&self) -> Vec<Arc<App>> {
        self.apps.read().values().cloned().collect()
    }

    /// Apps that are stored but not served, with the reason.
    pub fn broken(&self) -> Vec<(AppName, String)> {
        self.broken.read().iter().map(|(name, broken)| (name.clone(), broken.reason.clone())).collect()
    }

    /// Apps that are stored and have not been brought back yet.
    pub fn coming(&self) -> Vec<AppName> {
        self.coming.read().keys().cloned().collect()
    }

    /// Returns one app that is served.
    pub fn app(&self, name: &AppName) -> Result<Arc<App>, ChangeError> {
        if let Some(app) = self.apps.read().get(name) {
            return Ok(app.clone());
        }
        if self.coming.read().contains_key(name) {
            return Err(ChangeError::Coming(name.clone()));
        }
        Err(match self.broken.read().get(name) {
            Some(broken) => ChangeError::Broken(name.clone(), broken.reason.clone()),
            None => ChangeError::NoApp(name.clone()),
        })
    }

    fn is_known(&self, name: &AppName) -> bool {
        self.apps.read().contains_key(name)
            || self.broken.read().contains_key(name)
            || self.coming.read().contains_key(name)
    }

    /// The kept revisions of an app, the latest first.
    pub async fn revisions(&self, name: &AppName) -> Result<Vec<Revision>, ChangeError> {
        if !self.is_known(name) {
            return Err(ChangeError::NoApp(name.clone()));
        }
        let name = name.clone();
        Ok(self.db.write(move |transaction| store::revisions(transaction, &name)).await?)
    }

    /// One kept revision of an app.
    async fn kept(&self, name: &AppName, id: RevisionId) -> Result<Revision, ChangeError> {
        let kept = self.revisions(name).await?.into_iter().find(|revision| revision.id == id);
        kept.ok_or_else(|| ChangeError::NoRevision(name.clone(), id))
    }

    /// Deploys `module` (uploaded before) with `manifest` as the next revision: as the active one, or as a `canary` that takes
    /// this percentage of the HTTP requests. An existing split ends. `progress` is told how far compiling is.
    pub async fn deploy(
        self: &Arc<Self>,
        manifest: Manifest,
        module: ModuleHash,
        canary: Option<Percent>,
        dry_run: bool,
        progress: OnProgress,
    ) -> Result<Deployed, ChangeError> {
        manifest.check().map_err(ChangeError::Manifest)?;
        if canary.is_some() {
            self.app_to_share(&manifest.name)?;
        }
        // Checked first, because compiling may take minutes.
        self.check_bundles(&manifest).await?;
        let loaded = self.load(module, &manifest.name, CompileQueue::Bounded, progress);
        let Guest { code, language, .. } = loaded.await?;
        let kind = code.kind();
        let _changing = self.changing.app(&manifest.name).await;
        let next = self.next_revision(&manifest.name);
        let created_ms = clock::now_ms();
        let revision = Revision { id: next, kind, language, module, manifest, created_ms };
        let serving = match canary {
            None => Serving::alone(revision.clone()),
            Some(percent) => {
                let active = self.app_to_share(&revision.manifest.name)?.active().revision.clone();
                Serving { active, split: Some((revision.clone(), percent)) }
            }
        };
        self.activate(AppChange { is_new: true, dry_run, ..AppChange::to(serving, revision) }).await
    }

    /// Makes the kept revision `id` serve again, alone. Without `id` it undoes the latest step: in a split it keeps the active
    /// revision, otherwise it takes the one before it.
    pub async fn roll_back(
        self: &Arc<Self>,
        name: &AppName,
        id: Option<RevisionId>,
    ) -> Result<Deployed, ChangeError> {
        let _changing = self.changing.app(name).await;
        let target = match id {
            Some(id) => self.kept(name, id).await?,
            None => {
                let Serving { active, split } = self.app(name)?.active().serving();
                let kept = self.revisions(name).await?;
                match split {
                    Some(_) => active,
                    None => kept
                        .into_iter()
                        .find(|revision| revision.id < active.id)
                        .ok_or_else(|| ChangeError::NoEarlierRevision(name.clone(), active.id))?,
                }
            }
        };
        self.activate(AppChange::to(Serving::alone(target.clone()), target)).await
    }

    /// Deploys the active module again with other scale settings, as the next revision. A split goes on. Unchanged settings make
    /// no revision.
    pub async fn scale(
        self: &Arc<Self>,
        name: &AppName,
        changes: &ScaleSettings,
    ) -> Result<Deployed, ChangeError> {
        let _changing = self.changing.app(name).await;
        let app = self.app(name)?;
        let mut revision = app.active().revision.clone();
        let scale = revision.manifest.scale.overlaid(changes);
        if scale == revision.manifest.scale {
            return Ok(Deployed::unchanged(revision, app.active().serving()));
        }
        revision.manifest.scale = scale;
        revision.manifest.check().map_err(ChangeError::Manifest)?;
        revision.id = app.next_revision();
        revision.created_ms = clock::now_ms();
        let serving = Serving { active: revision.clone(), ..app.active().serving() };
        self.activate(AppChange { is_new: true, ..AppChange::to(serving, revision) }).await
    }

    /// Removes an app with all its revisions and secrets. What is in flight is finished. Its stored data stay for a later app of
    /// this name, or until a later call `with_data`.
    pub async fn remove(self: &Arc<Self>, name: &AppName, with_data: bool) -> Result<(), ChangeError> {
        let _changing = self.changing.app(name).await;
        let _end = self.changing.end().await;
        let stored = name.clone();
        let remove = move |transaction: &Transaction<'_>| {
            store::remove(transaction, &stored)?;
            let secrets = secret_store::remove_all(transaction, &stored)?;
            if !with_data {
                return Ok(secrets);
            }
            let stores = table::drop_stores(transaction, &stored)?;
            let queues = queues::table::drop_queues(transaction, &stored)?;
            Ok(secrets + stores + queues + blobs::table::drop_containers(transaction, &stored)?)
        };
        let removed = self.db.write(remove).await?;
        self.blobs().sweep_soon();
        if !self.is_known(name) && removed == 0 {
            return Err(ChangeError::NoApp(name.clone()));
        }
        self.broken.write().remove(name);
        let removed = self.apps.write().remove(name);
        self.publish_routes();
        self.resources.learned().forget(name);
        if let Some(app) = removed {
            app.mark_removed();
            (self.on_change)(&app);
            app.active().drain_beside(None);
        }
        Ok(())
    }

    /// The database.
    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// Returns the number of the next revision. Numbers continue, also for an app that could not be brought back.
    fn next_revision(&self, name: &AppName) -> RevisionId {
        let served = self.apps.read().get(name).map(|app| app.next_revision());
        let broken = || self.broken.read().get(name).map(|broken| RevisionId(broken.next_revision));
        let coming = || self.coming.read().get(name).copied().map(RevisionId);
        served.or_else(broken).or_else(coming).unwrap_or(RevisionId(1))
    }
}

/// Called with how far compiling is.
pub type OnProgress = Box<dyn FnMut(Progress) + Send>;

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
