//! A thin layer over [`wasip2`] for functions that answer HTTP: read a request, send or stream a response.
//!
//! A function is a library of crate type `cdylib` with one handler:
//!
//! ```
//! use wfn_sdk::{Error, Request, Responder, Response};
//!
//! wfn_sdk::handler!(handle);
//!
//! fn handle(request: Request, responder: Responder) -> Result<(), Error> {
//!     let who = request.query("name").unwrap_or_else(|| "world".to_owned());
//!     responder.send(Response::text(200, format!("hello, {who}\n")))
//! }
//! ```
//!
//! Whatever this crate leaves out is one step away: [`Request::raw`], [`Responder::into_raw`] and the
//! re-exported [`wasip2`].

mod body;
mod error;
pub mod json;
mod query;
mod request;
mod response;

pub use body::{BodyReader, BodyWriter};
pub use error::Error;
pub use request::Request;
pub use response::{Responder, Response};
pub use wasip2;

/// Makes `fn handle(request: Request, responder: Responder) -> Result<(), Error>` the component's HTTP handler.
///
/// An error that `handle` returns is printed on stderr; the host answers the caller itself if no response was
/// begun by then.
#[macro_export]
macro_rules! handler {
    ($handle:path) => {
        struct WfnHandler;

        impl $crate::wasip2::exports::http::incoming_handler::Guest for WfnHandler {
            fn handle(
                request: $crate::wasip2::http::types::IncomingRequest,
                out: $crate::wasip2::http::types::ResponseOutparam,
            ) {
                let request = $crate::Request::new(request);
                let responder = $crate::Responder::new(out);
                if let Err(error) = $handle(request, responder) {
                    eprintln!("failed to answer: {error}");
                }
            }
        }

        $crate::wasip2::http::proxy::export!(WfnHandler with_types_in $crate::wasip2);
    };
}
