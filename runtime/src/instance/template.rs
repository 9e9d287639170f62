//! Everything needed to make workers of one revision, prepared once.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Engine;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::app::manifest::{Isolation, ScalePolicy};
use crate::capability::Capabilities;
use crate::capability::guest::{self, Guest};
use crate::component::code::Code;
use crate::component::engine::Engines;
use crate::component::inspect::GuestKind;
use crate::instance::Instance;
use crate::instance::limiter::Limiter;
use crate::instance::sandbox::{self, Sandboxed};
use crate::instance::worker::Worker;
use crate::instance::worker_command::{self, CommandGuest};
use crate::instance::worker_p2;
use crate::instance::worker_p3::AsyncWorker;
use crate::invocation::{Fault, InvocationId, Outcome, Throttle};
use crate::meter::log::GuestOutput;
use crate::names::RevisionId;
use crate::pool::resources::Resources;

/// Makes workers of one revision.
pub struct Template {
    pre: Pre,
    capabilities: Arc<Capabilities>,
    revision: RevisionId,
    policy: ScalePolicy,
}

/// A guest with its imports resolved.
enum Pre {
    P2(ProxyPre<Guest>),
    P3(ServicePre<Guest>),
    Command(wasmtime::InstancePre<CommandGuest>),
}

/// Why a component cannot be run at all.
#[derive(Debug, thiserror::Error)]
#[error("link the component: {0}")]
pub struct LinkError(String);

impl Template {
    /// Links `code` against what this host offers.
    pub fn new(
        engines: &Engines,
        code: &Code,
        capabilities: Arc<Capabilities>,
        revision: RevisionId,
        mut policy: ScalePolicy,
    ) -> Result<Self, LinkError> {
        if code.kind() == GuestKind::Command {
            // A process answers once.
            policy.isolation = Isolation::Fresh;
        }
        let engine = engines.get(code.kind().engine_kind());
        let pre = link(engine, code).map_err(|error| LinkError(format!("{error:#}")))?;
        Ok(Self { pre, capabilities, revision, policy })
    }

    /// What workers of this template go by.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// What its workers may reach.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Adds lines of the host's own about its workers to the app's log.
    pub fn host_says(&self, invocation: Option<InvocationId>, text: &str) {
        self.capabilities.output(self.revision).host_says(invocation, text);
    }

    /// The revision its workers belong to.
    pub fn revision(&self) -> RevisionId {
        self.revision
    }

    /// Whether its workers take many invocations at a time and belong to their instance, not to a slot.
    pub fn is_shared(&self) -> bool {
        matches!(self.pre, Pre::P3(_))
    }

    /// Makes a worker for one invocation at a time in `instance`. Guest code may run; `deadline` bounds it
    /// together with a timer of the caller's.
    pub async fn start(&self, instance: &Instance, deadline: Instant) -> Result<Box<Worker>, Fault> {
        let (limiter, output) = self.limiter_and_output(instance)?;
        match &self.pre {
            Pre::P2(pre) => {
                let guest = self.guest(&output, limiter, deadline)?;
                let mut store = sandbox::store(pre.engine(), guest);
                match pre.instantiate_async(&mut store).await {
                    Ok(proxy) => Ok(Box::new(Worker::P2(worker_p2::Worker::new(proxy, store, output)))),
                    Err(error) => Err(sandbox::start_fault(&error, store.data_mut().limiter(), &self.policy)),
                }
            }
            Pre::Command(pre) => {
                let guest = CommandGuest::new(limiter, deadline);
                let mut store = sandbox::store(pre.module().engine(), guest);
                match pre.instantiate_async(&mut store).await {
                    Ok(command) => {
                        let capabilities = self.capabilities.clone();
                        let worker = worker_command::Worker::new(command, store, output, capabilities);
                        Ok(Box::new(Worker::Command(worker)))
                    }
                    Err(error) => Err(sandbox::start_fault(&error, store.data_mut().limiter(), &self.policy)),
                }
            }
            Pre::P3(_) => {
                let why = "asynchronous workers belong to their instance";
                Err(Fault::plain(Outcome::StartFailed(why.into())))
            }
        }
    }

    /// Makes a worker for many invocations at a time in `instance`; bounded like [`Self::start`].
    pub async fn start_shared(
        &self,
        instance: &Instance,
        deadline: Instant,
        resources: &Arc<Resources>,
    ) -> Result<Arc<AsyncWorker>, Fault> {
        let Pre::P3(pre) = &self.pre else {
            let why = "only asynchronous workers are shared";
            return Err(Fault::plain(Outcome::StartFailed(why.into())));
        };
        let (limiter, output) = self.limiter_and_output(instance)?;
        let guest = self.guest(&output, limiter, deadline)?;
        AsyncWorker::start(pre, guest, output, &self.policy, resources).await
    }

    fn guest(&self, output: &GuestOutput, limiter: Limiter, deadline: Instant) -> Result<Guest, Fault> {
        Guest::new(output, &self.capabilities, limiter, deadline).map_err(|error| {
            let outcome = Outcome::StartFailed(error.to_string());
            Fault { outcome, detail: format!("give the guest its files: {error:?}") }
        })
    }

    fn limiter_and_output(&self, instance: &Instance) -> Result<(Limiter, GuestOutput), Fault> {
        let limiter = Limiter::new(instance.memory.clone())
            .ok_or_else(|| Fault::plain(Outcome::Throttled(Throttle::WorkerCount)))?;
        Ok((limiter, self.capabilities.output(self.revision)))
    }
}

fn link(engine: &Engine, code: &Code) -> wasmtime::Result<Pre> {
    Ok(match code {
        Code::P2(component) => Pre::P2(ProxyPre::new(guest::linker(engine)?.instantiate_pre(component)?)?),
        Code::P3(component) => {
            Pre::P3(ServicePre::new(guest::async_linker(engine)?.instantiate_pre(component)?)?)
        }
        Code::Command(module) => Pre::Command(worker_command::linker(engine)?.instantiate_pre(module)?),
    })
}
