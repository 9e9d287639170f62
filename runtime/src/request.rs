//! One invocation on its way to a guest: the request as guests get it, who calls, and where it came from.

pub mod caller;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use wasmtime_wasi_http::Error as HttpError;

use crate::invocation::{BodyVerdict, InvocationId};
use crate::manifest::function::FunctionName;
use crate::request::caller::{Caller, Group};
use crate::trace::cause::Cause;
use crate::trace::context::{TraceContext, Traced};
use crate::trace::state::TRACESTATE;

/// A body as the WASI library takes it.
pub type GuestBody = http_body_util::combinators::UnsyncBoxBody<Bytes, HttpError>;

/// A request on its way to a guest. Boxed, because it is handed on from one to the next, and kept while they wait.
pub type GuestRequest = Box<http::Request<GuestBody>>;

/// Where a request came from; copied to the requests that its guest sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many calls from app to app; 0 for one from outside.
    pub depth: u32,
    /// Where it stands in its trace, if it is part of one.
    pub trace: Option<TraceContext>,
    /// What other tracers say of that trace.
    pub trace_state: Option<HeaderValue>,
}

/// One invocation, until it has a slot and a worker. Every way to a function makes one, and here alone the header fields that
/// are the host's word are set, and removed where others wrote them.
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// The request as the guest sees it.
    pub request: GuestRequest,
    /// For the requests that the guest sends.
    pub origin: Origin,
    /// Its place in a trace.
    pub traced: Option<Traced>,
    /// Whether its body failed, if that is read while it arrives.
    pub body: Option<Arc<BodyVerdict>>,
    /// Which function a trigger calls, and with what.
    event: Option<Box<(FunctionName, Cause)>>,
}

impl Invocation {
    /// The invocation `id`, by which `caller` sends `request`.
    pub fn new(id: InvocationId, caller: Caller, mut request: GuestRequest) -> Self {
        caller.mark(request.headers_mut());
        let (mut origin, mut event) = (Origin::default(), None);
        match caller {
            Caller::App { depth, .. } => origin.depth = depth,
            Caller::Trigger { function, cause } => event = Some(Box::new((function, cause))),
            Caller::Client { .. } | Caller::Operator { .. } => {}
        }
        Self { id, request, origin, traced: None, body: None, event }
    }

    /// Which instances of the app it calls.
    pub fn group(&self) -> Group<'_> {
        self.event.as_ref().map_or(Group::Http, |event| Group::Function(&event.0))
    }

    /// What a trigger calls with.
    pub fn cause(&self) -> Option<&Cause> {
        self.event.as_ref().map(|event| &event.1)
    }

    /// Notes where it stands in a trace.
    pub fn set_traced(&mut self, traced: Traced) {
        self.origin.trace = Some(traced.context);
        self.origin.trace_state = self.request.headers().get(TRACESTATE).cloned();
        self.traced = Some(traced);
    }
}
