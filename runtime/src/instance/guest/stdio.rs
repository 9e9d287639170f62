//! Finds out which invocation of an asynchronous worker writes to stdout or stderr. The library does not tell its streams who
//! calls them, so its functions that write are replaced.

use wasmtime::component::{Access, Linker, Resource, ResourceTable, StreamReader};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::io::streams::{self, HostOutputStream};
use wasmtime_wasi::p2::{DynOutputStream, StreamResult};
use wasmtime_wasi::p3::bindings::cli::{stderr, stdout};

use crate::instance::guest::Guest;

/// The interfaces by their names in the library's linker: of WASI 0.2, which standard libraries still use, and of 0.3.
const STREAMS: &str = "wasi:io/streams@0.2.12";
const STDOUT: &str = "wasi:cli/stdout@0.3.0";
const STDERR: &str = "wasi:cli/stderr@0.3.0";

/// Replaces the library's functions, and calls them.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut streams = linker.instance(STREAMS)?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut store: StoreContextMut<'_, Guest>, (stream, bytes): (Resource<DynOutputStream>, Vec<u8>)| {
            name_writer(&mut store)?;
            let written = table(&mut store).write(stream, bytes);
            answer(&mut store, written)
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: StoreContextMut<'_, Guest>, (stream, bytes): (Resource<DynOutputStream>, Vec<u8>)| {
            Box::new(async move {
                // An output stream writes before it can wait for anything.
                name_writer(&mut store)?;
                let written = table(&mut store).blocking_write_and_flush(stream, bytes).await;
                answer(&mut store, written)
            })
        },
    )?;
    let write_via_stream = "write-via-stream";
    linker.instance(STDOUT)?.func_wrap(
        write_via_stream,
        |mut store: StoreContextMut<'_, Guest>, (text,): (StreamReader<u8>,)| {
            name_writer(&mut store)?;
            let access = Access::<_, WasiCli>::new(store, Guest::cli);
            Ok((<WasiCli as stdout::HostWithStore<Guest>>::write_via_stream(access, text)?,))
        },
    )?;
    linker.instance(STDERR)?.func_wrap(
        write_via_stream,
        |mut store: StoreContextMut<'_, Guest>, (text,): (StreamReader<u8>,)| {
            name_writer(&mut store)?;
            let access = Access::<_, WasiCli>::new(store, Guest::cli);
            Ok((<WasiCli as stderr::HostWithStore<Guest>>::write_via_stream(access, text)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Notes in the worker's output who writes next.
fn name_writer(store: &mut StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    let task = store.as_context_mut().async_call_stack()?.last();
    store.data_mut().writes(task);
    Ok(())
}

fn table<'a>(store: &'a mut StoreContextMut<'_, Guest>) -> &'a mut ResourceTable {
    wasmtime_wasi::WasiView::ctx(store.data_mut()).table
}

/// Returns what the library would return to the guest.
fn answer(
    store: &mut StoreContextMut<'_, Guest>,
    written: StreamResult<()>,
) -> wasmtime::Result<(Result<(), streams::StreamError>,)> {
    store.data_mut().writes(None);
    Ok((match written {
        Ok(()) => Ok(()),
        Err(error) => Err(streams::Host::convert_stream_error(table(store), error)?),
    },))
}
