//! Ends every change of an app: prepare, commit, switch, drain.

use std::sync::Arc;
use std::time::Instant;

use super::{OnProgress, Registry, blocking, secrets};
use crate::app::error::ChangeError;
use crate::app::registry::change::{AppChange, CompileQueue, Deployed};
use crate::app::revision::{Revision, Serving};
use crate::app::route::Routes;
use crate::app::running::{Active, App, Split};
use crate::app::share::TrafficShare;
use crate::app::store;
use crate::budget::quota::{AlwaysReady, check_always_ready};
use crate::capability::Capabilities;
use crate::capability::secrets::Secrets;
use crate::component::cache::Guest;
use crate::instance::template::Template;
use crate::invocation::Fault;
use crate::limits;
use crate::manifest::Manifest;
use crate::manifest::function::FunctionName;
use crate::meter::Meter;
use crate::meter::log::LogStream;
use crate::names::{AppName, ModuleHash, RevisionId};
use crate::pool::Pool;
use crate::request::Group;

/// The pools of a revision: the one of HTTP, and those of functions.
type Pools = (Arc<Pool>, Vec<(FunctionName, Arc<Pool>)>);

impl Registry {
    /// Carries out a change. The caller makes sure that no other change of this app runs.
    pub(super) async fn activate(&self, change: AppChange) -> Result<Deployed, ChangeError> {
        let AppChange { revision, is_new, serving, dry_run, secrets: secret_changes } = change;
        let name = revision.manifest.name.clone();
        let known = self.apps.read().get(&name).cloned();
        self.check_against_others(&serving, known.is_none())?;
        let meter = known.as_ref().map_or_else(Default::default, |app| app.meter().clone());
        let before = known.as_ref().map(|app| app.active());
        let begun = Instant::now();
        let secrets = self.secrets(&name, &secret_changes).await?;
        // Guests keep the secrets that they started with, so a change of secrets needs new instances.
        let kept = before.as_deref().filter(|_| secret_changes.is_empty());
        let active = self.make_active(&serving, &secrets, &meter, kept).await?;
        let second = before.as_ref().and_then(|before| before.split.as_ref()).map(|split| split.revision.id);
        let split_ended = second.filter(|second| serving.percent_of(*second) == 0);
        let prepared_in = begun.elapsed();
        let deployed = Deployed { revision, serving, split_ended, prepared_in, dry_run };
        if dry_run {
            active.drain_beside(kept);
            return Ok(deployed);
        }
        let _end = self.changing.end().await;
        // Other apps may have claimed a host name or memory while the guests started.
        if let Err(error) = self.check_against_others(&deployed.serving, known.is_none()) {
            active.drain_beside(kept);
            return Err(error);
        }
        let (stored, new) = (deployed.serving.clone(), is_new.then(|| deployed.revision.clone()));
        let sealed = self.seal(&name, &secret_changes)?;
        let committed = self.db.write(move |transaction| {
            secrets::store(transaction, &name, &sealed)?;
            store::serve(transaction, &name, new.as_ref(), &stored)
        });
        if let Err(error) = committed.await {
            active.drain_beside(kept);
            return Err(error.into());
        }
        self.switch(known, active, meter);
        Ok(deployed)
    }

    /// Lets `active` serve, and drains the pools that no longer serve.
    pub(super) fn switch(&self, known: Option<Arc<App>>, active: Active, meter: Arc<Meter>) {
        let Some(app) = known else {
            tell_of_change(&meter, None, &active);
            let id = active.revision.id;
            let next_revision = self.next_revision(&active.revision.manifest.name).0.max(id.0 + 1);
            let app = App::new(meter, next_revision, active);
            self.broken.write().remove(app.name());
            self.apps.write().insert(app.name().clone(), app.clone());
            (self.on_change)(&app);
            return self.publish_routes();
        };
        let active = Arc::new(active);
        let old = app.switch(active.clone());
        tell_of_change(&meter, Some(&old), &active);
        (self.on_change)(&app);
        if old.revision.manifest.hosts != active.revision.manifest.hosts {
            self.publish_routes();
        }
        old.drain_beside(Some(&active));
    }

    /// Returns the pools that are to serve, with their always-ready instances. Pools of `kept` go on. If one of the others cannot
    /// be made, none of them is left.
    pub(super) async fn make_active(
        &self,
        serving: &Serving,
        secrets: &Secrets,
        meter: &Arc<Meter>,
        kept: Option<&Active>,
    ) -> Result<Active, ChangeError> {
        let Serving { active, split } = serving;
        let (pool, functions) = self.pools(active, true, secrets, meter, kept).await?;
        let split = match split {
            None => None,
            Some((revision, percent)) => {
                let (pool, _) = self.pools(revision, false, secrets, meter, kept).await?;
                Some(Split { revision: revision.clone(), pool, share: TrafficShare::new(*percent) })
            }
        };
        let active = Active { revision: active.clone(), pool, functions, split };
        for pool in active.pools_beside(kept) {
            if let Err(Fault { outcome, detail }) = pool.prepare().await {
                active.drain_beside(kept);
                let detail = pool.template().capabilities().redacted(detail);
                return Err(ChangeError::Start(format!("{}: {detail}", outcome.code())));
            }
        }
        Ok(active)
    }

    /// Returns the pools of one revision: those that `kept` has, and new ones without instances.
    async fn pools(
        &self,
        revision: &Revision,
        has_functions: bool,
        secrets: &Secrets,
        meter: &Arc<Meter>,
        kept: Option<&Active>,
    ) -> Result<Pools, ChangeError> {
        let kept = |group: Group<'_>| kept.and_then(|kept| kept.pool_in(revision.id, group)).cloned();
        let functions = if has_functions { revision.groups() } else { Vec::new() };
        // Loads nothing, so that nothing can fail when a split ends.
        let all = functions.iter().map(|(name, _)| Some((name.clone(), kept(Group::Function(name))?)));
        if let Some(pools) = kept(Group::Http).zip(all.collect()) {
            return Ok(pools);
        }
        // Finds out, under the lock of this change, if garbage collection has removed a bundle since its upload.
        self.check_bundles(&revision.manifest).await?;
        let guest =
            self.load(revision.module, &revision.manifest.name, CompileQueue::Unbounded, Box::new(|_| {}));
        let guest = guest.await?;
        let engines = self.resources.machinery().engines();
        let capabilities = Capabilities::new(&revision.manifest, secrets, &self.capabilities, meter);
        let capabilities = capabilities.map_err(ChangeError::Manifest)?;
        let pool = |group: Group<'_>, policy| {
            if let Some(pool) = kept(group) {
                return Ok(pool);
            }
            let group = group.to_string();
            let template = Template::new(engines, &guest, capabilities.clone(), revision.id, &group, policy)?;
            Ok::<_, ChangeError>(Pool::new(template, self.resources.clone()))
        };
        let http = pool(Group::Http, revision.policy())?;
        let functions = functions.into_iter().map(|(name, policy)| {
            let pool = pool(Group::Function(&name), policy)?;
            Ok((name, pool))
        });
        Ok((http, functions.collect::<Result<_, ChangeError>>()?))
    }

    /// Returns the machine code of a module. Compiles the module for `app` if there is none.
    pub(super) async fn load(
        &self,
        module: ModuleHash,
        app: &AppName,
        queue: CompileQueue,
        mut progress: OnProgress,
    ) -> Result<Guest, ChangeError> {
        if let Some(guest) = self.load_compiled(module).await {
            return Ok(guest);
        }
        let _place = match queue {
            CompileQueue::Bounded => Some(self.compile_queue.try_acquire().map_err(|_| ChangeError::Busy)?),
            CompileQueue::Unbounded => None,
        };
        let _turn = self.compiling.acquire().await.map_err(|_| ChangeError::Busy)?;
        // A change that had the compiler before may have made it.
        if let Some(guest) = self.load_compiled(module).await {
            return Ok(guest);
        }
        let (cache, app) = (self.cache.clone(), app.clone());
        Ok(blocking(move || cache.compile(module, &app, &mut progress)).await?)
    }

    async fn load_compiled(&self, module: ModuleHash) -> Option<Guest> {
        // The semaphore is never closed.
        let _place = self.loading.acquire().await;
        let cache = self.cache.clone();
        blocking(move || cache.load_compiled(module)).await
    }

    /// Checks that the files that a revision mounts are stored and undamaged.
    pub(super) async fn check_bundles(&self, manifest: &Manifest) -> Result<(), ChangeError> {
        for hash in manifest.files.iter().map(|mount| mount.bundle) {
            let capabilities = self.capabilities.clone();
            let checked = blocking(move || capabilities.bundles().check(hash));
            checked.await.map_err(ChangeError::Files)?.map_err(|flaw| ChangeError::Bundle(hash, flaw))?;
        }
        Ok(())
    }

    fn check_against_others(&self, serving: &Serving, is_first: bool) -> Result<(), ChangeError> {
        let apps = self.apps.read();
        if is_first && apps.len() >= limits::APPS_MAX {
            return Err(ChangeError::TooManyApps);
        }
        let own = &serving.active.manifest;
        let mut others = Vec::new();
        for (name, app) in apps.iter().filter(|(name, _)| **name != own.name) {
            let active = app.active();
            let other = &active.revision.manifest;
            if let Some(host) = own.hosts.iter().find(|host| other.hosts.contains(host)) {
                return Err(ChangeError::HostTaken { host: host.to_string(), app: name.clone() });
            }
            others.extend(always_ready(&active.revision, active.split.as_ref().map(|split| &split.revision)));
        }
        let own = always_ready(&serving.active, serving.split.as_ref().map(|(second, _)| second));
        let quota_mb = self.resources.quota().limit_mb();
        check_always_ready(&own.collect::<Vec<_>>(), &others, quota_mb).map_err(ChangeError::Quota)
    }

    /// Publishes the hosts and paths of all apps.
    pub(super) fn publish_routes(&self) {
        let _publishing = self.publishing.lock();
        let mut routes = Routes::default();
        for app in self.apps.read().values() {
            let active = app.active();
            let hosts = active.revision.manifest.hosts.iter().map(|host| host.as_str());
            routes.add(app.name().as_str(), hosts, app);
        }
        self.routes.store(Arc::new(routes));
    }
}

/// Returns the always-ready instances of an app: all of its active revision, and those for HTTP of a second revision.
fn always_ready(active: &Revision, second: Option<&Revision>) -> impl Iterator<Item = AlwaysReady> {
    let functions = active.groups().into_iter().map(|(_, policy)| policy.always_ready).sum::<u32>();
    let of_http = |revision: &Revision| {
        let policy = revision.policy();
        AlwaysReady { instances: policy.always_ready, class_mb: policy.memory.megabytes() }
    };
    let mut first = of_http(active);
    first.instances += functions;
    std::iter::once(first).chain(second.map(of_http).filter(|second| second.instances > 0))
}

/// Writes into the app's log what serves from now on, if that has changed.
fn tell_of_change(meter: &Meter, before: Option<&Active>, active: &Active) {
    let say = |id: RevisionId, text: String| meter.log.push(LogStream::Host, None, id, text);
    let id = active.revision.id;
    if before.is_none_or(|before| before.revision.id != id) {
        say(id, format!("revision {id} is active"));
    }
    let second =
        |active: &Active| active.split.as_ref().map(|split| (split.revision.id, split.share.percent()));
    if let Some((second, percent)) = second(active) {
        let percent = percent.get();
        say(second, format!("revision {second} takes {percent} % of the HTTP requests beside revision {id}"));
    }
    let ended = before.and_then(second).filter(|(second, _)| active.pool_in(*second, Group::Http).is_none());
    if let Some((second, _)) = ended {
        say(second, format!("revision {second} takes no more HTTP requests, revision {id} takes all"));
    }
}
