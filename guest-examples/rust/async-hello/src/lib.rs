//! The smallest asynchronous guest: `hello` as `wasi:http/handler@0.3`, and what the benchmarks compare with it.
//!
//! Without `std` it imports `wasi:http` 0.3 alone. Natively (for clippy) this is an ordinary library.

#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

#[cfg(target_family = "wasm")]
#[path = "../../hello/src/without_std.rs"]
mod without_std;

use alloc::borrow::ToOwned as _;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

const GREETING: &[u8] = b"Hello from wfn!\n";

struct Hello;

impl Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        headers
            .append("content-type", b"text/plain")
            .map_err(|_| ErrorCode::InternalError(Some("the host refuses a header".to_owned())))?;
        let (mut body, contents) = wit_stream::new();
        // Nobody writes trailers, so the host gets the default: there are none.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        // The host reads the body once it has the response, so writing must not wait before it is returned. What
        // is left unwritten is for a caller who has gone.
        spawn_local(async move { drop(body.write_all(GREETING.to_owned()).await) });
        Ok(response)
    }
}

wasip3::http::service::export!(Hello);
