//! One invocation on its way to a guest: the request as guests get it, who calls, and where it came from.
//!
//! The header fields by which the host says who calls are its word alone. Every invocation comes through [`Caller::mark`], which
//! removes what anybody else wrote there, so that neither a client nor an app can forge them (docs/guests.md lists them).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};
use wasmtime_wasi_http::Error as HttpError;

use crate::invocation::{BodyVerdict, InvocationId};
use crate::manifest::function::FunctionName;
use crate::names::AppName;
use crate::trace::cause::Cause;
use crate::trace::context::{TraceContext, Traced};
use crate::trace::state::TRACESTATE;

/// Tells the app that is called which one calls.
pub const CALLER: HeaderName = HeaderName::from_static("wfn-caller");
/// Tells a function that a trigger calls it, and by which name.
pub const TRIGGER: HeaderName = HeaderName::from_static("wfn-trigger");
/// Tells a guest which part of the path was stripped.
pub const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// Tells a guest from which address it is called: the last entry. What stands before it is the caller's claim.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// From where this host itself calls.
const THIS_HOST: HeaderValue = HeaderValue::from_static("127.0.0.1");

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

/// Which instances of an app are meant (SPEC 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group<'a> {
    /// Those that answer HTTP.
    Http,
    /// Those of a function that a trigger calls.
    Function(&'a FunctionName),
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http => f.write_str("http"),
            Self::Function(name) => write!(f, "function:{name}"),
        }
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A client of the functions listener.
    Client {
        /// Its IP address.
        address: HeaderValue,
        /// What was stripped from the path.
        prefix: Option<HeaderValue>,
    },
    /// Another app, or the app itself.
    App {
        /// Its name.
        name: AppName,
        /// How many calls from app to app this is, counted from a request from outside.
        depth: u32,
    },
    /// Whoever may use the admin API.
    Operator {
        /// What was stripped from the path.
        prefix: Option<HeaderValue>,
    },
    /// A trigger.
    Trigger {
        /// The function that it calls.
        function: FunctionName,
        /// With what.
        cause: Cause,
    },
}

impl Caller {
    /// Says in `headers` who calls, and removes what others have said of it.
    pub fn mark(&self, headers: &mut HeaderMap) {
        // Names of apps and functions are valid header values.
        let word = |name: &str| HeaderValue::from_str(name).ok();
        let (mut caller, mut trigger) = (None, None);
        let (address, prefix) = match self {
            Self::Client { address, prefix } => (address.clone(), prefix.clone()),
            Self::Operator { prefix } => (THIS_HOST, prefix.clone()),
            Self::App { name, .. } => {
                caller = word(name.as_str());
                (THIS_HOST, None)
            }
            Self::Trigger { function, .. } => {
                trigger = word(function.as_str());
                (THIS_HOST, None)
            }
        };
        for (name, value) in [(CALLER, caller), (TRIGGER, trigger), (FORWARDED_PREFIX, prefix)] {
            match value {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
        headers.append(FORWARDED_FOR, address);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(caller: &Caller) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for name in [CALLER, TRIGGER, FORWARDED_PREFIX, FORWARDED_FOR] {
            headers.append(name.clone(), HeaderValue::from_static("forged"));
            headers.append(name, HeaderValue::from_static("twice"));
        }
        caller.mark(&mut headers);
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let mut said: Vec<_> = headers.iter().map(text).collect();
        said.retain(|(_, value)| value != "forged" && value != "twice");
        assert_eq!(headers.get_all(FORWARDED_FOR).iter().count(), 3);
        assert_eq!(headers.iter().filter(|(_, value)| *value == "forged").count(), 1);
        said
    }

    #[test]
    fn only_the_host_says_who_calls() {
        let app = AppName::new("orders").unwrap();
        let function = FunctionName::new("nightly").unwrap();
        let address = HeaderValue::from_static("192.0.2.7");
        let prefix = Some(HeaderValue::from_static("/hello"));
        for (caller, expected) in [
            (
                Caller::Client { address: address.clone(), prefix: prefix.clone() },
                vec![("x-forwarded-prefix", "/hello"), ("x-forwarded-for", "192.0.2.7")],
            ),
            (Caller::Client { address, prefix: None }, vec![("x-forwarded-for", "192.0.2.7")]),
            (
                Caller::Operator { prefix },
                vec![("x-forwarded-prefix", "/hello"), ("x-forwarded-for", "127.0.0.1")],
            ),
            (
                Caller::App { name: app, depth: 1 },
                vec![("wfn-caller", "orders"), ("x-forwarded-for", "127.0.0.1")],
            ),
            (
                Caller::Trigger { function, cause: Cause::Timer },
                vec![("wfn-trigger", "nightly"), ("x-forwarded-for", "127.0.0.1")],
            ),
        ] {
            let mut said = marked(&caller);
            said.sort();
            let mut expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            expected.sort();
            assert_eq!(said, expected, "{caller:?}");
        }
    }
}
