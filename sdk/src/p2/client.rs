//! Requests that a synchronous function sends: `wasi:http/outgoing-handler@0.2`.

use std::io;

use http::Method;
use wasip2::http::outgoing_handler;
use wasip2::http::types as wasi;

use super::body::{BodyWriter, Incoming, Sender};
use super::{append, fields};
use crate::body::Kind;
use crate::call::CallError;
use crate::{Body, Request, Response};

/// Sends `request`. Its answer can then be awaited with [`finish`].
pub(crate) fn start(request: Request) -> Result<wasi::FutureIncomingResponse, CallError> {
    let (head, body) = request.into_parts();
    let invalid = |what: &str| CallError::Invalid(what.to_owned());
    let outgoing = wasi::OutgoingRequest::new(fields(&head.headers).map_err(CallError::Invalid)?);
    let method = match head.method {
        Method::GET => wasi::Method::Get,
        Method::HEAD => wasi::Method::Head,
        Method::POST => wasi::Method::Post,
        Method::PUT => wasi::Method::Put,
        Method::DELETE => wasi::Method::Delete,
        Method::PATCH => wasi::Method::Patch,
        Method::OPTIONS => wasi::Method::Options,
        other => wasi::Method::Other(other.as_str().to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| invalid("the host refuses the method"))?;
    let scheme = match head.uri.scheme_str() {
        Some("http") => wasi::Scheme::Http,
        Some("https") => wasi::Scheme::Https,
        _ => return Err(invalid("a request to another server needs a whole URI: https://name/path")),
    };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("the host refuses the scheme"))?;
    let authority = head.uri.authority().map(|authority| authority.as_str());
    outgoing.set_authority(authority).map_err(|()| invalid("the host refuses the URI's authority"))?;
    let path = head.uri.path_and_query().map(|path| path.as_str());
    outgoing.set_path_with_query(path).map_err(|()| invalid("the host refuses the path"))?;

    let writer = outgoing.body().map_err(|()| invalid("the request has no body"))?;
    let answer = outgoing_handler::handle(outgoing, None).map_err(|code| failed(&code))?;
    let sent = BodyWriter::new(writer).and_then(|writer| writer.send(body, 0));
    match sent {
        // A server that answers before it has read everything closes the body. Its answer says why.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CallError::Failed(error.to_string())),
        _ => Ok(answer),
    }
}

/// Waits for the answer's head.
pub(crate) fn finish(answer: &wasi::FutureIncomingResponse) -> Result<Response, CallError> {
    let incoming = loop {
        match answer.get() {
            None => answer.subscribe().block(),
            Some(Ok(Ok(incoming))) => break incoming,
            Some(Ok(Err(code))) => return Err(failed(&code)),
            // Cannot happen: the host gives an answer once, and it is asked for once.
            Some(Err(())) => return Err(CallError::Failed("the answer was taken before".to_owned())),
        }
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::from_u16(incoming.status()).map_err(broken)?;
    append(response.headers_mut(), &incoming.headers()).map_err(broken)?;
    *response.body_mut() = Body(Kind::Incoming(Incoming::Unread(Sender::Response(incoming))));
    Ok(response)
}

fn failed(code: &wasi::ErrorCode) -> CallError {
    CallError::Failed(format!("{code:?}"))
}

fn broken(error: impl Into<http::Error>) -> CallError {
    CallError::Failed(format!("the answer is not HTTP: {}", error.into()))
}
