//! `ANY /v1/apps/{app}/invoke/…`: an invocation through the admin listener, for clients that cannot reach the functions listener.
//! It is dispatched like every other.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use http_body_util::{BodyExt, Limited};
use wasmtime_wasi_http::Error as HttpError;

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::dispatch::dispatch;
use crate::invocation::InvocationId;
use crate::limits;
use crate::names::AppName;
use crate::refusal::{Refusal, mark};
use crate::request::{Caller, Invocation};

/// Calls the app with the rest of the path, not decoded, because decoding could change its meaning.
pub async fn invoke(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let whole = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    // "", "v1", "apps", the app, "invoke" and what may follow.
    let mut segments = whole.splitn(6, '/').skip(3);
    let app = api.registry.app(&AppName::new(segments.next().unwrap_or_default())?)?;
    let rest = match (segments.next().and_then(|invoke| invoke.strip_prefix("invoke")), segments.next()) {
        (_, Some(rest)) => format!("/{rest}"),
        (query, None) => format!("/{}", query.unwrap_or_default()),
    };
    let path = PathAndQuery::try_from(rest)
        .map_err(|_| ApiError::bad_request("bad-request", "the path is not valid"))?;
    let mut uri = parts.uri.into_parts();
    uri.path_and_query = Some(path);
    parts.uri =
        Uri::from_parts(uri).map_err(|_| ApiError::bad_request("bad-request", "the URI is not valid"))?;
    let caller = Caller::Operator { prefix: HeaderValue::from_str(&format!("/{}", app.name())).ok() };
    let body = Limited::new(body, limits::REQUEST_BODY_BYTES_MAX as usize)
        .map_err(|_| HttpError::ConnectionTerminated)
        .boxed_unsync();
    let id = InvocationId::next();
    let request = Box::new(http::Request::from_parts(parts, body));
    let answer = dispatch(&app, Invocation::new(id, caller, request)).await;
    let mut response = answer.unwrap_or_else(|why| Refusal::from(why).into_response());
    mark(&mut response, id);
    Ok(response.map(Body::new))
}
