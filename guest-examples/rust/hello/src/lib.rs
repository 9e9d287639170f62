//! The smallest guest: answers one line of text to every request, and is what the benchmarks call.
//!
//! Without `std` the component imports `wasi:io` and `wasi:http` alone and needs no libc, so a host instantiates
//! it faster; answering allocates nothing. `html-parse` shows how to write an ordinary guest. Natively (for
//! clippy) this is an ordinary library.

#![cfg_attr(target_family = "wasm", no_std)]

#[cfg(target_family = "wasm")]
mod without_std;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

const GREETING: &[u8] = b"Hello from wfn!\n";

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        answer(out).expect("a new response takes one header and one body");
    }
}

wasip2::http::proxy::export!(Hello);

/// Answers with [`GREETING`], in one piece with the head where the host takes bytes that early.
fn answer(out: ResponseOutparam) -> Result<(), ()> {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain").map_err(drop)?;
    let response = OutgoingResponse::new(headers);
    let body = response.body()?;
    let stream = body.write()?;
    if write_at_once(&stream) {
        drop(stream);
        OutgoingBody::finish(body, None).map_err(drop)?;
        ResponseOutparam::set(out, Ok(response));
    } else {
        ResponseOutparam::set(out, Ok(response));
        stream.blocking_write_and_flush(GREETING).map_err(drop)?;
        drop(stream);
        OutgoingBody::finish(body, None).map_err(drop)?;
    }
    Ok(())
}

/// Writes [`GREETING`] if the host has room for it before the response is handed over; never waits.
fn write_at_once(stream: &OutputStream) -> bool {
    stream.check_write().is_ok_and(|permit| permit >= GREETING.len() as u64) && stream.write(GREETING).is_ok()
}
