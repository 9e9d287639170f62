//! Synchronous handlers: `wasi:http/incoming-handler@0.2` through the crate `wasip2`.

mod body;
mod client;

use std::io;

use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use wasip2::http::types as wasi;

use crate::body::Kind;
use crate::response::set_content_length;
use crate::{Body, Error, IntoResponse, Request, Response};
use body::{BodyWriter, Sender};
pub(crate) use body::{Incoming, WriteBody};
pub(crate) use client::{finish, start};

/// Answers one invocation by `handler`. `#[handler]` calls this. A guest that implements the export itself can call it
/// too, for some of its requests:
///
/// ```
/// use wfn_sdk::wasip2::exports::http::incoming_handler::Guest;
/// use wfn_sdk::wasip2::http::types::{IncomingRequest, ResponseOutparam};
///
/// struct Function;
///
/// impl Guest for Function {
///     fn handle(request: IncomingRequest, out: ResponseOutparam) {
///         wfn_sdk::p2::serve(request, out, |_| "hello\n");
///     }
/// }
///
/// wfn_sdk::wasip2::http::proxy::export!(Function with_types_in wfn_sdk::wasip2);
/// ```
///
/// If a response cannot be sent, this is printed on stderr, and the host answers or cuts the body off.
pub fn serve<R: IntoResponse>(
    request: wasi::IncomingRequest,
    out: wasi::ResponseOutparam,
    handler: impl FnOnce(Request) -> R,
) {
    let response = match request_from_wasi(request) {
        Ok(request) => handler(request).into_response(),
        Err(error) => error.into_response(),
    };
    if let Err(error) = send(response, out) {
        eprintln!("failed to send the response: {error}");
    }
}

fn request_from_wasi(incoming: wasi::IncomingRequest) -> Result<Request, Error> {
    let bad_request = |error: http::Error| Error::new(StatusCode::BAD_REQUEST, error.to_string());
    let mut uri = Uri::builder().path_and_query(incoming.path_with_query().unwrap_or_else(|| "/".to_owned()));
    if let Some(authority) = incoming.authority() {
        let scheme = match incoming.scheme() {
            Some(wasi::Scheme::Https) => Scheme::HTTPS,
            _ => Scheme::HTTP,
        };
        uri = uri.scheme(scheme).authority(authority);
    }
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri.build().map_err(bad_request)?;
    *request.method_mut() = match incoming.method() {
        wasi::Method::Get => Method::GET,
        wasi::Method::Head => Method::HEAD,
        wasi::Method::Post => Method::POST,
        wasi::Method::Put => Method::PUT,
        wasi::Method::Delete => Method::DELETE,
        wasi::Method::Connect => Method::CONNECT,
        wasi::Method::Options => Method::OPTIONS,
        wasi::Method::Trace => Method::TRACE,
        wasi::Method::Patch => Method::PATCH,
        wasi::Method::Other(name) => {
            Method::from_bytes(name.as_bytes()).map_err(|error| bad_request(error.into()))?
        }
    };
    append(request.headers_mut(), &incoming.headers()).map_err(bad_request)?;
    *request.body_mut() = Body(Kind::Incoming(Incoming::Unread(Sender::Request(incoming))));
    Ok(request)
}

fn send(mut response: Response, out: wasi::ResponseOutparam) -> io::Result<()> {
    set_content_length(&mut response);
    let head = match head(&response) {
        Ok(head) => head,
        Err(refused) => {
            let told = wasi::ErrorCode::InternalError(Some(refused.clone()));
            wasi::ResponseOutparam::set(out, Err(told));
            return Err(io::Error::other(refused));
        }
    };
    let mut writer =
        BodyWriter::new(head.body().map_err(|()| io::Error::other("the response has no body"))?)?;
    let body = response.into_body();
    // The bytes that the host takes before it has the head are sent in one piece with the head. Waiting until it takes
    // more could last for ever, because the head is not sent yet.
    let early = match &body.0 {
        Kind::Bytes(bytes) => writer.write_without_waiting(bytes),
        _ => 0,
    };
    wasi::ResponseOutparam::set(out, Ok(head));
    writer.send(body, early)
}

/// Status and headers as the host's type, or what the host refuses.
fn head(response: &Response) -> Result<wasi::OutgoingResponse, String> {
    let head = wasi::OutgoingResponse::new(fields(response.headers())?);
    let status = response.status().as_u16();
    head.set_status_code(status).map_err(|()| format!("the host refuses status {status}"))?;
    Ok(head)
}

/// Headers as the host's type, or what the host refuses.
fn fields(headers: &HeaderMap) -> Result<wasi::Fields, String> {
    let headers: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect();
    wasi::Fields::from_list(&headers).map_err(|error| error.to_string())
}

/// Adds the host's headers to `headers`.
fn append(headers: &mut HeaderMap, fields: &wasi::Fields) -> Result<(), http::Error> {
    for (name, value) in fields.entries() {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(())
}
