//! Functions that answer HTTP, written with the types of the crate `http`.
//!
//! A function is a library of crate type `cdylib` with one handler. An ordinary `fn` is answered one request at a
//! time in each instance (`wasi:http/incoming-handler@0.2`, feature `sync`):
//!
//! ```
//! use wfn_sdk::{Error, Request, RequestExt, Response, handler};
//!
//! #[handler]
//! fn handle(request: Request) -> Result<Response, Error> {
//!     let name = request.query("name")?.unwrap_or_else(|| "world".to_owned());
//!     Ok(Response::new(format!("hello, {name}\n").into()))
//! }
//! ```
//!
//! An `async fn` shares its instance with others while it waits (`wasi:http/handler@0.3`, feature `async`):
//!
//! ```
//! use wfn_sdk::{Error, Request, Response, handler, wasip3::clocks::monotonic_clock};
//!
//! #[handler]
//! async fn handle(request: Request) -> Result<Response, Error> {
//!     monotonic_clock::wait_for(50_000_000).await;
//!     Ok(Response::new(request.into_body()))
//! }
//! ```
//!
//! A function sends a [`Call`], which a synchronous guest sends and an asynchronous one awaits: [`fetch`] calls other servers and
//! other apps, [`kv`] the app's key-value stores, [`blob`] its containers, [`queue`] its queues, and [`identity`] gets a token
//! that proves which app is calling. Queues, blobs and timers call a function with an [`Event`].
//! Settings and secrets are environment variables ([`std::env::var`]), and granted folders are files ([`std::fs`]).
//!
//! A guest takes one of the two features, because each brings the imports of its world: `wfn-sdk = { version = "0.1",
//! features = ["sync"] }`. Feature `json`, which is on unless turned off, adds [`Json`] and the host's services.
//!
//! Handlers return anything that is [`IntoResponse`]; [`Router`] and [`AsyncRouter`] choose among several. For what this crate
//! does not have, the crates [`http`], [`wasip2`] and [`wasip3`] are re-exported, and [`p2::serve`] and [`p3::serve`] answer
//! single requests of a guest that implements the export itself.

#[cfg(all(feature = "json", any(feature = "sync", feature = "async")))]
pub mod blob;
mod body;
#[cfg(any(feature = "sync", feature = "async"))]
mod call;
mod error;
mod event;
#[cfg(all(feature = "json", any(feature = "sync", feature = "async")))]
pub mod identity;
#[cfg(feature = "json")]
mod json;
#[cfg(all(feature = "json", any(feature = "sync", feature = "async")))]
pub mod kv;
#[cfg(feature = "sync")]
pub mod p2;
#[cfg(feature = "async")]
pub mod p3;
#[cfg(all(feature = "json", any(feature = "sync", feature = "async")))]
pub mod queue;
mod request;
mod response;
mod router;
#[cfg(all(feature = "json", any(feature = "sync", feature = "async")))]
mod service;
#[cfg(feature = "json")]
pub mod timer;

pub use body::Body;
pub use bytes::Bytes;
#[cfg(feature = "sync")]
pub use call::send_all;
#[cfg(any(feature = "sync", feature = "async"))]
pub use call::{Call, CallError, fetch};
pub use error::Error;
pub use event::Event;
pub use http::{self, Method, StatusCode};
#[cfg(feature = "json")]
pub use json::Json;
pub use request::{Request, RequestExt};
pub use response::{IntoResponse, Response};
#[cfg(feature = "async")]
pub use router::AsyncRouter;
pub use router::Router;
#[cfg(feature = "sync")]
pub use wasip2;
#[cfg(feature = "async")]
pub use wasip3;
/// Makes a function the component's HTTP handler: `fn` in WASI 0.2, `async fn` in WASI 0.3.
///
/// It takes a [`Request`] and returns anything that is [`IntoResponse`]; the crate's own page has one example of
/// each. The function itself stays as it is, so tests call it.
pub use wfn_sdk_macros::handler;

/// Exports a synchronous handler; `#[handler]` calls it.
#[cfg(feature = "sync")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_sync {
    ($handler:ident) => {
        const _: () = {
            struct Function;

            impl $crate::wasip2::exports::http::incoming_handler::Guest for Function {
                fn handle(
                    request: $crate::wasip2::http::types::IncomingRequest,
                    out: $crate::wasip2::http::types::ResponseOutparam,
                ) {
                    $crate::p2::serve(request, out, $handler);
                }
            }

    $crate::wasip2::http::proxy::export!(Function with_types_in $crate::wasip2);
        };
    };
}

/// Says what is missing.
#[cfg(not(feature = "sync"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_sync {
    ($handler:ident) => {
        ::core::compile_error!("a handler that is no `async fn` needs wfn-sdk's feature `sync`");
    };
}

/// Exports an asynchronous handler; `#[handler]` calls it.
#[cfg(feature = "async")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_async {
    ($handler:ident) => {
        const _: () = {
            struct Function;

            impl $crate::wasip3::exports::http::handler::Guest for Function {
                async fn handle(
                    request: $crate::wasip3::http::types::Request,
                ) -> ::core::result::Result<
                    $crate::wasip3::http::types::Response,
                    $crate::wasip3::http::types::ErrorCode,
                > {
                    $crate::p3::serve(request, $handler).await
                }
            }

    $crate::wasip3::http::service::export!(Function with_types_in $crate::wasip3);
        };
    };
}

/// Says what is missing.
#[cfg(not(feature = "async"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_async {
    ($handler:ident) => {
        ::core::compile_error!("a handler that is an `async fn` needs wfn-sdk's feature `async`");
    };
}
