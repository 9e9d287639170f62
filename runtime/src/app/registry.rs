//! The registry of apps: deploys, activates, rolls back, removes.
//!
//! A change goes inspect → compile → cache → prepare always-ready instances → commit → switch → drain.
//! Until the commit nothing that serves has changed; after it, the switch is one atomic store. A failed
//! change leaves everything as it was.

mod garbage;
mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rusqlite::Transaction;
use tokio::sync::{Mutex, Semaphore};

use crate::app::bundle::Bundles;
use crate::app::error::ChangeError;
use crate::app::manifest::{Manifest, ScaleSettings};
use crate::app::revision::Revision;
use crate::app::running::{Active, App, Group};
use crate::app::{secret_store, store};
use crate::capability::blobs::{self, Blobs};
use crate::capability::identity::IdentityError;
use crate::capability::key_value::table;
use crate::capability::queues::{self, Queues};
use crate::capability::secrets::{SecretChanges, Secrets};
use crate::capability::{Capabilities, CapabilityHost};
use crate::clock;
use crate::component::cache::{CacheError, ComponentCache};
use crate::component::code::Code;
use crate::component::inspect;
use crate::ingress::http::LiveRoutes;
use crate::ingress::route::Routes;
use crate::instance::template::Template;
use crate::invocation::Fault;
use crate::limits;
use crate::meter::Meter;
use crate::meter::log::LogStream;
use crate::names::{AppName, ModuleHash, RevisionId};
use crate::persist::db::{Db, DbError};
use crate::pool::Pool;
use crate::pool::quota::{AlwaysReady, check_always_ready};
use crate::pool::resources::Resources;
use crate::trigger::TriggerHost;

/// What a deploy did or, on a dry run, would do.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The new revision.
    pub revision: Revision,
    /// How long its always-ready instances took to make.
    pub prepared_in: Duration,
    /// Whether it is only a trial.
    pub dry_run: bool,
}

/// What is to become of an app.
struct Change {
    /// The revision that is to serve.
    revision: Revision,
    /// Whether it is stored, too, or was before.
    is_new: bool,
    /// Whether everything but the switch is done.
    dry_run: bool,
    /// What becomes of the app's secrets at the same time.
    secrets: SecretChanges,
}

/// An app that is stored but not served.
struct Broken {
    reason: String,
    next_revision: u32,
}

/// The registry of one host.
pub struct Registry {
    db: Arc<Db>,
    cache: Arc<ComponentCache>,
    resources: Arc<Resources>,
    routes: Arc<LiveRoutes>,
    capabilities: Arc<CapabilityHost>,
    triggers: Arc<TriggerHost>,
    apps: RwLock<BTreeMap<AppName, Arc<App>>>,
    /// Apps whose active revision could not be brought back at start.
    broken: RwLock<BTreeMap<AppName, Broken>>,
    /// One change at a time.
    changing: Mutex<()>,
    /// One compilation at a time: the other core serves.
    compiling: Semaphore,
    compile_line: Semaphore,
}

impl Registry {
    /// A registry on `db`, with no app brought back yet.
    pub fn new(
        db: Arc<Db>,
        cache: ComponentCache,
        resources: Arc<Resources>,
        routes: Arc<LiveRoutes>,
        capabilities: Arc<CapabilityHost>,
        triggers: Arc<TriggerHost>,
    ) -> Arc<Self> {
        Arc::new(Self {
            db,
            cache: Arc::new(cache),
            resources,
            routes,
            capabilities,
            triggers,
            apps: RwLock::default(),
            broken: RwLock::default(),
            changing: Mutex::default(),
            compiling: Semaphore::new(1),
            compile_line: Semaphore::new(limits::COMPILE_LINE_MAX),
        })
    }

    /// Brings back every app that was deployed, from cached machine code. An app that cannot be brought
    /// back is reported and left stored; the others serve.
    pub async fn restore(self: &Arc<Self>) -> Result<(), DbError> {
        self.resources.learned().restore(&self.db).await?;
        let stored = self.db.write(store::apps).await?;
        for app in stored {
            self.bring_back(app).await;
        }
        self.publish_routes();
        Ok(())
    }

    /// Serves a stored app, or says why not.
    async fn bring_back(&self, stored: store::StoredApp) {
        let (name, next_revision) = (stored.name.clone(), stored.next_revision);
        match self.restore_app(stored).await {
            Ok(()) => drop(self.broken.write().remove(&name)),
            Err(error) => {
                tracing::error!("app {name} is not served: {error}");
                self.broken.write().insert(name, Broken { reason: error.to_string(), next_revision });
            }
        }
    }

    async fn restore_app(&self, stored: store::StoredApp) -> Result<(), ChangeError> {
        let meter = Arc::<Meter>::default();
        let secrets = self.secrets(&stored.name, &SecretChanges::new()).await?;
        let active = self.make_active(stored.active, &secrets, &meter).await?;
        let app = App::new(meter, stored.next_revision, active);
        self.apps.write().insert(stored.name, app.clone());
        self.triggers.follow(&app);
        Ok(())
    }

    /// The module store.
    pub fn cache(&self) -> &ComponentCache {
        &self.cache
    }

    /// Reads the signing keys of the host, and replaces the newest when it is time or `replace` says so.
    pub async fn refresh_identity(&self, replace: bool) -> Result<(), IdentityError> {
        let (identity, secret_key) = (self.capabilities.identity(), self.capabilities.secret_key());
        identity.refresh(&self.db, secret_key, clock::now_ms(), replace).await
    }

    /// The bundle store.
    pub fn bundles(&self) -> &Bundles {
        self.capabilities.bundles()
    }

    /// Blobs of all apps.
    pub fn blobs(&self) -> &Arc<Blobs> {
        self.capabilities.blobs()
    }

    /// Queues of all apps.
    pub fn queues(&self) -> &Arc<Queues> {
        self.capabilities.queues()
    }

    /// What calls functions besides HTTP.
    pub fn triggers(&self) -> &Arc<TriggerHost> {
        &self.triggers
    }

    /// The host's shared resources.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// Every app, by name.
    pub fn apps(&self) -> Vec<Arc<App>> {
        self.apps.read().values().cloned().collect()
    }

    /// Apps that are stored but not served, with the reason.
    pub fn broken(&self) -> Vec<(AppName, String)> {
        self.broken.read().iter().map(|(name, broken)| (name.clone(), broken.reason.clone())).collect()
    }

    /// One app that is served.
    pub fn app(&self, name: &AppName) -> Result<Arc<App>, ChangeError> {
        if let Some(app) = self.apps.read().get(name) {
            return Ok(app.clone());
        }
        Err(match self.broken.read().get(name) {
            Some(broken) => ChangeError::Broken(name.clone(), broken.reason.clone()),
            None => ChangeError::NoApp(name.clone()),
        })
    }

    fn is_known(&self, name: &AppName) -> bool {
        self.apps.read().contains_key(name) || self.broken.read().contains_key(name)
    }

    /// The kept revisions of an app, the latest first.
    pub async fn revisions(&self, name: &AppName) -> Result<Vec<Revision>, ChangeError> {
        if !self.is_known(name) {
            return Err(ChangeError::NoApp(name.clone()));
        }
        let name = name.clone();
        Ok(self.db.write(move |transaction| store::revisions(transaction, &name)).await?)
    }

    /// Deploys `module` (uploaded before) with `manifest` as the next revision. `progress` is told how
    /// long compiling has taken so far.
    pub async fn deploy(
        self: &Arc<Self>,
        manifest: Manifest,
        module: ModuleHash,
        dry_run: bool,
        progress: Progress,
    ) -> Result<Deployed, ChangeError> {
        manifest.check().map_err(ChangeError::Manifest)?;
        let path = self.cache.module_path(module);
        let inspected = blocking(move || match std::fs::read(path) {
            Ok(bytes) => inspect::inspect(&bytes).map_err(ChangeError::from),
            Err(_) => Err(CacheError::Missing(module).into()),
        });
        let language = inspected.await?.language;
        let bundles = self.bundles();
        if let Some(missing) = manifest.files.iter().find(|mount| !bundles.has(mount.bundle)) {
            return Err(ChangeError::BundleMissing(missing.bundle));
        }
        let kind = self.load(module, progress).await?.kind();
        let _changing = self.changing.lock().await;
        let next = self.next_revision(&manifest.name);
        let created_ms = clock::now_ms();
        let revision = Revision { id: next, kind, language, module, manifest, created_ms };
        self.activate(Change { revision, is_new: true, dry_run, secrets: SecretChanges::new() }).await
    }

    /// Makes the kept revision `id`, or the one before the active one, serve again.
    pub async fn roll_back(
        self: &Arc<Self>,
        name: &AppName,
        id: Option<RevisionId>,
    ) -> Result<Deployed, ChangeError> {
        let _changing = self.changing.lock().await;
        let kept = self.revisions(name).await?;
        let target = match id {
            Some(id) => kept
                .into_iter()
                .find(|revision| revision.id == id)
                .ok_or_else(|| ChangeError::NoRevision(name.clone(), id))?,
            None => {
                let active = self.app(name)?.active().revision.id;
                kept.into_iter()
                    .find(|revision| revision.id < active)
                    .ok_or_else(|| ChangeError::NoEarlierRevision(name.clone(), active))?
            }
        };
        let secrets = SecretChanges::new();
        self.activate(Change { revision: target, is_new: false, dry_run: false, secrets }).await
    }

    /// Deploys the active module again with other scale settings, as the next revision.
    pub async fn scale(
        self: &Arc<Self>,
        name: &AppName,
        changes: &ScaleSettings,
    ) -> Result<Deployed, ChangeError> {
        let _changing = self.changing.lock().await;
        let app = self.app(name)?;
        let mut revision = app.active().revision.clone();
        revision.manifest.scale = revision.manifest.scale.overlaid(changes);
        revision.manifest.check().map_err(ChangeError::Manifest)?;
        revision.id = app.next_revision();
        revision.created_ms = clock::now_ms();
        self.activate(Change { revision, is_new: true, dry_run: false, secrets: SecretChanges::new() }).await
    }

    /// Removes an app with all its revisions and secrets; what is in flight is finished. What it stored stays, for its
    /// next life or for a later call `with_data`.
    pub async fn remove(self: &Arc<Self>, name: &AppName, with_data: bool) -> Result<(), ChangeError> {
        let _changing = self.changing.lock().await;
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
            self.triggers.follow(&app);
            app.active().drain();
        }
        Ok(())
    }

    /// The database.
    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// The common end of every change: prepare, commit, switch, drain. Called with `changing` held.
    async fn activate(&self, change: Change) -> Result<Deployed, ChangeError> {
        let Change { revision, is_new, dry_run, secrets: secret_changes } = change;
        let name = revision.manifest.name.clone();
        let known = self.apps.read().get(&name).cloned();
        self.check_against_others(&revision, known.is_none())?;
        let meter = known.as_ref().map_or_else(Default::default, |app| app.meter().clone());
        let begun = std::time::Instant::now();
        let secrets = self.secrets(&name, &secret_changes).await?;
        let active = self.make_active(revision.clone(), &secrets, &meter).await?;
        let deployed = Deployed { revision: revision.clone(), prepared_in: begun.elapsed(), dry_run };
        if dry_run {
            active.drain();
            return Ok(deployed);
        }
        let (stored, stored_name) = (revision.clone(), name.clone());
        let sealed = self.seal(&name, &secret_changes)?;
        let committed = self.db.write(move |transaction| {
            secrets::store(transaction, &stored_name, &sealed)?;
            if is_new {
                store::activate_new(transaction, &stored_name, &stored)
            } else {
                store::activate_kept(transaction, &stored_name, stored.id)
            }
        });
        if let Err(error) = committed.await {
            active.drain();
            return Err(error.into());
        }
        self.switch(known, active, meter);
        Ok(deployed)
    }

    fn switch(&self, known: Option<Arc<App>>, active: Active, meter: Arc<Meter>) {
        let id = active.revision.id;
        meter.log.push(LogStream::Host, None, id, format!("revision {id} is active"));
        let Some(app) = known else {
            let next_revision = self.next_revision(&active.revision.manifest.name).0.max(id.0 + 1);
            let app = App::new(meter, next_revision, active);
            self.broken.write().remove(app.name());
            self.apps.write().insert(app.name().clone(), app.clone());
            self.triggers.follow(&app);
            return self.publish_routes();
        };
        let hosts = active.revision.manifest.hosts.clone();
        let old = app.switch(active);
        self.triggers.follow(&app);
        if old.revision.manifest.hosts != hosts {
            self.publish_routes();
        }
        old.drain();
    }

    /// Numbers go on where they were, also for an app that could not be brought back.
    fn next_revision(&self, name: &AppName) -> RevisionId {
        let served = self.apps.read().get(name).map(|app| app.next_revision());
        let broken = || self.broken.read().get(name).map(|broken| RevisionId(broken.next_revision));
        served.or_else(broken).unwrap_or(RevisionId(1))
    }

    /// The pools of a revision, with their always-ready instances. None of them is left if one cannot be made.
    async fn make_active(
        &self,
        revision: Revision,
        secrets: &Secrets,
        meter: &Arc<Meter>,
    ) -> Result<Active, ChangeError> {
        let code = self.load(revision.module, Box::new(|_| {})).await?;
        let engines = self.resources.engines();
        let capabilities = Capabilities::new(&revision.manifest, secrets, &self.capabilities, meter);
        let capabilities = capabilities.map_err(ChangeError::Manifest)?;
        let pool = |group: Group<'_>, policy| {
            let group = group.to_string();
            let template = Template::new(engines, &code, capabilities.clone(), revision.id, &group, policy)?;
            Ok::<_, ChangeError>(Pool::new(template, self.resources.clone()))
        };
        let http = pool(Group::Http, revision.policy())?;
        let functions = revision.groups().into_iter().map(|(name, policy)| {
            let pool = pool(Group::Function(&name), policy)?;
            Ok((name, pool))
        });
        let functions = functions.collect::<Result<_, ChangeError>>()?;
        let active = Active { revision, pool: http, functions };
        for pool in active.pools() {
            if let Err(Fault { outcome, detail }) = pool.prepare().await {
                active.drain();
                return Err(ChangeError::Start(format!("{}: {detail}", outcome.code())));
            }
        }
        Ok(active)
    }

    async fn load(&self, module: ModuleHash, mut progress: Progress) -> Result<Code, ChangeError> {
        if let Some(code) = self.load_compiled(module).await? {
            return Ok(code);
        }
        let _place = self.compile_line.try_acquire().map_err(|_| ChangeError::Busy)?;
        let _turn = self.compiling.acquire().await.map_err(|_| ChangeError::Busy)?;
        let cache = self.cache.clone();
        blocking(move || cache.compile(module, &mut progress)).await?;
        self.load_compiled(module).await?.ok_or(CacheError::Missing(module).into())
    }

    async fn load_compiled(&self, module: ModuleHash) -> Result<Option<Code>, ChangeError> {
        let cache = self.cache.clone();
        Ok(blocking(move || cache.load_compiled(module)).await?)
    }

    fn check_against_others(&self, revision: &Revision, is_first: bool) -> Result<(), ChangeError> {
        let apps = self.apps.read();
        if is_first && apps.len() >= limits::APPS_MAX {
            return Err(ChangeError::TooManyApps);
        }
        let own = &revision.manifest;
        let always_ready = |revision: &Revision| {
            let functions = revision.groups().into_iter().map(|(_, policy)| policy.always_ready);
            let policy = revision.policy();
            let instances = policy.always_ready + functions.sum::<u32>();
            AlwaysReady { instances, class_mb: policy.memory.megabytes() }
        };
        let mut sum = vec![always_ready(revision)];
        for (name, app) in apps.iter().filter(|(name, _)| **name != own.name) {
            let active = app.active();
            let other = &active.revision.manifest;
            if let Some(host) = own.hosts.iter().find(|host| other.hosts.contains(host)) {
                return Err(ChangeError::HostTaken { host: host.to_string(), app: name.clone() });
            }
            sum.push(always_ready(&active.revision));
        }
        check_always_ready(&sum, self.resources.quota().limit_mb()).map_err(ChangeError::Quota)
    }

    fn publish_routes(&self) {
        let mut routes = Routes::default();
        for app in self.apps.read().values() {
            let active = app.active();
            let hosts = active.revision.manifest.hosts.iter().map(|host| host.as_str());
            routes.add(app.name().as_str(), hosts, app);
        }
        self.routes.store(Arc::new(routes));
    }
}

/// Is told how long compiling has taken so far.
pub type Progress = Box<dyn FnMut(Duration) + Send>;

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
