//! A worker for WASI 0.2 HTTP guests: one store with one live component that takes one invocation at a time, one after another.

use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use crate::budget::memory::WorkerMemory;
use crate::instance::call::{Call, Head};
use crate::instance::guest::Guest;
use crate::instance::{sandbox, written};
use crate::invocation::{Fault, Outcome};
use crate::limits;
use crate::manifest::{Isolation, ScalePolicy};
use crate::meter::output::GuestOutput;
use crate::request::{GuestRequest, is_secure};

/// One live component.
pub struct Worker {
    proxy: Proxy,
    store: Store<Guest>,
    output: GuestOutput,
    uses: u32,
    start_bytes: u64,
}

impl Worker {
    /// A worker that was just instantiated in `store`.
    pub fn new(proxy: Proxy, store: Store<Guest>, output: GuestOutput) -> Self {
        let start_bytes = store.data().limiter.memory().charged_bytes();
        Self { proxy, store, output, uses: 0, start_bytes }
    }

    /// Calls the guest's handler.
    pub async fn handle(&mut self, call: Call, policy: &ScalePolicy) -> Result<(), Fault> {
        let Call { invocation, request, origin, deadline, head } = call;
        self.output.begin(invocation);
        self.uses += 1;
        let guest = self.store.data_mut();
        guest.deadline = Some(deadline);
        guest.begin(origin);
        guest.answers_head = request.method() == http::Method::HEAD;
        sandbox::allow(&mut self.store);
        let called = self.call(request, head).await;
        self.memory().served();
        self.output.end(invocation);
        match called {
            Ok(()) => {
                let left = self.store.data_mut().left_over();
                if left.unset_response {
                    return Err(Fault::plain(Outcome::NoResponse));
                }
                if left.unfinished_body {
                    let why = "the function returned without finishing its response body";
                    return Err(Fault::invalid_response(why, why.to_owned()));
                }
                Ok(())
            }
            Err(error) => Err(sandbox::call_fault(&error, &mut self.store.data_mut().limiter, policy)),
        }
    }

    async fn call(&mut self, request: GuestRequest, head: oneshot::Sender<Head>) -> wasmtime::Result<()> {
        let mut http = self.store.data_mut().http();
        let scheme = if is_secure(request.extensions()) { Scheme::Https } else { Scheme::Http };
        let request = http.new_incoming_request(scheme, *request)?;
        let response = http.new_response_outparam(head)?;
        let handler = self.proxy.wasi_http_incoming_handler();
        // On the heap: it is large, and would be moved together with the futures around it.
        let paged = written::of(self.store.data().limiter.memory());
        written::counted(paged, Box::pin(handler.call_handle(&mut self.store, request, response))).await
    }

    /// What it holds.
    pub fn memory(&self) -> &WorkerMemory {
        self.store.data().limiter.memory()
    }

    /// Whether this worker may serve another invocation: it leaked almost nothing, is not used up, and holds no more than its
    /// share of the instance's memory.
    pub fn is_reusable(&mut self, policy: &ScalePolicy) -> bool {
        let share_bytes = policy.memory.bytes() / u64::from(policy.concurrency);
        policy.isolation == Isolation::Reuse
            && self.uses < limits::WORKER_USES_MAX
            && self.store.data_mut().left_over().handles <= limits::WORKER_HANDLES_KEPT_MAX
            && self.memory().charged_bytes() <= share_bytes.max(self.start_bytes * 2)
            && !self.memory().is_over()
    }
}
