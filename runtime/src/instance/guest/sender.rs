//! Finds out which invocation sends a request, where several run in one store.
//!
//! The requests that an invocation sends inherit its depth of calls from app to app, and its trace. The library's functions do
//! not say which of several guest tasks calls them, but the store knows which one runs.

use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{RequestOptions, WasiHttp, WasiHttpView};

use crate::instance::guest::Guest;

/// Notes that the guest task that runs in `store` is about to send a request.
fn note_sender(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    // The last entry is the task that the host began.
    let task = store.async_call_stack()?.last();
    store.data_mut().sends(task);
    Ok(())
}

/// Replaces the library's functions by functions that know their caller.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/outgoing-handler@0.2.12")?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, Guest>,
         (request, options): (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>)| {
            note_sender(store.as_context_mut())?;
            let sent = outgoing_handler::Host::handle(&mut store.data_mut().http(), request, options);
            let sent: Result<Resource<HostFutureIncomingResponse>, _> = match sent {
                Ok(response) => Ok(response),
                Err(error) => Err(error.downcast()?),
            };
            Ok((sent,))
        },
    )?;
    linker.instance("wasi:http/client@0.3.0")?.func_wrap_concurrent(
        "send",
        |accessor: &Accessor<Guest>, (request,): (Resource<Request>,)| {
            Box::pin(async move {
                // No other guest task runs between this note and the library's use of it.
                accessor.with(|mut store| note_sender(store.as_context_mut()))?;
                let http = accessor.with_getter::<WasiHttp>(Guest::http);
                let answered: Result<Resource<Response>, _> = match WasiHttp::send(&http, request).await {
                    Ok(response) => Ok(response),
                    Err(error) => Err(error.downcast()?),
                };
                Ok((answered,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
