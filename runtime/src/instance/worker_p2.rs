//! A worker for WASI 0.2 HTTP guests: one store with one live component that takes one invocation at a
//! time, again and again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use wasmtime::component::Component;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::app::manifest::{Isolation, ScalePolicy};
use crate::capability::{self, Guest, GuestBody};
use crate::instance::Instance;
use crate::instance::limiter::{Limiter, RefusedBy};
use crate::invocation::{InvocationId, Outcome, Throttle};
use crate::limits;
use crate::meter::log::{AppLog, GuestOutput};
use crate::names::RevisionId;

/// Epoch ticks a guest may compute before it has to yield: between one and two milliseconds.
const TICKS_BEFORE_YIELD: u64 = 2;

thread_local! {
    /// Set by a guest that computes through an epoch tick, on the thread that polls it.
    static COMPUTED: Cell<bool> = const { Cell::new(false) };
}

/// Polls a guest and says whether it computed through an epoch tick, that is: did not wait for anything.
pub fn polled<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    COMPUTED.with(|computed| computed.set(false));
    let result = poll();
    (result, COMPUTED.with(Cell::get))
}

/// What the guest hands over as its answer: head and body, or its own error code.
pub type Head = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Everything needed to make workers of one revision, prepared once.
pub struct Template {
    pre: ProxyPre<Guest>,
    env: Vec<(String, String)>,
    log: Arc<AppLog>,
    revision: RevisionId,
    policy: ScalePolicy,
}

/// Why a component cannot be run at all.
#[derive(Debug, thiserror::Error)]
#[error("link the component: {0}")]
pub struct LinkError(String);

/// Why a worker could not be made, or how its call failed.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The way the invocation ends.
    pub outcome: Outcome,
    /// For the app's log: the guest's backtrace and the chain of causes.
    pub detail: String,
}

impl Fault {
    /// A fault about which there is nothing more to say.
    pub fn plain(outcome: Outcome) -> Self {
        let detail = outcome.message();
        Self { outcome, detail }
    }
}

/// The deadline passed while the guest computed.
#[derive(Debug, thiserror::Error)]
#[error("the deadline passed while computing")]
struct DeadlinePassed;

impl Template {
    /// Links `component` against what this host offers.
    pub fn new(
        engine: &Engine,
        component: &Component,
        env: Vec<(String, String)>,
        log: Arc<AppLog>,
        revision: RevisionId,
        policy: ScalePolicy,
    ) -> Result<Self, LinkError> {
        let link = || ProxyPre::new(capability::linker(engine)?.instantiate_pre(component)?);
        let pre = link().map_err(|error| LinkError(format!("{error:#}")))?;
        Ok(Self { pre, env, log, revision, policy })
    }

    /// What workers of this template go by.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// The log its workers write to.
    pub fn log(&self) -> &Arc<AppLog> {
        &self.log
    }

    /// The revision its workers belong to.
    pub fn revision(&self) -> RevisionId {
        self.revision
    }

    /// Makes a worker in `instance`. Guest code may run; `deadline` bounds it together with a timer of
    /// the caller's.
    pub async fn start(&self, instance: &Arc<Instance>, deadline: Instant) -> Result<Box<Worker>, Fault> {
        let Some(limiter) = Limiter::new(instance.clone()) else {
            return Err(Fault::plain(Outcome::Throttled(Throttle::WorkerCount)));
        };
        let output = GuestOutput::new(self.log.clone(), self.revision);
        let mut guest = Guest::new(&self.env, &output, limiter);
        guest.deadline = Some(deadline);
        let mut store = Store::new(self.pre.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
        store.epoch_deadline_callback(|context| {
            if context.data().deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(DeadlinePassed.into());
            }
            COMPUTED.with(|computed| computed.set(true));
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(TICKS_BEFORE_YIELD);
        match self.pre.instantiate_async(&mut store).await {
            Ok(proxy) => {
                let start_bytes = store.data().limiter.charged_bytes();
                Ok(Box::new(Worker { proxy, store, output, uses: 0, start_bytes }))
            }
            Err(error) => {
                let outcome = match store.data_mut().limiter.take_refusal() {
                    Some(RefusedBy::Host) => Outcome::Throttled(Throttle::HostMemory),
                    _ => Outcome::StartFailed(first_line(&error)),
                };
                Err(Fault { outcome, detail: format!("{error:?}") })
            }
        }
    }
}

/// One live component. Owned by one task at a time.
pub struct Worker {
    proxy: Proxy,
    store: Store<Guest>,
    output: GuestOutput,
    uses: u32,
    start_bytes: u64,
}

/// What one invocation brings along.
pub struct Call {
    /// Its id, for the log.
    pub invocation: InvocationId,
    /// The request as the guest sees it; it has an authority or a `Host` header that is text.
    pub request: http::Request<GuestBody>,
    /// When it must be over.
    pub deadline: Instant,
    /// Where the guest's answer goes, as soon as it is set.
    pub head: oneshot::Sender<Head>,
}

impl Worker {
    /// Calls the guest's handler. Resolves when it has returned; the body of the answer may still be
    /// under way to the client. A worker whose future is dropped before that must be dropped, too.
    pub async fn handle(&mut self, call: Call, policy: &ScalePolicy) -> Result<(), Fault> {
        let Call { invocation, request, deadline, head } = call;
        self.output.begin(invocation);
        self.uses += 1;
        self.store.data_mut().deadline = Some(deadline);
        self.store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
        self.store.set_epoch_deadline(TICKS_BEFORE_YIELD);
        match self.call(request, head).await {
            Ok(()) => {
                let left = self.store.data_mut().left_over();
                if left.unset_response {
                    return Err(Fault::plain(Outcome::NoResponse));
                }
                if left.unfinished_body {
                    let why = "the function returned without finishing its response body".to_owned();
                    return Err(Fault::plain(Outcome::InvalidResponse(why)));
                }
                Ok(())
            }
            Err(error) => Err(self.fault(&error, policy)),
        }
    }

    async fn call(
        &mut self,
        request: http::Request<GuestBody>,
        head: oneshot::Sender<Head>,
    ) -> wasmtime::Result<()> {
        let mut http = self.store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let response = http.new_response_outparam(head)?;
        self.proxy.wasi_http_incoming_handler().call_handle(&mut self.store, request, response).await
    }

    fn fault(&mut self, error: &wasmtime::Error, policy: &ScalePolicy) -> Fault {
        let refused = self.store.data_mut().limiter.take_refusal();
        let mut detail = format!("{error:?}");
        let outcome = if error.downcast_ref::<DeadlinePassed>().is_some() {
            Outcome::TimedOut(policy.timeout)
        } else if let Some(refused) = refused {
            let bound = match refused {
                RefusedBy::Class => format!("the memory class of {} MB", policy.memory.megabytes()),
                RefusedBy::Host => "the memory that all functions of this host may hold".to_owned(),
                RefusedBy::Table => format!("{} table elements", limits::TABLE_ELEMENTS_MAX),
            };
            detail = format!("refused memory by {bound}\n{detail}");
            Outcome::MemoryLimit(bound)
        } else {
            Outcome::Trapped(first_line(error))
        };
        Fault { outcome, detail }
    }

    /// Bytes of linear memory it holds.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.charged_bytes()
    }

    /// Whether this worker may serve another invocation: it leaked nothing to speak of, is not worn out
    /// and does not sit on more than its share of the instance's memory.
    pub fn is_reusable(&mut self, policy: &ScalePolicy) -> bool {
        let share_bytes = policy.memory.bytes() / u64::from(policy.concurrency);
        policy.isolation == Isolation::Reuse
            && self.uses < limits::WORKER_USES_MAX
            && self.store.data_mut().left_over().handles <= limits::WORKER_HANDLES_KEPT_MAX
            && self.memory_bytes() <= share_bytes.max(self.start_bytes * 2)
    }
}

/// The last cause is the trap itself; what comes before says where it happened.
fn first_line(error: &wasmtime::Error) -> String {
    let root = error.root_cause().to_string();
    root.lines().next().unwrap_or("unknown").to_owned()
}
