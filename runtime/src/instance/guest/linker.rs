//! Offers guests the interfaces of WASI.
//!
//! All interfaces link. What the app's manifest does not grant (an outbound request), and what no guest gets (a socket), fails
//! with the interface's own error codes.

use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::instance::guest::{Guest, host_objects, key_value, open_files, outgoing_body, sender, stdio};

/// A linker with the interfaces of WASI 0.2 for guests that take one invocation at a time.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    outgoing_body::add_to_linker(&mut linker)?;
    open_files::add_to_linker(&mut linker)?;
    host_objects::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |guest: &mut Guest| guest.hooks.capabilities.config())?;
    key_value::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// A linker with the interfaces of WASI 0.3 and 0.2 for asynchronous guests: their standard libraries still use both.
pub fn async_linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = linker(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    sender::add_to_linker(&mut linker)?;
    open_files::add_to_async_linker(&mut linker)?;
    host_objects::add_to_async_linker(&mut linker)?;
    stdio::add_to_linker(&mut linker)?;
    Ok(linker)
}
