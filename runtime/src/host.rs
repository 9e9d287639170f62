//! A host: builds the parts from its configuration, runs them, and ends them in order.

mod https;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::about::About;
use crate::admin::role::Access;
use crate::admin::{api, listener as admin_listener, routes as admin_routes};
use crate::app::readiness::Readiness;
use crate::app::registry::Registry;
use crate::app::route::Routes;
use crate::app::sampler;
use crate::budget::capacity::CapacityNotifier;
use crate::budget::memory::HostMemory;
use crate::budget::quota::MemoryQuota;
use crate::capability::blobs::{Blobs, OpenError};
use crate::capability::bundle::Bundles;
use crate::capability::queues::Queues;
use crate::capability::secrets::SecretKey;
use crate::capability::{CapabilityHost, Machine, Stores};
use crate::component::cache::ComponentCache;
use crate::component::engine::{Engines, EpochTicker, KeptSlots};
use crate::config::HostConfig;
use crate::descriptors::Shares;
use crate::dispatch::neighbours::ServedApps;
use crate::event_loop::EventLoops;
use crate::host::https::{Https, HttpsError};
use crate::ingress::functions::Functions;
use crate::ingress::health::Health;
use crate::ingress::http::Served;
use crate::ingress::listener::{self, Connections};
use crate::ingress::watch::{WATCH_PERIOD, Watches};
use crate::instance::machinery::Machinery;
use crate::limits;
use crate::persist::db::Db;
use crate::persist::error::DbError;
use crate::pool::governor::Governor;
use crate::pool::resources::Resources;
use crate::trace::Tracer;
use crate::trace::exporter::Exporter;
use crate::trigger::TriggerHost;

/// How often idle instances are searched for.
const RETIRE_PERIOD: Duration = Duration::from_millis(250);
/// How long the last traces may take to be sent when the host ends.
const TRACES_FLUSH_MAX: Duration = Duration::from_secs(5);
/// How often unused modules are searched for, and how old they must be.
const GARBAGE_PERIOD: Duration = Duration::from_secs(3600);

/// A host that serves. Ends with [`Host::shut_down`].
pub struct Host {
    functions: SocketAddr,
    https: Option<SocketAddr>,
    admin: SocketAddr,
    all_back: bool,
    readiness: Arc<Readiness>,
    registry: Arc<Registry>,
    triggers: Arc<TriggerHost>,
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Apart from the others, because it watches connections that drain, and does not end by itself.
    watching: JoinHandle<()>,
    loops: Arc<EventLoops>,
    capabilities: Arc<CapabilityHost>,
    _ticker: EpochTicker,
    _lock: File,
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or folder of the data directory failed.
    #[error("use the data directory {path}: {error}")]
    DataDir {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The data directory is read-only.
    #[error(
        "the data directory {0} cannot be written ({1}): mount it for writing, give it to this user, or choose another \
         --data-dir"
    )]
    ReadOnly(PathBuf, io::Error),
    /// A folder that contains files of something else.
    #[error("{0} is not empty and not a data directory of wfn: choose another --data-dir")]
    NotOurs(PathBuf),
    /// Another host uses the same state.
    #[error("the data directory {0} is in use by another wfn: stop it or choose another --data-dir")]
    InUse(PathBuf),
    /// A listener could not be opened.
    #[error("listen on {address}: {error}; choose another address with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// What went wrong.
        error: io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store of blobs failed.
    #[error(transparent)]
    Blobs(#[from] OpenError),
    /// wasmtime failed; most often the address space of the process is limited.
    #[error("start the WebAssembly engine: {0}; 'wfn doctor' checks this machine")]
    Engine(String),
    /// The trace exporter could not be made.
    #[error("send traces: {0}")]
    Traces(String),
    /// There can be no HTTPS.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// Threads could not be started.
    #[error("start threads: {0}")]
    Threads(io::Error),
}

impl StartError {
    fn data_dir(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly(path.to_owned(), error)
            }
            _ => Self::DataDir { path: path.to_owned(), error },
        }
    }
}

impl Host {
    /// Starts a host: opens the state, listens, and brings back every app. Apps that take longer than [`limits::RESTORE_AWAITED`]
    /// come back while it serves. Must run on a tokio runtime, which then runs the control thread's work (admin API, deploys,
    /// retiring).
    pub async fn start(config: &HostConfig) -> Result<Self, StartError> {
        let data_dir = &config.data_dir;
        let in_data_dir = |path: &Path| {
            let path = path.to_owned();
            move |error| StartError::data_dir(&path, error)
        };
        let shares = Shares::of(raise_file_limit());
        make_private_dir(data_dir)?;
        let lock = lock(data_dir)?;
        let token = token(data_dir).map_err(in_data_dir(data_dir))?;
        let listen = |address, flag| {
            listener::bind(address).map_err(|error| StartError::Listen { address, flag, error })
        };
        let functions = listen(config.listen, "--listen")?;
        let admin = listen(config.admin, "--admin")?;
        let https = match &config.https {
            None => None,
            Some(https) => Some(Https::open(https, listen(https.listen, "--https")?)?),
        };

        let kept = KeptSlots::of(config.guest_memory_bytes);
        let engines = Engines::new(kept).map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let (ticker, pulse) = EpochTicker::start(engines.clone()).map_err(StartError::Threads)?;
        let loops = Arc::new(EventLoops::start(config.cores).map_err(StartError::Threads)?);
        let capacity = Arc::<CapacityNotifier>::default();
        let quota = MemoryQuota::new(config.memory_quota_mb, capacity.clone());
        let memory =
            HostMemory::new(config.guest_memory_bytes, kept, config.host_memory_bytes, capacity.clone());
        let machinery = Machinery::new(engines.clone(), pulse, loops.compute(), loops.count());
        let resources = Resources::new(machinery, quota, memory, capacity);
        let routes = Arc::new(ArcSwap::from_pointee(Routes::default()));
        let readiness = Arc::<Readiness>::default();
        let cache =
            ComponentCache::open(engines, data_dir, config.keep_functions).map_err(in_data_dir(data_dir))?;
        let db = Arc::new(Db::open(&data_dir.join("wfn.db"))?);
        let secret_key = SecretKey::open(data_dir).map_err(in_data_dir(&data_dir.join("secret.key")))?;
        let secret_key = Arc::new(secret_key);
        let address_of = |listener: &std::net::TcpListener, address, flag| {
            listener.local_addr().map_err(|error| StartError::Listen { address, flag, error })
        };
        let functions_address = address_of(&functions, config.listen, "--listen")?;
        let admin_address = address_of(&admin, config.admin, "--admin")?;
        let bundles = Bundles::open(data_dir).map_err(in_data_dir(data_dir))?;
        let issuer = config.issuer.clone().unwrap_or_else(|| format!("http://{functions_address}"));
        let queues = Queues::new(db.clone());
        let blobs = Blobs::open(&db, &config.blobs, data_dir, queues.clone()).await?;
        let tracer = tracer(config)?;
        let stores = Stores { db: db.clone(), blobs: blobs.clone(), queues: queues.clone() };
        let capabilities = CapabilityHost::new(
            ServedApps::new(&routes),
            stores,
            secret_key.clone(),
            bundles,
            issuer,
            tracer,
            Machine { shares, compute: loops.compute() },
        );
        let (stop, stopped) = watch::channel(false);
        let (governor, fetching) = Governor::new(resources.clone(), db.clone(), loops.handles());
        let triggers =
            TriggerHost::new(db.clone(), queues, blobs.clone(), loops.handles(), stopped.clone(), fetching);
        let following = triggers.clone();
        let registry = Registry::new(
            db,
            cache,
            resources.clone(),
            routes.clone(),
            capabilities.clone(),
            Box::new(move |app| following.follow(app)),
            readiness.clone(),
        );
        if let Err(error) = registry.refresh_identity(false).await {
            tracing::error!("no app gets a token: {error}");
        }
        // Done before anything can refer to what is found unused.
        registry.collect_garbage(Duration::ZERO).await?;
        let stored = registry.stored().await?;

        let connections = Connections::new(loops.count(), shares.connections);
        let mut tasks = JoinSet::new();

        let watches = Arc::<Watches>::default();
        let health = Health::new(readiness.clone());
        let redirects = config.https.as_ref().is_some_and(|https| https.redirect);
        let serving = Arc::new(Functions {
            served: Arc::new(Served {
                routes: routes.clone(),
                capabilities: capabilities.clone(),
                health,
                challenges: https.as_ref().map(|https| https.challenges.clone()).unwrap_or_default(),
                redirects_to: https.as_ref().filter(|_| redirects).map(|https| https.address.port()),
            }),
            watches: watches.clone(),
            loops: loops.clone(),
            connections: connections.clone(),
        });
        let accepting = serving.clone().accept(functions, None, stopped.clone());
        tasks.spawn(report_end("functions listener", accepting));
        let https_address = https.as_ref().map(|https| https.address);
        let certificates = https.as_ref().map(|https| https.certificates.clone()).unwrap_or_default();
        let mut acme = None;
        if let (Some(https), Some(config)) = (https, &config.https) {
            acme = https.acme(config, registry.db().clone(), secret_key, routes).await?;
            if let Some(acme) = acme.clone() {
                tasks.spawn(until_stopped(stopped.clone(), async move { acme.run().await }));
            }
            if let Some(files) = https.files {
                tasks.spawn(until_stopped(stopped.clone(), files.keep_read()));
            }
            let accepting = serving.accept(https.listener, Some(https.handshakes), stopped.clone());
            tasks.spawn(report_end("HTTPS listener", accepting));
        }
        let about = About {
            functions: functions_address,
            https: https_address,
            admin: admin_address,
            prices: config.prices.clone(),
            certificates,
            acme,
        };
        let access = Access::new(&token, config.is_open());
        let shared = capabilities.clone();
        let api = api::Api::new(registry.clone(), triggers.clone(), shared, access, about, stopped.clone());
        let router = admin_routes::router(api);
        let serving = admin_listener::serve(admin, router, shares.admin, stopped.clone());
        tasks.spawn(report_end("admin listener", serving));
        let watching = tokio::spawn(watch_connections(watches, stopped.clone()));
        tasks.spawn(retire_idle(resources.clone(), stopped.clone()));
        tasks.spawn(until_stopped(stopped.clone(), async move { resources.serve_queues().await }));
        tasks.spawn(until_stopped(stopped.clone(), governor.run()));
        tasks.spawn(until_stopped(stopped.clone(), async move { blobs.keep_swept().await }));
        tasks.spawn(store_usage(registry.clone(), stopped.clone()));
        tasks.spawn(sampler::run(registry.clone(), capabilities.clone(), stopped.clone()));
        tasks.spawn(collect_garbage(registry.clone(), stopped.clone()));
        let restoring = registry.clone();
        let (came, all_came) = tokio::sync::oneshot::channel();
        tasks.spawn(until_stopped(stopped, async move {
            restoring.restore(stored).await;
            // Nobody waits for long.
            let _ = came.send(());
        }));
        // That nearly always takes milliseconds. One app that does not start must not delay the others.
        let all_back = tokio::time::timeout(limits::RESTORE_AWAITED, all_came).await.is_ok();
        Ok(Self {
            functions: functions_address,
            https: https_address,
            admin: admin_address,
            all_back,
            readiness,
            registry,
            triggers,
            connections,
            stop,
            tasks,
            watching,
            loops,
            capabilities,
            _ticker: ticker,
            _lock: lock,
        })
    }

    /// Returns the address at which functions answer.
    pub fn functions_address(&self) -> SocketAddr {
        self.functions
    }

    /// Returns the address at which functions answer over TLS, if they do.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Returns the address at which the admin API answers.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Whether every app that can be brought back was back when the host had started.
    pub fn all_back(&self) -> bool {
        self.all_back
    }

    /// Returns the registry of apps.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Accepts nothing new, finishes what is under way within [`limits::DRAIN_TIMEOUT`], and ends. Returns how many connections
    /// had to be cut.
    pub async fn shut_down(mut self) -> usize {
        // Fails if every receiver is gone already.
        let _ = self.stop.send(true);
        self.readiness.end();
        let deadline = Instant::now() + limits::DRAIN_TIMEOUT;
        while self.connections.open() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cut = self.connections.open();
        // Every task ends by `stop`; the admin listener after its last request.
        let _ = tokio::time::timeout_at(deadline.into(), self.triggers.ended()).await;
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // After the deadline they are cut.
        let _ = tokio::time::timeout_at(deadline.into(), ended).await;
        self.tasks.shutdown().await;
        self.watching.abort();
        self.capabilities.tracer().flush(TRACES_FLUSH_MAX).await;
        let (resources, db) = (self.registry.resources(), self.registry.db());
        if let Err(error) = resources.store_usage(db).await {
            tracing::error!("store what apps have used: {error}");
        }
        if let Err(error) = resources.learned().store(db).await {
            tracing::error!("store what was learned of concurrency: {error}");
        }
        drop(self.loops);
        cut
    }
}

/// Makes the tracer according to the configuration.
fn tracer(config: &HostConfig) -> Result<Tracer, StartError> {
    let Some(traces) = &config.traces else { return Ok(Tracer::default()) };
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let here = tokio::runtime::Handle::current();
    let exporter = Exporter::start(&traces.endpoint, traces.headers.clone(), host_name, &here);
    let exporter = exporter.map_err(|error| StartError::Traces(error.to_string()))?;
    Ok(Tracer::new(exporter, traces.share))
}

async fn report_end(what: &'static str, task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::error!("{what}: {error}");
    }
}

async fn watch_connections(watches: Arc<Watches>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(WATCH_PERIOD, stop.changed()).await.is_err() {
        watches.end_overdue();
    }
    watches.drain();
    // Connections that drain still have their time limits.
    loop {
        tokio::time::sleep(WATCH_PERIOD).await;
        watches.end_overdue();
    }
}

async fn retire_idle(resources: Arc<Resources>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(RETIRE_PERIOD, stop.changed()).await.is_err() {
        let now = Instant::now();
        for pool in resources.pools() {
            pool.retire_idle(now);
            pool.keep_always_ready(now);
        }
        resources.guard();
    }
}

async fn until_stopped(mut stop: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        _ = stop.changed() => {}
    }
}

async fn store_usage(registry: Arc<Registry>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(limits::USAGE_PERIOD, stop.changed()).await.is_err() {
        if let Err(error) = registry.resources().store_usage(registry.db()).await {
            tracing::error!("store what apps have used: {error}");
        }
    }
}

async fn collect_garbage(registry: Arc<Registry>, mut stop: watch::Receiver<bool>) {
    // Finishes what a kill has interrupted.
    registry.sweep_stores().await;
    while tokio::time::timeout(GARBAGE_PERIOD, stop.changed()).await.is_err() {
        // Removes what could not be removed before.
        registry.blobs().sweep_soon();
        if let Err(error) = registry.refresh_identity(false).await {
            tracing::error!("refresh the signing keys: {error}");
        }
        if let Err(error) = registry.collect_garbage(GARBAGE_PERIOD).await {
            tracing::warn!("look for unused modules: {error}");
        }
    }
}

/// Raises the limit of open files to its maximum and returns it: each connection is one, and the default 1,024 is too few.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If that is not allowed, 'wfn doctor' says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Makes the data directory, or takes an existing one that is empty or already was one. The permissions of another folder must
/// not be changed.
fn make_private_dir(path: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::data_dir(path, error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let is_empty = fs::read_dir(path).map_err(failed)?.next().is_none();
    if !is_empty && !path.join("lock").exists() {
        return Err(StartError::NotOurs(path.to_owned()));
    }
    // Machine code is loaded from it.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)
}

fn lock(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join("lock");
    let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|error| StartError::data_dir(&path, error))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| StartError::InUse(data_dir.to_owned()))?;
    Ok(file)
}

/// Returns the admin token: 32 random bytes in hexadecimal, made once, readable only by the owner.
fn token(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join("token");
    if let Ok(text) = fs::read_to_string(&path)
        && text.trim().len() >= 32
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        return Ok(text.trim().to_owned());
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = crate::persist::artifacts::temporary_in(data_dir)?;
    file.file().write_all(format!("{token}\n").as_bytes())?;
    file.publish(&path)?;
    Ok(token)
}
