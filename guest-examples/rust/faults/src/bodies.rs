//! Faults of heads and bodies: missing, too large, endless, cut off, not as long as promised, not read.

use wfn_sdk::wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wfn_sdk::{Error, Request, Responder, Response};

use crate::{compute, host};

pub(crate) fn no_response(_: Request, responder: Responder) -> Result<(), Error> {
    drop(responder);
    Ok(())
}

/// Adds headers until all are in or the host refuses one, then answers with what it got, saying how far that was.
pub(crate) fn many_headers(request: Request, responder: Responder) -> Result<(), Error> {
    let n = request.query_u64("n").unwrap_or(10_000);
    let headers = Fields::new();
    let mut added = 0;
    let mut said = "all were taken".to_owned();
    while added < n {
        if let Err(error) = headers.append(&format!("x-header-{added}"), b"0123456789") {
            said = format!("the host refused the next: {error}");
            break;
        }
        added += 1;
    }
    let text = format!("added {added} of {n} headers; {said}\n");
    if added < n {
        return responder.send(Response::text(200, text));
    }
    let response = OutgoingResponse::new(headers);
    let body = response.body().map_err(|()| Error::BodyTaken)?;
    ResponseOutparam::set(responder.into_raw(), Ok(response));
    let stream = body.write().map_err(|()| Error::BodyTaken)?;
    stream.blocking_write_and_flush(text.as_bytes())?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|error| Error::Stream(error.to_string()))
}

pub(crate) fn endless(_: Request, responder: Responder) -> Result<(), Error> {
    let chunk = [b'x'; 64 * 1024];
    let mut writer = responder.start(Response::text(200, ""))?;
    loop {
        // Ends when the caller has gone: the error is the way out.
        writer.write_all(&chunk)?;
    }
}

pub(crate) fn trap_in_body(_: Request, responder: Responder) -> Result<(), Error> {
    let mut writer = responder.start(Response::text(200, "some bytes, then\n"))?;
    // The head and these bytes are on their way before the trap.
    writer.flush()?;
    compute::unreachable()
}

pub(crate) fn short(_: Request, responder: Responder) -> Result<(), Error> {
    let head = Response::text(200, "abc").header("content-length", "10");
    responder.start(head)?.finish()
}

pub(crate) fn long(_: Request, responder: Responder) -> Result<(), Error> {
    let head = Response::text(200, "").header("content-length", "3");
    let mut writer = responder.start(head)?;
    writer.write_all(b"0123456789")?;
    writer.finish()
}

pub(crate) fn read_slow(mut request: Request, responder: Responder) -> Result<(), Error> {
    let bytes_max = request.query_u64("bytes").unwrap_or(4096).max(1);
    let ms = request.query_u64("ms").unwrap_or(10);
    let mut reader = request.take_body()?;
    let mut bytes = 0;
    while let Some(chunk) = reader.read(bytes_max)? {
        bytes += chunk.len();
        host::wait_ms(ms);
    }
    responder.send(Response::text(200, format!("read {bytes} bytes\n")))
}

pub(crate) fn never_read(_: Request, responder: Responder) -> Result<(), Error> {
    responder.send(Response::text(200, "answered without reading\n"))
}
