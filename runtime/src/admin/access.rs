//! Decides who may use the admin API: holders of the token may do everything. Others who ask from this machine may look, unless
//! the operator forbids it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, StatusCode};

use crate::admin::api::Api;
use crate::admin::error::ApiError;
use crate::admin::listener::Visitor;
use crate::admin::role::Role;

/// Lets only holders of the token through.
pub async fn may_change(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    match api.access.has_token(request.headers_mut()) {
        Some(true) => let_in(Role::Operator, request, next).await,
        Some(false) | None => unauthorized(),
    }
}

/// Stores the role of the caller in the request, for the handler and for the connection.
async fn let_in(role: Role, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(role);
    if let Some(visitor) = request.extensions().get::<Arc<Visitor>>().filter(|_| role == Role::Operator) {
        visitor.shows_token();
    }
    next.run(request).await
}

/// Lets holders of the token through, and, if the host is open to it, callers without one. A page of another site, whose host
/// name points to this machine, could be such a caller. So without the token the request must name an address or `localhost`.
pub async fn may_see(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let role = match api.access.has_token(request.headers_mut()) {
        Some(true) => Role::Operator,
        None if api.access.is_open && is_no_name(request.headers()) => Role::Viewer,
        Some(false) | None => return unauthorized(),
    };
    let_in(role, request, next).await
}

/// Whether the request names an address, or `localhost`, and no other host name.
fn is_no_name(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    hosts.next().is_none()
        && host.is_some_and(|host| {
            let host = host.host().trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
        })
}

fn unauthorized() -> Response {
    let message = "the token is missing or wrong: pass the content of the data directory's token file \
                   (wfn: --token or WFN_TOKEN)";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_addresses_are_no_names() {
        let asked =
            |host: &'static str| is_no_name(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]));
        for address in ["127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]:8081", "10.0.0.7"] {
            assert!(asked(address), "{address}");
        }
        for name in ["evil.example:8081", "127.0.0.1.evil.example", "localhost.evil", "", "a b"] {
            assert!(!asked(name), "{name}");
        }
        assert!(!is_no_name(&HeaderMap::new()));
    }
}
