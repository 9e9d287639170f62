//! One HTTP request: checked, routed, rewritten for the guest, dispatched, marked.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;

use crate::app::running::App;
use crate::caller::Caller;
use crate::capability::CapabilityHost;
use crate::dispatch::dispatch;
use crate::ingress::answer::{Refusal, mark};
use crate::ingress::body::{BodyError, RequestBody};
use crate::ingress::health::Health;
use crate::ingress::route::Routes;
use crate::instance::response::ResponseBody;
use crate::invocation::InvocationId;
use crate::limits;

/// The routes as they are now, read without a lock.
pub type LiveRoutes = ArcSwap<Routes<Arc<App>>>;

/// What requests of one connection have in common.
pub struct Client {
    routes: Arc<LiveRoutes>,
    capabilities: Arc<CapabilityHost>,
    health: Arc<Health>,
    address: HeaderValue,
}

impl Client {
    /// A connection from `peer`.
    pub fn new(
        routes: Arc<LiveRoutes>,
        capabilities: Arc<CapabilityHost>,
        health: Arc<Health>,
        peer: SocketAddr,
    ) -> Self {
        let address = HeaderValue::try_from(peer.ip().to_string())
            // The text of an IP address is always a valid header value.
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { routes, capabilities, health, address }
    }

    /// Answers one request; never fails, because every failure has an answer.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let invocation = InvocationId::next();
        let mut response = match self.try_answer(request, invocation).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        mark(&mut response, invocation);
        response
    }

    async fn try_answer(
        &self,
        request: Request<Incoming>,
        invocation: InvocationId,
    ) -> Result<Response<ResponseBody>, Refusal> {
        // Of no app, and asked by those who do not know a host's name.
        if let Some(answer) = self.health.answer(request.uri().path()) {
            return answer;
        }
        // Kept to the end: taking a share of the app would make the cores wait for each other.
        let routes = self.routes.load();
        let Some(found) = routes.find(authority(&request)?, request.uri().path()) else {
            let path = request.uri().path();
            // No app has a name that begins with a dot.
            if let Some(answer) = self.capabilities.identity().published(path) {
                return Ok(published(answer));
            }
            if self.health.is_coming() {
                return Box::pin(self.answer_when_back(request, invocation)).await;
            }
            return Err(no_route(path));
        };
        let (parts, body, prefix) = for_guest(request, found.prefix_length)?;
        let body = RequestBody::new(body).into_guest_body().await.map_err(refuse_body)?;
        let request = Box::new(Request::from_parts(parts, body));
        let caller = Caller::Client { address: self.address.clone(), prefix };
        dispatch(found.target, caller, request, invocation).await
    }

    /// Answers a request for an app that may be coming back, when it has, or when no more will come.
    async fn answer_when_back(
        &self,
        request: Request<Incoming>,
        invocation: InvocationId,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let is_back = || {
            let found = authority(&request)
                .map(|authority| self.routes.load().find(authority, request.uri().path()).is_some());
            found.unwrap_or(true)
        };
        self.health.wait_until(is_back).await?;
        self.try_answer(request, invocation).await
    }
}

/// The request as the guest is to see it: without the first `prefix_length` bytes of its path, and these bytes.
fn for_guest(
    request: Request<Incoming>,
    prefix_length: usize,
) -> Result<(request::Parts, Incoming, Option<HeaderValue>), Refusal> {
    let (mut parts, body) = request.into_parts();
    let mut prefix = None;
    if prefix_length > 0 {
        let stripped = HeaderValue::from_str(&parts.uri.path()[..prefix_length]);
        prefix = Some(stripped.map_err(|_| bad_request("the path is not valid"))?);
        parts.uri = strip(&parts.uri, prefix_length)?;
    }
    check_length(parts.headers.get(CONTENT_LENGTH))?;
    Ok((parts, body, prefix))
}

/// Checks what hyper lets through: exactly one host, and one that is text.
fn authority(request: &Request<Incoming>) -> Result<&str, Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad_request("there is more than one Host header"));
    }
    let authority = match (request.uri().authority(), host) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| bad_request("the Host header is not text"))?,
        (None, None) => return Err(bad_request("there is no Host header")),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:[]%".contains(&byte);
    if authority.is_empty() || authority.len() > 255 || !authority.bytes().all(is_plain) {
        return Err(bad_request("the host is not a valid name or address"));
    }
    Ok(authority)
}

fn check_length(length: Option<&HeaderValue>) -> Result<(), Refusal> {
    let bytes = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match bytes {
        Some(bytes) if bytes > limits::REQUEST_BODY_BYTES_MAX => Err(refuse_body(BodyError::TooLarge)),
        _ => Ok(()),
    }
}

/// The URI without the first `prefix_length` bytes of its path.
fn strip(uri: &Uri, prefix_length: usize) -> Result<Uri, Refusal> {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = &whole[prefix_length..];
    let stripped = match rest.as_bytes() {
        [] | [b'/'] => PathAndQuery::from_static("/"),
        [b'/', ..] => PathAndQuery::try_from(rest).map_err(|_| bad_request("the path is not valid"))?,
        _ => PathAndQuery::try_from(format!("/{rest}")).map_err(|_| bad_request("the path is not valid"))?,
    };
    if uri.authority().is_none() {
        return Ok(Uri::from(stripped));
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(stripped);
    Uri::from_parts(parts).map_err(|_| bad_request("the URI is not valid"))
}

fn bad_request(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why)
}

/// What everybody may read: it changes rarely, and is asked for by whoever checks tokens.
fn published(value: serde_json::Value) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::host(value.to_string() + "\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

fn no_route(path: &str) -> Refusal {
    let shown: String = path.chars().take(100).collect();
    let message = format!("no app answers at {shown:?}; 'wfn ls' shows what is deployed");
    Refusal::new(StatusCode::NOT_FOUND, "no-route", message)
}

fn refuse_body(error: BodyError) -> Refusal {
    let (status, code) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "body-broken"),
    };
    Refusal::new(status, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_stripped_and_the_query_kept() {
        for (uri, expected) in [
            ("/hello", "/"),
            ("/hello/", "/"),
            ("/hello/a?b=c", "/a?b=c"),
            ("/hello?b=c", "/?b=c"),
            ("http://h/hello/a", "http://h/a"),
        ] {
            assert_eq!(strip(&uri.parse().unwrap(), 6).unwrap().to_string(), expected, "{uri}");
        }
    }
}
