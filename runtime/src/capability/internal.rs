//! `http://wfn.internal/…`: services for guests that the host itself answers, without a socket. Every language has an
//! HTTP client.
//!
//! `/settings[/NAME]` are the app's own settings; `/kv/STORE[/KEY]` are key-value stores ([`key_value::http`]);
//! `/blobs/CONTAINER[/NAME]` are blobs ([`blobs::http`]); `/queues/QUEUE` takes messages ([`queues::http`]);
//! `/kdf/scrypt` and `/kdf/pbkdf2` compute keys from passwords ([`key_derivation`]);
//! `/identity/token?audience=NAME` gives a token that proves to others which app calls. `/apps/NAME/…` calls another
//! app through `dispatch`, like every invocation, if `allowed_outbound_hosts` has an entry `http://NAME.wfn.internal`
//! or `http://*.wfn.internal`. A request to that host name does the same.

use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use crate::capability::outbound::SendError;
use crate::capability::response::{json, refused, text};
use crate::capability::{Capabilities, blobs, identity, key_derivation, key_value, queues};
use crate::manifest::egress::{Destination, Scheme};
use crate::meter::output::GuestOutput;
use crate::refusal::Refusal;
use crate::{clock, limits};

/// The name of the host itself.
const HOST: &str = "wfn.internal";

/// What a request to `wfn.internal` is for.
pub enum Service {
    /// The host's own services.
    Host,
    /// The app of this name.
    App(String),
}

/// What `destination` is for, if it is `wfn.internal` or a name below it.
pub fn service(destination: &Destination) -> Option<Service> {
    if destination.scheme != Scheme::Http || destination.port != Scheme::Http.default_port() {
        return None;
    }
    match destination.host.strip_suffix(HOST)? {
        "" => Some(Service::Host),
        below => below.strip_suffix('.').map(|app| Service::App(app.to_owned())),
    }
}

/// Answers a request to the host's own services.
pub async fn answer(
    capabilities: &Capabilities,
    request: Request<WasiBody>,
    output: &GuestOutput,
    depth: u32,
) -> Result<Response<WasiBody>, SendError> {
    let path = request.uri().path().to_owned();
    let (first, rest) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match first {
        "settings" => Ok(settings(capabilities, rest)),
        "kv" => Ok(key_value::http::answer(capabilities, rest, request, output).await),
        "blobs" => Ok(blobs::http::answer(capabilities, rest, request, output).await),
        "kdf" => {
            let (derivation, turn) = (capabilities.host().key_derivation(), capabilities.key_turn());
            Ok(key_derivation::answer(derivation, turn, rest, request).await)
        }
        "queues" => Ok(queues::http::answer(capabilities, rest, request, output).await),
        "apps" => {
            let name = rest.split('/').next().unwrap_or_default();
            let prefix = "/apps/".len() + name.len();
            call(capabilities, name, request, prefix, depth).await
        }
        "identity" if rest == "token" => Ok(token(capabilities, request.uri().query().unwrap_or_default())),
        _ => {
            let message = "http://wfn.internal has /settings, /kv/STORE/KEY, /blobs/CONTAINER/NAME, /queues/QUEUE, /kdf/scrypt, /kdf/pbkdf2, /apps/NAME/ and /identity/token?audience=NAME";
            Ok(refused(Refusal::new(StatusCode::NOT_FOUND, "no-such-path", message)))
        }
    }
}

fn settings(capabilities: &Capabilities, name: &str) -> Response<WasiBody> {
    let settings = capabilities.env();
    if name.is_empty() {
        let all: serde_json::Map<String, serde_json::Value> =
            settings.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        return json(StatusCode::OK, &all.into());
    }
    match settings.iter().find(|(known, _)| known == name) {
        Some((_, value)) => text(StatusCode::OK, value.clone()),
        None => {
            refused(Refusal::new(StatusCode::NOT_FOUND, "no-such-setting", "the app has no such setting"))
        }
    }
}

/// Answers with a token by which the app proves to others who it is.
fn token(capabilities: &Capabilities, query: &str) -> Response<WasiBody> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let audience = pairs.find(|(name, _)| name == "audience").map(|(_, value)| value);
    let Some(audience) = audience.filter(|audience| identity::is_audience(audience)) else {
        let message = "say whom the token is for: /identity/token?audience=NAME, without spaces";
        return refused(Refusal::new(StatusCode::BAD_REQUEST, "bad-request", message));
    };
    match capabilities.host().identity().token(capabilities.app(), &audience, clock::now_ms()) {
        Some(token) => {
            let shown = serde_json::json!({
                "access_token": token.text,
                "token_type": "Bearer",
                "expires_in": token.expires_in.as_secs(),
                "expires_on": token.expires_on,
            });
            json(StatusCode::OK, &shown)
        }
        None => {
            let message = "the host has no signing key; see its log";
            refused(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no-identity", message))
        }
    }
}

/// Calls the app `name`. The first `prefix` bytes of the path are removed.
pub async fn call(
    capabilities: &Capabilities,
    name: &str,
    request: Request<WasiBody>,
    prefix: usize,
    depth: u32,
) -> Result<Response<WasiBody>, SendError> {
    let destination = Destination { scheme: Scheme::Http, host: format!("{name}.{HOST}"), port: 80 };
    capabilities.egress().may_ask(&destination).map_err(SendError::Refused)?;
    if depth >= limits::CALL_DEPTH_MAX {
        return Err(SendError::Http(HttpError::LoopDetected));
    }
    let (mut parts, body) = request.into_parts();
    let whole = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.get(prefix..).unwrap_or_default();
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let path = PathAndQuery::try_from(rest).map_err(|_| SendError::Http(HttpError::HttpRequestUriInvalid))?;
    parts.uri = Uri::from(path);
    let host = HeaderValue::from_str(&destination.host);
    parts
        .headers
        .insert(http::header::HOST, host.map_err(|_| SendError::Http(HttpError::HttpRequestUriInvalid))?);
    let request = Box::new(Request::from_parts(parts, body));
    let neighbours = capabilities.host().neighbours();
    let answer = neighbours.call(name, capabilities.app(), depth + 1, request).await;
    Ok(answer.unwrap_or_else(|| {
        let message = format!("no app {name:?} is deployed");
        refused(Refusal::new(StatusCode::NOT_FOUND, "no-route", message))
    }))
}
