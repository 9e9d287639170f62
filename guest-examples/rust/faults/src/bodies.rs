//! Faults of bodies: endless, cut off, not as long as promised, read slowly.

use std::io::Read as _;
use std::thread;
use std::time::Duration;

use wfn_sdk::http::header::CONTENT_LENGTH;
use wfn_sdk::{Body, Error, IntoResponse, Request, RequestExt as _, Response};

use crate::{compute, text};

pub(crate) fn endless(_: Request) -> Result<Response, Error> {
    let chunk = [b'x'; 64 * 1024];
    let body = Body::from_writer(move |writer| {
        loop {
            // Ends when the caller has gone: the error is the way out.
            writer.write_all(&chunk)?;
        }
    });
    Ok(body.into_response())
}

pub(crate) fn trap_in_body(_: Request) -> Result<Response, Error> {
    let body = Body::from_writer(|writer| {
        writer.write_all(b"some bytes, then\n")?;
        // The head and these bytes are on their way before the trap.
        writer.flush()?;
        compute::unreachable()
    });
    Ok(body.into_response())
}

pub(crate) fn short(_: Request) -> Result<Response, Error> {
    Ok(Response::builder().header(CONTENT_LENGTH, "10").body("abc".into())?)
}

pub(crate) fn long(_: Request) -> Result<Response, Error> {
    let body = Body::from_writer(|writer| writer.write_all(b"0123456789"));
    Ok(Response::builder().header(CONTENT_LENGTH, "3").body(body)?)
}

pub(crate) fn read_slow(mut request: Request) -> Result<Response, Error> {
    let bytes_max = request.query("bytes")?.unwrap_or(4096usize).max(1);
    let pause = Duration::from_millis(request.query("ms")?.unwrap_or(10));
    let mut chunk = vec![0; bytes_max];
    let mut bytes = 0;
    loop {
        match request.body_mut().read(&mut chunk)? {
            0 => return text(format!("read {bytes} bytes\n")),
            read => bytes += read,
        }
        thread::sleep(pause);
    }
}
