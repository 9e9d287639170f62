//! Holds one invocation on its way to a guest: the request as the guest gets it, who calls, and where it came from.
//!
//! Only the host may set the header fields that say who calls. Every invocation passes [`Caller::mark`], which removes such
//! fields of others, so that neither a client nor an app can forge them (docs/guests.md lists them).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Extensions, HeaderName, HeaderValue};
use wasmtime_wasi_http::Error as HttpError;

use crate::invocation::{BodyVerdict, InvocationId};
use crate::manifest::function::FunctionName;
use crate::names::AppName;
use crate::trace::cause::Cause;
use crate::trace::context::{TraceContext, Traced};
use crate::trace::state::TRACESTATE;

/// Tells the app that is called which one calls.
pub const CALLER: HeaderName = HeaderName::from_static("wfn-caller");
/// Tells a function that a trigger calls it, and the name of the trigger.
pub const TRIGGER: HeaderName = HeaderName::from_static("wfn-trigger");
/// Tells a guest which part of the path was stripped.
pub const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// Tells a guest from which address it is called: the last entry. Entries before it are claims of the caller.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Tells a guest that the request came over TLS. Without TLS what a proxy says stays.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address of calls that this host itself makes.
const THIS_HOST: HeaderValue = HeaderValue::from_static("127.0.0.1");

/// A body as the WASI library takes it.
pub type GuestBody = http_body_util::combinators::UnsyncBoxBody<Bytes, HttpError>;

/// A request on its way to a guest. Boxed, because it is moved many times and kept while it waits.
pub type GuestRequest = Box<http::Request<GuestBody>>;

/// Marks a request that came over TLS.
#[derive(Debug, Clone, Copy)]
struct Secure;

/// Whether the request with these `extensions` came over TLS: its URL then begins with `https`.
pub fn is_secure(extensions: &Extensions) -> bool {
    extensions.get::<Secure>().is_some()
}

/// Where a request came from; copied to the requests that its guest sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many calls from app to app led to it; 0 for one from outside.
    pub depth: u32,
    /// Its place in a trace, if it is part of one.
    pub trace: Option<TraceContext>,
    /// The `tracestate` of that trace: what other tracers noted.
    pub trace_state: Option<HeaderValue>,
}

/// Which instances of an app an invocation is for (SPEC 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group<'a> {
    /// The instances that answer HTTP.
    Http,
    /// The instances of a function that a trigger calls.
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

/// Who calls a function.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A client of the functions listener.
    Client {
        /// Its IP address.
        address: HeaderValue,
        /// What was stripped from the path.
        prefix: Option<HeaderValue>,
        /// Whether its connection has TLS.
        is_secure: bool,
    },
    /// Another app, or the app itself.
    App {
        /// Its name.
        name: AppName,
        /// How many calls from app to app this is, counted from a request from outside.
        depth: u32,
    },
    /// A user of the admin API.
    Operator {
        /// What was stripped from the path.
        prefix: Option<HeaderValue>,
    },
    /// A trigger.
    Trigger {
        /// The function that it calls.
        function: FunctionName,
        /// What it calls the function for.
        cause: Cause,
    },
}

impl Caller {
    /// Writes into `headers` who calls, and removes such fields of others. Returns how many calls from app to app led here, and
    /// what a trigger calls for.
    fn mark(self, headers: &mut HeaderMap) -> (u32, Option<Event>) {
        // Names of apps and functions are valid header values.
        let word = |name: &str| HeaderValue::from_str(name).ok();
        let (mut caller, mut trigger, mut prefix, mut address) = (None, None, None, THIS_HOST);
        let (mut depth, mut event) = (0, None);
        match self {
            Self::Client { address: of_client, prefix: stripped, is_secure } => {
                (address, prefix) = (of_client, stripped);
                if is_secure {
                    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
                }
            }
            Self::Operator { prefix: stripped } => prefix = stripped,
            Self::App { name, depth: of_call } => (caller, depth) = (word(name.as_str()), of_call),
            Self::Trigger { function, cause } => {
                trigger = word(function.as_str());
                event = Some(Box::new((function, cause)));
            }
        }
        for (name, value) in [(CALLER, caller), (TRIGGER, trigger), (FORWARDED_PREFIX, prefix)] {
            match value {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
        headers.append(FORWARDED_FOR, address);
        (depth, event)
    }
}

/// One invocation, until it has a slot and a worker. Every call of a function makes one. Only here the header fields that belong
/// to the host are set, and removed if others wrote them.
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// The request as the guest sees it.
    pub request: GuestRequest,
    /// Where the request came from; copied to the requests that the guest sends.
    pub origin: Origin,
    /// Its place in a trace.
    pub traced: Option<Traced>,
    /// Whether the request's body failed, if that is read while it arrives.
    pub body: Option<Arc<BodyVerdict>>,
    /// Which function a trigger calls, and what for.
    event: Option<Event>,
}

/// The function that a trigger calls, and what for. Boxed, because most invocations have none.
type Event = Box<(FunctionName, Cause)>;

impl Invocation {
    /// Makes the invocation `id`, in which `caller` sends `request`.
    pub fn new(id: InvocationId, caller: Caller, mut request: GuestRequest) -> Self {
        if matches!(caller, Caller::Client { is_secure: true, .. }) {
            request.extensions_mut().insert(Secure);
        }
        let (depth, event) = caller.mark(request.headers_mut());
        let origin = Origin { depth, ..Origin::default() };
        Self { id, request, origin, traced: None, body: None, event }
    }

    /// Returns which instances of the app it is for.
    pub fn group(&self) -> Group<'_> {
        self.event.as_ref().map_or(Group::Http, |event| Group::Function(&event.0))
    }

    /// Returns what a trigger calls for, if one does.
    pub fn cause(&self) -> Option<&Cause> {
        self.event.as_ref().map(|event| &event.1)
    }

    /// Notes its place in a trace.
    pub fn set_traced(&mut self, traced: Traced) {
        self.origin.trace = Some(traced.context);
        self.origin.trace_state = self.request.headers().get(TRACESTATE).cloned();
        self.traced = Some(traced);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(caller: Caller) -> Vec<(String, String)> {
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
                Caller::Client { address: address.clone(), prefix: prefix.clone(), is_secure: true },
                vec![
                    ("x-forwarded-prefix", "/hello"),
                    ("x-forwarded-for", "192.0.2.7"),
                    ("x-forwarded-proto", "https"),
                ],
            ),
            (
                Caller::Client { address, prefix: None, is_secure: false },
                vec![("x-forwarded-for", "192.0.2.7")],
            ),
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
            let shown = format!("{caller:?}");
            let mut said = marked(caller);
            said.sort();
            let mut expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            expected.sort();
            assert_eq!(said, expected, "{shown}");
        }
    }
}
