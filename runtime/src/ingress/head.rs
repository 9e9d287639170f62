//! Checks the heads of requests of all versions of HTTP: refuses what must be refused, and brings different forms of the same
//! request into one.

use std::net::SocketAddr;

use http::header::{COOKIE, HOST, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

use crate::limits;
use crate::refusal::Refusal;

/// Returns the refusal of a request that breaks HTTP.
pub fn bad_request(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why)
}

/// Refuses a request that is well-formed but cannot be served. `is_chunked` says whether it has a body without a length. Joins
/// cookie fields, which HTTP/2 may split, to one (RFC 9113, 8.2.3).
pub fn check<B>(request: &mut Request<B>, is_chunked: bool) -> Result<(), Refusal> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        let message = format!("this host does not do {}", request.method());
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", message));
    }
    let path = request.uri().path();
    let is_of_the_host = path == "*" && *request.method() == Method::OPTIONS;
    if !path.starts_with('/') && !is_of_the_host {
        return Err(bad_request("the request's target is neither a path nor a URL"));
    }
    if is_chunked {
        check_coding(request.headers())?;
    }
    if request.version() == Version::HTTP_2 {
        check_count(request.headers())?;
        join_cookies(request.headers_mut());
    }
    Ok(())
}

/// Refuses every transfer coding of the body except chunked (RFC 9112, 6.1).
fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => {
            let message = "this host takes no Transfer-Encoding but chunked";
            Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", message))
        }
    }
}

/// Refuses too many header fields: the limit that hyper keeps for HTTP/1.
fn check_count(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() <= limits::HEADERS_MAX {
        return Ok(());
    }
    let message = format!("the request has more than {} header fields", limits::HEADERS_MAX);
    Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", message))
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Valid values joined by this are a valid value.
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Puts the name or address that the request is for into its one `Host` field, whichever way it came, and leaves only a path as
/// its target. Where an old client names none, it is the address it connected to, `local`.
pub fn settle_host<B>(request: &mut Request<B>, local: Option<SocketAddr>) -> Result<(), Refusal> {
    let Some(authority) = request.uri().authority() else {
        if let (Version::HTTP_10, Some(local)) = (request.version(), local)
            && !request.headers().contains_key(HOST)
        {
            request
                .headers_mut()
                .extend(HeaderValue::try_from(local.to_string()).ok().map(|local| (HOST, local)));
        }
        return Ok(());
    };
    let mut stated = request.headers().get_all(HOST).iter();
    match (stated.next(), stated.next(), request.version()) {
        (_, Some(_), _) => return Err(bad_request("there is more than one Host header")),
        (None, _, Version::HTTP_11) => return Err(bad_request("there is no Host header")),
        (Some(host), _, Version::HTTP_2)
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            return Err(bad_request(":authority and host differ"));
        }
        _ => {}
    }
    // The host in the target takes precedence over the field (RFC 9112, 3.2.2).
    let host = HeaderValue::from_str(authority.as_str());
    request
        .headers_mut()
        .insert(HOST, host.map_err(|_| bad_request("the host is not a valid name or address"))?);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok(())
}

/// Returns the one host that `headers` name.
pub fn host(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = host.to_str().ok().filter(|host| is_authority(host));
            host.ok_or_else(|| bad_request("the host is not a valid name or address"))
        }
        (None, _) => Err(bad_request("there is no Host header")),
        (Some(_), Some(_)) => Err(bad_request("there is more than one Host header")),
    }
}

/// Whether `text` is a name or an address, perhaps with a port.
fn is_authority(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:[]%".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let request = hosts
            .iter()
            .fold(http::Request::get(uri).version(version), |request, host| request.header(HOST, *host));
        request.body(()).unwrap()
    }

    #[test]
    fn a_host_is_found_where_each_version_has_it() {
        let local = "10.0.0.1:80".parse().ok();
        let (old, one, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, expected) in [
            (one, "/x?y", &["a:1"][..], Ok(("a:1", "/x?y"))),
            (one, "http://b/x", &["a"], Ok(("b", "/x"))),
            (one, "http://b", &["a"], Ok(("b", "/"))),
            (one, "http://b/x", &[], Err("no Host")),
            (one, "/x", &[], Err("no Host")),
            (one, "/x", &["a", "a"], Err("more than one")),
            (one, "http://b/x", &["a", "a"], Err("more than one")),
            (one, "/x", &["a b"], Err("not a valid name")),
            (one, "/x", &[""], Err("not a valid name")),
            (one, "http://u@b/x", &["b"], Err("not a valid name")),
            (old, "/x", &[], Ok(("10.0.0.1:80", "/x"))),
            (old, "/x", &["a"], Ok(("a", "/x"))),
            (two, "https://b/x", &[], Ok(("b", "/x"))),
            (two, "https://b/x", &["B"], Ok(("b", "/x"))),
            (two, "https://b/x", &["c"], Err("differ")),
            (two, "/x", &["c"], Ok(("c", "/x"))),
        ] {
            let mut request = request(version, uri, hosts);
            let settled =
                settle_host(&mut request, local).and_then(|()| host(request.headers()).map(str::to_owned));
            let settled = settled.map_err(|refusal| refusal.message);
            match (settled, expected) {
                (Ok(host), Ok((expected, path))) => {
                    assert_eq!(
                        (host.as_str(), request.uri().to_string().as_str()),
                        (expected, path),
                        "{uri}"
                    );
                    assert_eq!(request.headers().get(HOST).unwrap(), expected);
                }
                (Err(message), Err(part)) => assert!(message.contains(part), "{uri} {hosts:?}: {message}"),
                (settled, expected) => panic!("{uri} {hosts:?}: {settled:?} instead of {expected:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn cookies_become_one_field_and_lose_nothing(crumbs in prop::collection::vec("[a-z]=[!-:<-~]{0,9}", 0..6)) {
            let mut headers = HeaderMap::new();
            for crumb in &crumbs {
                headers.append(COOKIE, HeaderValue::from_str(crumb).unwrap());
            }
            join_cookies(&mut headers);
            let fields: Vec<_> = headers.get_all(COOKIE).iter().collect();
            prop_assert_eq!(fields.len(), crumbs.len().min(1));
            prop_assert_eq!(fields.first().map_or("", |field| field.to_str().unwrap()), crumbs.join("; "));
        }
    }
}
