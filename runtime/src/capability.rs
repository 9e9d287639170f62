//! What a guest can reach beyond its own memory: decided by the app's manifest, nothing by default.

pub mod blobs;
pub mod bundle;
pub mod connect;
pub mod identity;
pub mod internal;
pub mod key_derivation;
pub mod key_value;
pub mod neighbours;
pub mod outbound;
pub mod queues;
pub mod request;
pub mod response;
pub mod scratch;
pub mod secrets;
pub mod send;
pub mod stores;
#[cfg(test)]
pub mod testing;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::{Blobs, Container, Containers};
use crate::capability::bundle::Bundles;
use crate::capability::identity::Identity;
use crate::capability::key_derivation::KeyDerivation;
use crate::capability::key_value::error::KeyValueError;
use crate::capability::key_value::{KeyValue, Store};
use crate::capability::neighbours::Neighbours;
use crate::capability::outbound::{Outbound, OutboundHost};
use crate::capability::queues::error::QueueError;
use crate::capability::queues::{Queue, QueueGrants, Queues};
use crate::capability::scratch::{Scratch, ScratchMaker};
use crate::capability::secrets::{SecretKey, SecretName, Secrets};
use crate::capability::stores::{AccessError, StoreError};
use crate::descriptors::{AppFiles, FileBudget, FileLease, Shares};
use crate::limits;
use crate::manifest::egress::Egress;
use crate::manifest::{FileMount, Manifest, MountPath, SCRATCH_PATH};
use crate::meter::Meter;
use crate::meter::output::GuestOutput;
use crate::meter::redactor::Redactor;
use crate::names::{AppName, RevisionId};
use crate::persist::db::Db;
use crate::trace::Tracer;

/// What the names of variables begin with that are headers of a request (RFC 3875, 4.1.18).
const HEADER_VARIABLE: &str = "HTTP_";

/// What the capabilities of all apps share.
pub struct CapabilityHost {
    outbound: OutboundHost,
    secret_key: Arc<SecretKey>,
    bundles: Bundles,
    identity: Identity,
    neighbours: Box<dyn Neighbours>,
    db: Arc<Db>,
    blobs: Arc<Blobs>,
    queues: Arc<Queues>,
    scratch: ScratchMaker,
    tracer: Tracer,
    files: Arc<FileBudget>,
    key_derivation: KeyDerivation,
}

/// Where what apps store is kept.
pub struct Stores {
    /// Keys and values, and what is known of all else.
    pub db: Arc<Db>,
    /// Blobs.
    pub blobs: Arc<Blobs>,
    /// Queues.
    pub queues: Arc<Queues>,
}

/// What they may use of the machine.
pub struct Machine {
    /// Descriptors.
    pub shares: Shares,
    /// Threads for what takes long.
    pub compute: Handle,
}

impl CapabilityHost {
    /// What the apps that are `neighbours` of each other share; what they store goes to `stores`.
    pub fn new(
        neighbours: impl Neighbours,
        stores: Stores,
        secret_key: Arc<SecretKey>,
        bundles: Bundles,
        issuer: String,
        tracer: Tracer,
        machine: Machine,
    ) -> Arc<Self> {
        let Stores { db, blobs, queues } = stores;
        let (outbound, neighbours) = (OutboundHost::new(machine.shares.outbound), Box::new(neighbours));
        let files = FileBudget::new(machine.shares.files);
        let (identity, scratch) = (Identity::new(issuer), ScratchMaker::default());
        let key_derivation = KeyDerivation::new(machine.compute);
        Arc::new(Self {
            outbound,
            secret_key,
            bundles,
            identity,
            neighbours,
            db,
            blobs,
            queues,
            scratch,
            tracer,
            files,
            key_derivation,
        })
    }

    /// Computes keys from passwords.
    pub fn key_derivation(&self) -> &KeyDerivation {
        &self.key_derivation
    }

    /// Where what they store is.
    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// Blobs of all apps.
    pub fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// Queues of all apps.
    pub fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    /// The folders that came with apps.
    pub fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    /// Who makes the `/tmp` of instances.
    pub fn scratch(&self) -> &ScratchMaker {
        &self.scratch
    }

    /// Who follows traces through it.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Who signs the tokens of apps.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key of all secrets.
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }

    /// The other apps of this host.
    pub fn neighbours(&self) -> &dyn Neighbours {
        self.neighbours.as_ref()
    }
}

/// What the guests of one revision may reach. Shared by its workers.
pub struct Capabilities {
    app: AppName,
    host: Arc<CapabilityHost>,
    /// Settings and secrets.
    env: Vec<(String, String)>,
    /// The same for `wasi:config`.
    config: WasiConfigVariables,
    secret_names: Vec<SecretName>,
    /// Folders of this machine and where guests see them.
    files: Vec<(PathBuf, MountPath)>,
    /// Bytes of `/tmp`, if there is to be one.
    scratch_bytes: Option<u64>,
    redactor: Arc<Redactor>,
    outbound: Outbound,
    key_value: KeyValue,
    containers: Containers,
    queues: QueueGrants,
    open_files: Arc<AppFiles>,
    key_turn: Semaphore,
    meter: Arc<Meter>,
}

impl Capabilities {
    /// What `manifest` grants, and `secrets`, which go before settings of the same name.
    pub fn new(
        manifest: &Manifest,
        secrets: &Secrets,
        host: &Arc<CapabilityHost>,
        meter: &Arc<Meter>,
    ) -> Result<Arc<Self>, String> {
        let egress = Egress::parse(&manifest.allowed_outbound_hosts, &manifest.env)?;
        let outbound = Outbound::new(egress, &host.outbound, meter.clone());
        let mut env = manifest.env.clone();
        env.extend(secrets.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())));
        let config = env.clone().into_iter().collect();
        let env = env.into_iter().collect();
        let path = |mount: &FileMount| (host.bundles.path(mount.bundle), mount.destination.clone());
        let files = manifest.files.iter().map(path).collect();
        let scratch_bytes = manifest.scratch_mb.map(|size| u64::from(size.get()) * limits::MEBIBYTE);
        if scratch_bytes.is_some() {
            host.scratch.check().map_err(|error| {
                format!(
                    "scratch_mb: this host cannot make a file system in memory: {error}; see 'wfn doctor'"
                )
            })?;
        }
        let secret_names = secrets.keys().cloned().collect();
        let named = secrets.iter().map(|(name, value)| (name.as_str(), value.expose()));
        let redactor = Arc::new(Redactor::new(named)?);
        let key_value = KeyValue::new(&manifest.name, &manifest.key_value_stores);
        let containers = Containers::new(&manifest.name, &manifest.blob_containers);
        let queues = QueueGrants::new(&manifest.name, &manifest.queues);
        let open_files = AppFiles::new(host.files.clone());
        let (app, host, meter) = (manifest.name.clone(), host.clone(), meter.clone());
        Ok(Arc::new(Self {
            app,
            host,
            env,
            config,
            secret_names,
            files,
            scratch_bytes,
            redactor,
            outbound,
            key_value,
            containers,
            queues,
            open_files,
            key_turn: Semaphore::new(1),
            meter,
        }))
    }

    /// What a guest gets of WASI, of whatever version: settings and secrets, `variables` before those of the same
    /// name unless they are a client's headers, its files, `scratch` as `/tmp`, and `output` for what it prints. Fails where a folder cannot be opened.
    pub fn wasi(
        &self,
        output: &GuestOutput,
        variables: &[(String, String)],
        scratch: Option<&Scratch>,
    ) -> wasmtime::Result<WasiCtxBuilder> {
        let mut builder = WasiCtx::builder();
        for (name, value) in &self.env {
            // What a client says in a header does not take the place of what the app's owner says.
            if name.starts_with(HEADER_VARIABLE) || variables.iter().all(|(variable, _)| variable != name) {
                builder.env(name, value);
            }
        }
        for (name, value) in variables {
            if !name.starts_with(HEADER_VARIABLE) || self.env.iter().all(|(setting, _)| setting != name) {
                builder.env(name, value);
            }
        }
        builder
            .stdout(output.stdout())
            .stderr(output.stderr())
            .max_random_size(limits::RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        for (folder, destination) in &self.files {
            builder.preopened_dir(folder, destination.as_str(), FsPerms::ReadOnly)?;
        }
        if let Some(scratch) = scratch {
            builder.preopened_dir(scratch.root(), SCRATCH_PATH, FsPerms::ReadWrite)?;
        }
        Ok(builder)
    }

    /// Bytes of the `/tmp` of each instance, if the app asked for one.
    pub fn scratch_bytes(&self) -> Option<u64> {
        self.scratch_bytes
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// What it shares with others.
    pub fn host(&self) -> &CapabilityHost {
        &self.host
    }

    /// The way out.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Where it may send requests.
    pub fn egress(&self) -> &Egress {
        self.outbound.egress()
    }

    /// The key-value store that its guest calls `text`, if it may use it now.
    pub fn store(&self, text: &str) -> Result<Store, KeyValueError> {
        self.key_value.store(self.host.neighbours(), &self.host.db, text)
    }

    /// The blob container that its guest calls `text`, if it may use it now.
    pub fn container(&self, text: &str) -> Result<Container, BlobError> {
        self.containers.container(self.host.neighbours(), &self.host.blobs, text)
    }

    /// The queue that its guest calls `text`, if it may send to it now.
    pub fn queue(&self, text: &str) -> Result<Queue, QueueError> {
        self.queues.queue(self.host.neighbours(), &self.host.queues, text)
    }

    /// Which key-value stores it may use.
    pub fn key_value(&self) -> &KeyValue {
        &self.key_value
    }

    /// Which blob containers it may use.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// Which queues it may send to.
    pub fn queues(&self) -> &QueueGrants {
        &self.queues
    }

    /// The right to have a key computed; one at a time.
    pub fn key_turn(&self) -> &Semaphore {
        &self.key_turn
    }

    /// Says in the app's log what would grant a store that was refused, and in the host's what only its operator can
    /// mend.
    pub fn report<E: StoreError>(&self, error: &E, output: &GuestOutput) {
        let (kind, app) = (E::KIND.name(), &self.app);
        match error.access() {
            Some(AccessError::Refused(refusal)) => {
                output.host_log(output.running(), &format!("refused a {kind}: {refusal}"));
            }
            _ if error.is_for_the_operator() => tracing::error!("{kind} of app {app}: {error}"),
            _ => {}
        }
    }

    /// The descriptors that a new worker may hold for files: none yet.
    pub fn lease_files(&self) -> FileLease {
        self.open_files.lease()
    }

    /// Names of the secrets.
    pub fn secret_names(&self) -> &[SecretName] {
        &self.secret_names
    }

    /// Where a worker of `revision` writes.
    pub fn output(&self, revision: RevisionId) -> GuestOutput {
        GuestOutput::new(self.meter.log.clone(), revision, self.redactor.clone())
    }

    /// What takes the values of secrets out of text.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// `text` without the values of secrets.
    pub fn redacted(&self, text: String) -> String {
        self.redactor.redact(text)
    }

    /// What is seen of its app.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Settings and secrets, as `wasi:config` gives them.
    pub fn config(&self) -> WasiConfig<'_> {
        WasiConfig::from(&self.config)
    }

    /// Environment variables: settings and secrets.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }
}
