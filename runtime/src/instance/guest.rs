//! The data of a guest's store.

pub mod host_objects;
pub mod key_value;
pub mod left_over;
pub mod linker;
pub mod objects;
pub mod open_files;
pub mod outgoing_body;
pub mod sender;
pub mod stdio;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderName;
use rustc_hash::FxHashMap;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as HttpError, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::capability::Capabilities;
use crate::capability::scratch::Scratch;
use crate::descriptors::FileLease;
use crate::instance::guest::objects::Objects;
use crate::instance::limiter::Limiter;
use crate::instance::sandbox::Sandboxed;
use crate::invocation::InvocationId;
use crate::limits;
use crate::meter::output::GuestOutput;
use crate::request::Origin;

/// The data of one guest's store.
pub struct Guest {
    table: ResourceTable,
    /// What the host holds for it.
    objects: Objects,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    files: FileLease,
    /// The invocation of each task, and where its request came from, in a worker that runs several. Kept after the end of the
    /// invocation until another task gets the number, because a guest may continue after its answer.
    tasks: FxHashMap<GuestTaskId, (InvocationId, Origin)>,
    _scratch: Option<Arc<Scratch>>,
    /// Charges memory to the instance and the host.
    pub limiter: Limiter,
    /// When the running invocation must be over.
    pub deadline: Option<Instant>,
    /// Whether the running invocation, if it is the only one, is a HEAD.
    pub answers_head: bool,
}

impl Guest {
    /// Makes the store data of one worker that may use `capabilities` and `scratch`. What it prints goes to `output`. It must be
    /// ready by `deadline`.
    pub fn new(
        output: &GuestOutput,
        capabilities: &Arc<Capabilities>,
        scratch: Option<Arc<Scratch>>,
        limiter: Limiter,
        deadline: Instant,
    ) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::WORKER_HANDLES_MAX);
        let wasi = capabilities.wasi(output, &[], scratch.as_deref())?.build();
        let (http, hooks) = (WasiHttpCtx::new(), Hooks::new(capabilities, output));
        let (tasks, files) = (FxHashMap::default(), capabilities.lease_files());
        let objects = Objects::default();
        Ok(Self {
            table,
            objects,
            wasi,
            http,
            hooks,
            tasks,
            files,
            _scratch: scratch,
            limiter,
            deadline: Some(deadline),
            answers_head: false,
        })
    }

    /// Notes that an invocation begins, whose request came from `origin`.
    pub fn begin(&mut self, origin: Origin) {
        self.hooks.origin = origin;
    }

    /// Notes that `task` runs `invocation`, whose request came from `origin`.
    pub fn runs(&mut self, task: GuestTaskId, invocation: InvocationId, origin: Origin) {
        self.tasks.insert(task, (invocation, origin));
    }

    /// Notes that `task` (if known) sends the next request.
    pub fn sends(&mut self, task: Option<GuestTaskId>) {
        let known = task.and_then(|task| self.tasks.get(&task));
        self.hooks.origin = known.map(|(_, origin)| origin.clone()).unwrap_or_default();
    }

    /// Notes that `task` (if known) writes the next output.
    pub fn writes(&mut self, task: Option<GuestTaskId>) {
        let known = task.and_then(|task| self.tasks.get(&task));
        self.hooks.output.writes(known.map(|(invocation, _)| *invocation));
    }

    /// Returns its handles, and the lease of file descriptors.
    pub fn table_and_files(&mut self) -> (&mut ResourceTable, &mut FileLease) {
        (&mut self.table, &mut self.files)
    }
}

impl Sandboxed for Guest {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

struct Hooks {
    /// Shared, because the library asks for it once per set of headers.
    forbidden: ForbiddenHeaderFilter,
    capabilities: Arc<Capabilities>,
    output: GuestOutput,
    origin: Origin,
}

impl Hooks {
    fn new(capabilities: &Arc<Capabilities>, output: &GuestOutput) -> Self {
        static FORBIDDEN: std::sync::LazyLock<ForbiddenHeaderFilter> = std::sync::LazyLock::new(|| {
            Arc::new(|name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name))
        });
        Self {
            forbidden: FORBIDDEN.clone(),
            capabilities: capabilities.clone(),
            output: output.clone(),
            origin: Origin::default(),
        }
    }
}

type Sent =
    Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        self.forbidden.clone()
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (capabilities, output) = (self.capabilities.clone(), self.output.clone());
        let origin = self.origin.clone();
        Box::new(async move {
            let response = capabilities.send(request, options, &output, origin).await?;
            let processed: Box<dyn Future<Output = Result<(), HttpError>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response, processed))
        })
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        limits::RESPONSE_CHUNK_BYTES
    }
}
