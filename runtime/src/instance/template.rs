//! Makes the workers of one revision, from parts that are prepared once.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Engine;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::budget::pages::{PAGED_MEMORY_BYTES_MIN, WrittenEstimate};
use crate::capability::Capabilities;
use crate::capability::scratch::Scratch;
use crate::component::cache;
use crate::component::code::Code;
use crate::component::engine::Engines;
use crate::component::inspect::GuestKind;
use crate::component::instance_size::Footprint;
use crate::instance::guest::{Guest, linker};
use crate::instance::guest_task::GuestTask;
use crate::instance::limiter::Limiter;
use crate::instance::machinery::Machinery;
use crate::instance::sandbox::{self, Sandboxed};
use crate::instance::start::{Start, Starts};
use crate::instance::worker::Worker;
use crate::instance::worker_command::{self, CommandGuest};
use crate::instance::worker_p3::AsyncWorker;
use crate::instance::{Instance, worker_p2, written};
use crate::invocation::{Fault, InvocationId, Outcome, Throttle};
use crate::limits;
use crate::manifest::{Isolation, SCRATCH_PATH, ScalePolicy};
use crate::meter::GroupMeter;
use crate::meter::output::GuestOutput;
use crate::names::RevisionId;

/// Makes workers of one revision.
pub struct Template {
    pre: Pre,
    capabilities: Arc<Capabilities>,
    meter: Arc<GroupMeter>,
    revision: RevisionId,
    policy: ScalePolicy,
    /// What an instance of the guest takes from the beginning.
    footprint: Footprint,
    /// How much of large memories its workers write.
    estimate: Option<Arc<WrittenEstimate>>,
    starts: Starts,
}

/// A guest with its imports resolved.
enum Pre {
    P2(ProxyPre<Guest>),
    P3(ServicePre<Guest>),
    Command(wasmtime::InstancePre<CommandGuest>),
}

/// Why a component cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It needs something that this host does not offer.
    #[error("link the component: {0}")]
    Link(String),
    /// Requests of its manifest that contradict each other.
    #[error("{0}")]
    Manifest(String),
}

impl Template {
    /// Links `guest` for `group` with what this host offers. Fails if what `capabilities` grant does not fit into an instance.
    pub fn new(
        engines: &Engines,
        guest: &cache::Guest,
        capabilities: Arc<Capabilities>,
        revision: RevisionId,
        group: &str,
        mut policy: ScalePolicy,
    ) -> Result<Self, TemplateError> {
        let cache::Guest { code, footprint, .. } = guest;
        if code.kind() == GuestKind::Command {
            // A process answers one request only.
            policy.isolation = Isolation::Fresh;
        }
        check_scratch(capabilities.scratch_bytes(), &policy)?;
        let engine = engines.get(code.kind().engine_kind());
        let pre = link(engine, code).map_err(|error| TemplateError::Link(format!("{error:#}")))?;
        let meter = capabilities.meter().group(group);
        let footprint = *footprint;
        let is_paged = footprint.memories >= PAGED_MEMORY_BYTES_MIN && code.kind() != GuestKind::Command;
        let estimate = is_paged.then(Arc::default);
        Ok(Self {
            pre,
            capabilities,
            meter,
            revision,
            policy,
            footprint,
            estimate,
            starts: Starts::default(),
        })
    }

    /// Returns the scale settings of its workers.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// What its workers may reach.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns the meter of its scale group.
    pub fn meter(&self) -> &Arc<GroupMeter> {
        &self.meter
    }

    /// Adds lines of the host about its workers to the app's log.
    pub fn host_log(&self, invocation: Option<InvocationId>, text: &str) {
        self.capabilities.output(self.revision).host_log(invocation, text);
    }

    /// The revision its workers belong to.
    pub fn revision(&self) -> RevisionId {
        self.revision
    }

    /// Whether its workers take many invocations at a time and belong to their instance, not to a slot.
    pub fn is_shared(&self) -> bool {
        matches!(self.pre, Pre::P3(_))
    }

    /// Whether a worker is made so quickly that an event loop may do it.
    pub fn starts_in_place(&self) -> bool {
        self.starts.are_quick()
    }

    /// Makes a worker for one invocation at a time in `instance`. Guest code may run, until `deadline`.
    pub async fn start(
        &self,
        instance: &Instance,
        machinery: &Arc<Machinery>,
        deadline: Instant,
    ) -> Result<Box<Worker>, Fault> {
        self.starts.run(self.begin(instance, deadline)?, machinery, deadline).await
    }

    fn begin(&self, instance: &Instance, deadline: Instant) -> Result<Start<Box<Worker>>, Fault> {
        let (limiter, output) = self.limiter_and_output(instance)?;
        let scratch = self.scratch(instance)?;
        match &self.pre {
            Pre::P2(pre) => {
                let guest = self.guest(&output, scratch, limiter, deadline)?;
                let mut store = sandbox::store(pre.engine(), guest);
                let (pre, policy) = (pre.clone(), self.policy);
                Ok(GuestTask::quick(async move {
                    let paged = written::of(store.data().limiter.memory());
                    match written::counted(paged, Box::pin(pre.instantiate_async(&mut store))).await {
                        Ok(proxy) => {
                            sandbox::started(&mut store, &policy)?;
                            Ok(Box::new(Worker::P2(worker_p2::Worker::new(proxy, store, output))))
                        }
                        Err(error) => Err(sandbox::start_fault(&error, store.data_mut().limiter(), &policy)),
                    }
                }))
            }
            Pre::Command(pre) => {
                let guest = CommandGuest::new(scratch, self.capabilities.lease_files(), limiter, deadline);
                let mut store = sandbox::store(pre.module().engine(), guest);
                let (pre, policy, capabilities) = (pre.clone(), self.policy, self.capabilities.clone());
                Ok(GuestTask::quick(async move {
                    match pre.instantiate_async(&mut store).await {
                        Ok(command) => {
                            sandbox::started(&mut store, &policy)?;
                            let worker = worker_command::Worker::new(command, store, output, capabilities);
                            Ok(Box::new(Worker::Command(worker)))
                        }
                        Err(error) => Err(sandbox::start_fault(&error, store.data_mut().limiter(), &policy)),
                    }
                }))
            }
            Pre::P3(_) => {
                let why = "asynchronous workers belong to their instance";
                Err(Fault::plain(Outcome::StartFailed(why.into())))
            }
        }
    }

    /// Returns the worker of `instance` that takes the next invocation, where workers are shared
    /// ([`crate::instance::shared::SharedWorkers::choose`]).
    pub async fn choose_shared(
        &self,
        instance: &Instance,
        machinery: &Arc<Machinery>,
        deadline: Instant,
    ) -> Result<Arc<AsyncWorker>, Fault> {
        let start = async || self.start_shared(instance, machinery, deadline).await;
        instance.shared.choose(&self.policy, machinery.cores(), start).await
    }

    /// Makes a worker in advance in `instance`, where workers are shared and it has none.
    pub async fn stock_shared(
        &self,
        instance: &Instance,
        machinery: &Arc<Machinery>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        instance.shared.stock(async || self.start_shared(instance, machinery, deadline).await).await
    }

    /// Makes a worker for many invocations at a time in `instance`; bounded like [`Self::start`].
    async fn start_shared(
        &self,
        instance: &Instance,
        machinery: &Arc<Machinery>,
        deadline: Instant,
    ) -> Result<Arc<AsyncWorker>, Fault> {
        let Pre::P3(pre) = &self.pre else {
            let why = "only asynchronous workers are shared";
            return Err(Fault::plain(Outcome::StartFailed(why.into())));
        };
        let (limiter, output) = self.limiter_and_output(instance)?;
        let guest = self.guest(&output, self.scratch(instance)?, limiter, deadline)?;
        let start =
            AsyncWorker::start(pre.clone(), guest, output, self.policy, self.meter.clone(), machinery);
        self.starts.run(start, machinery, deadline).await
    }

    fn guest(
        &self,
        output: &GuestOutput,
        scratch: Option<Arc<Scratch>>,
        limiter: Limiter,
        deadline: Instant,
    ) -> Result<Guest, Fault> {
        Guest::new(output, &self.capabilities, scratch, limiter, deadline).map_err(|error| {
            let outcome = Outcome::StartFailed(error.to_string());
            Fault { outcome, detail: format!("give the guest its files: {error:?}") }
        })
    }

    /// The `/tmp` of a new worker of `instance`: the instance's, or one of its own if it serves a single invocation.
    fn scratch(&self, instance: &Instance) -> Result<Option<Arc<Scratch>>, Fault> {
        let Some(bytes) = self.capabilities.scratch_bytes() else { return Ok(None) };
        let make = || {
            let charge = instance.memory.charge(bytes);
            let charge = charge.map_err(|refused| sandbox::refusal_fault(refused, &self.policy))?;
            self.capabilities.host().scratch().make(charge).map_err(|error| {
                Fault::plain(Outcome::StartFailed(format!("make {}: {error}", SCRATCH_PATH)))
            })
        };
        if self.policy.isolation == Isolation::Fresh {
            return make().map(Some);
        }
        let mut scratch = instance.scratch.lock();
        if scratch.is_none() {
            *scratch = Some(make()?);
        }
        Ok(scratch.clone())
    }

    fn limiter_and_output(&self, instance: &Instance) -> Result<(Limiter, GuestOutput), Fault> {
        let limiter = Limiter::new(instance.memory.clone(), self.footprint, self.estimate.as_ref())
            .ok_or_else(|| Fault::plain(Outcome::Throttled(Throttle::WorkerCount)))?;
        Ok((limiter, self.capabilities.output(self.revision)))
    }
}

/// Refuses a `/tmp` that leaves less than half of an instance to the memories of its workers.
fn check_scratch(bytes: Option<u64>, policy: &ScalePolicy) -> Result<(), TemplateError> {
    let Some(bytes) = bytes else { return Ok(()) };
    let (size, class) = (bytes / limits::MEBIBYTE, policy.memory.megabytes());
    let (many, why) = match policy.isolation {
        Isolation::Reuse => (1, String::new()),
        Isolation::Fresh => {
            let many = u64::from(policy.concurrency);
            (many, format!(" for each of {many} invocations, which keep nothing for one another,"))
        }
    };
    if size * many <= class / 2 {
        return Ok(());
    }
    let most = class / 2 / many;
    let why = format!("scratch_mb: {size} MB{why} are more than half of the memory class of {class} MB");
    Err(TemplateError::Manifest(match most {
        0 => format!("{why}: lower concurrency"),
        _ => format!("{why}: at most {most} are allowed"),
    }))
}

fn link(engine: &Engine, code: &Code) -> wasmtime::Result<Pre> {
    Ok(match code {
        Code::P2(component) => Pre::P2(ProxyPre::new(linker::linker(engine)?.instantiate_pre(component)?)?),
        Code::P3(component) => {
            Pre::P3(ServicePre::new(linker::async_linker(engine)?.instantiate_pre(component)?)?)
        }
        Code::Command(module) => Pre::Command(worker_command::linker(engine)?.instantiate_pre(module)?),
    })
}
