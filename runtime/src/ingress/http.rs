//! Handles one HTTP request: checks it, finds its app, rewrites it for the guest and dispatches it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::app::LiveRoutes;
use crate::app::route::Routes;
use crate::app::running::App;
use crate::capability::CapabilityHost;
use crate::dispatch::{NotRun, dispatch};
use crate::ingress::body::RequestBody;
use crate::ingress::head;
use crate::ingress::health::Health;
use crate::ingress::watch::Watch;
use crate::invocation::{BodyError, InvocationId};
use crate::refusal::{Refusal, mark};
use crate::request::{Caller, GuestRequest, Invocation};
use crate::run::response::ResponseBody;
use crate::tls::challenges::Challenges;

/// Methods that the host itself answers at paths where no app does.
const OWN_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// What answers requests.
pub struct Served {
    /// Which app answers which.
    pub routes: Arc<LiveRoutes>,
    /// What the host's own answers need.
    pub capabilities: Arc<CapabilityHost>,
    /// The health checks.
    pub health: Arc<Health>,
    /// What certificate authorities ask for.
    pub challenges: Arc<Challenges>,
    /// The port of HTTPS, if requests without TLS are to be sent there.
    pub redirects_to: Option<u16>,
}

/// What requests of one connection have in common.
pub struct Client {
    served: Arc<Served>,
    address: HeaderValue,
    local: Option<SocketAddr>,
    is_secure: bool,
}

/// The host's own answer to a request that goes to no app.
struct Own(Box<Response<ResponseBody>>);

impl From<Refusal> for Own {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal.into_response()))
    }
}

impl Client {
    /// Makes the client of a connection from `peer` to `local`, which `is_secure` if it has TLS.
    pub fn new(served: Arc<Served>, peer: SocketAddr, local: Option<SocketAddr>, is_secure: bool) -> Self {
        let address = HeaderValue::try_from(peer.ip().to_string())
            // The text of an IP address is always a valid header value.
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { served, address, local, is_secure }
    }

    /// Answers one request of the connection of `watch`. Never fails, because every failure has an answer.
    pub async fn answer(
        &self,
        mut request: GuestRequest,
        body: RequestBody,
        watch: &Watch,
    ) -> Response<ResponseBody> {
        let invocation = InvocationId::next();
        let is_head = *request.method() == Method::HEAD;
        let waited = match self.served.health.is_coming() {
            true => Box::pin(self.wait_for_app(request.uri(), request.headers())).await,
            false => Ok(()),
        };
        // The guard is kept to the end. Cloning the app's `Arc` would make the cores wait for each other.
        let routes = self.served.routes.load();
        let admitted = waited.map_err(Own::from).and_then(|()| self.admit(&routes, &mut request, &body));
        let mut response = match admitted {
            Ok((app, prefix)) => {
                let (address, is_secure) = (self.address.clone(), self.is_secure);
                let caller = Caller::Client { address, prefix, is_secure };
                call(app, caller, request, body, invocation).await.unwrap_or_else(Refusal::into_response)
            }
            Err(Own(answer)) => {
                // A client that waits for permission before it sends the body need not send it.
                match request.headers().contains_key(EXPECT) {
                    true => drop(body),
                    false => body.discard().await,
                }
                *answer
            }
        };
        mark(&mut response, invocation);
        if is_head {
            response = without_content(response);
        }
        watch.mark_last(response.headers_mut());
        response
    }

    /// Waits for an app that may be coming back after a start, until it has, or until no more will come.
    async fn wait_for_app(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let path = uri.path();
        let host = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => head::host(headers).unwrap_or_default(),
        };
        let is_back = || self.served.routes.load().find(host, path).is_some();
        if self.served.health.answer(path).is_some() {
            Ok(())
        } else {
            self.served.health.wait_until(is_back).await
        }
    }

    /// Returns the app that answers the request, and what was stripped from its path. Rewrites the request into the form that
    /// guests see, whichever way it came.
    fn admit<'r>(
        &self,
        routes: &'r Routes<Arc<App>>,
        request: &mut GuestRequest,
        body: &RequestBody,
    ) -> Result<(&'r Arc<App>, Option<HeaderValue>), Own> {
        head::check(request, body.is_chunked())?;
        // Health checks belong to no app, and who asks them need not know a host name.
        if let Some(answer) = self.served.health.answer(request.uri().path()) {
            return Err(answer.map_or_else(Own::from, |answer| Own(Box::new(answer))));
        }
        if let Some(text) = self.served.challenges.text(request.uri().path()) {
            return Err(Own(Box::new(Response::new(ResponseBody::host(text)))));
        }
        head::settle_host(request, self.local)?;
        let authority = head::host(request.headers())?;
        if let Some(port) = self.served.redirects_to.filter(|_| !self.is_secure) {
            return Err(Own(Box::new(redirect(authority, port, request.uri())?)));
        }
        let path = request.uri().path();
        let Some(found) = routes.find(authority, path) else { return Err(self.own(request.method(), path)) };
        let mut prefix = None;
        if found.prefix_length > 0 {
            let stripped = HeaderValue::from_str(&path[..found.prefix_length]);
            prefix = Some(stripped.map_err(|_| head::bad_request("the path is not valid"))?);
            *request.uri_mut() = strip(request.uri(), found.prefix_length)?;
        }
        if body.is_too_large() {
            return Err(Refusal::from(BodyError::TooLarge).into());
        }
        Ok((found.target, prefix))
    }

    /// Returns the host's own answer at a path where no app answers.
    fn own(&self, method: &Method, path: &str) -> Own {
        // No app has a name that begins with a dot.
        if let Some(document) = self.served.capabilities.identity().published(path) {
            return Own(Box::new(published(document)));
        }
        if method == Method::OPTIONS && matches!(path, "*" | "/") {
            // `OPTIONS *` asks about the host as a whole (RFC 9110, 9.3.7). Proxies use it to check that it lives.
            let mut response = Response::new(ResponseBody::none());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(ALLOW, OWN_METHODS);
            return Own(Box::new(response));
        }
        no_route(path).into()
    }
}

/// Dispatches the request to `app`. If the request's body fails while the function reads it, that failure is the answer.
async fn call(
    app: &App,
    caller: Caller,
    mut request: GuestRequest,
    body: RequestBody,
    id: InvocationId,
) -> Result<Response<ResponseBody>, Refusal> {
    let (body, verdict) = body.into_guest_body().await?;
    *request.body_mut() = body;
    let mut invocation = Invocation::new(id, caller, request);
    invocation.body.clone_from(&verdict);
    let answered = dispatch(app, invocation).await;
    let may_follow = match &answered {
        // Nothing was sent yet. The function's answer to half a body is of no use, and does not give the reason.
        Ok(_) => true,
        Err(NotRun::Ended(outcome)) => outcome.may_follow_from_body(),
        Err(_) => false,
    };
    match verdict.and_then(|verdict| verdict.get()).filter(|_| may_follow) {
        Some(error) => Err(error.into()),
        None => answered.map_err(Refusal::from),
    }
}

/// Returns the answer to a HEAD: that of a GET, without its content.
fn without_content(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    if let Some(bytes) = body.own_bytes() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    Response::from_parts(parts, ResponseBody::none())
}

/// Returns the path and query of `uri` without the first `prefix_length` bytes.
fn strip(uri: &Uri, prefix_length: usize) -> Result<Uri, Refusal> {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = &whole[prefix_length..];
    let stripped = match rest.as_bytes() {
        [] | [b'/'] => Ok(PathAndQuery::from_static("/")),
        [b'/', ..] => PathAndQuery::try_from(rest),
        _ => PathAndQuery::try_from(format!("/{rest}")),
    };
    stripped.map(Uri::from).map_err(|_| head::bad_request("the path is not valid"))
}

/// Sends the client to the same address with HTTPS (RFC 9110, 15.4.9).
fn redirect(authority: &str, port: u16, uri: &Uri) -> Result<Response<ResponseBody>, Refusal> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let location = HeaderValue::try_from(format!("https://{host}{port}{path}"));
    let mut response = Response::new(ResponseBody::none());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let location = location.map_err(|_| head::bad_request("the path is not valid"))?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Returns a public document, for example the keys with which other services check tokens. It changes rarely.
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
            ("http://h/hello/a", "/a"),
        ] {
            assert_eq!(strip(&uri.parse().unwrap(), 6).unwrap().to_string(), expected, "{uri}");
        }
    }
}
