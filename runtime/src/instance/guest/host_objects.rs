//! Charges what the host holds for a guest besides its memory: header fields, requests, bodies, handles of all kinds.
//!
//! It is charged like linear memory, to the instance and the host. To search all of it at each call would be expensive, and so
//! would be to follow each object to its end. So calls that add something count what they add. Only when that has grown by a
//! sixteenth, or by [`limits::OBJECTS_UNCHARGED_BYTES`], the guest's table is searched and the charge corrected. A guest that
//! holds little never reaches that point.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{Method as P2Method, Scheme as P2Scheme};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{FieldMap, WasiHttpView, p2, p3};

use crate::instance::guest::Guest;
use crate::instance::guest::objects::{bytes_of, p2_method_length, p2_scheme_length, text_length};
use crate::limits;

impl Guest {
    /// Counts about `bytes` more that the host holds for the guest. Fails if it may not hold them.
    pub fn holds_more(&mut self, bytes: usize) -> wasmtime::Result<()> {
        if self.objects.add(bytes) { self.charge_objects() } else { Ok(()) }
    }

    /// Corrects the charge for its objects.
    pub fn charge_objects(&mut self) -> wasmtime::Result<()> {
        let Self { table, objects, limiter, .. } = self;
        Ok(objects.charge(table.iter_mut(), limiter)?)
    }

    /// Charges only what an invocation has left.
    pub fn charge_left_over(&mut self, is_empty: bool) {
        if self.objects.is_charged() {
            // If this is refused nothing changes: what exists was charged before.
            let _ = self.charge_objects();
        } else if is_empty {
            self.objects.forget_added();
        }
    }
}

/// Replaces the library's functions that add header fields, of one version of `wasi:http`.
macro_rules! count_fields {
    ($types:ident, $linker:expr) => {{
        $linker.func_wrap(
            "[static]fields.from-list",
            |mut store: StoreContextMut<'_, Guest>, (entries,): (Vec<(String, Vec<u8>)>,)| {
                let bytes =
                    entries.iter().map(|(name, value)| name.len() + value.len() + limits::FIELD_BYTES);
                store.data_mut().holds_more(bytes.sum())?;
                Ok((match $types::HostFields::from_list(&mut store.data_mut().http(), entries) {
                    Ok(fields) => Ok(fields),
                    Err(error) => Err(error.downcast()?),
                },))
            },
        )?;
        $linker.func_wrap(
            "[method]fields.set",
            |mut store: StoreContextMut<'_, Guest>,
             (fields, name, values): (Resource<FieldMap>, String, Vec<Vec<u8>>)| {
                let bytes = values.iter().map(|value| value.len() + limits::FIELD_BYTES).sum::<usize>();
                store.data_mut().holds_more(name.len() + bytes)?;
                Ok((match $types::HostFields::set(&mut store.data_mut().http(), fields, name, values) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.downcast()?),
                },))
            },
        )?;
        $linker.func_wrap(
            "[method]fields.append",
            |mut store: StoreContextMut<'_, Guest>,
             (fields, name, value): (Resource<FieldMap>, String, Vec<u8>)| {
                store.data_mut().holds_more(name.len() + value.len() + limits::FIELD_BYTES)?;
                Ok((match $types::HostFields::append(&mut store.data_mut().http(), fields, name, value) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.downcast()?),
                },))
            },
        )?;
        $linker.func_wrap(
            "[method]fields.clone",
            |mut store: StoreContextMut<'_, Guest>, (fields,): (Resource<FieldMap>,)| {
                let bytes = bytes_of(store.data_mut().http().table.get(&fields)?);
                store.data_mut().holds_more(bytes)?;
                Ok(($types::HostFields::clone(&mut store.data_mut().http(), fields)?,))
            },
        )?;
    }};
}

/// Replaces a library function that sets a text of a request. A text longer than any server takes is refused, others are counted.
macro_rules! count_text {
    ($linker:expr, $name:literal, $request:ty, $value:ty, $set:path, $length:expr) => {
        $linker.func_wrap(
            $name,
            |mut store: StoreContextMut<'_, Guest>, (request, value): (Resource<$request>, $value)| {
                let length: usize = $length(&value);
                if length > limits::REQUEST_TEXT_BYTES_MAX {
                    return Ok((Err(()),));
                }
                store.data_mut().holds_more(length)?;
                Ok(($set(&mut store.data_mut().http(), request, value)?,))
            },
        )?
    };
}

/// Counts what guests of WASI 0.2 have the host hold.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use p2::bindings::http::types::{self, HostOutgoingRequest as Setter};
    linker.allow_shadowing(true);
    let mut http = linker.instance("wasi:http/types@0.2.12")?;
    count_fields!(types, http);
    count_text!(
        http,
        "[method]outgoing-request.set-method",
        HostOutgoingRequest,
        P2Method,
        Setter::set_method,
        p2_method_length
    );
    count_text!(
        http,
        "[method]outgoing-request.set-scheme",
        HostOutgoingRequest,
        Option<P2Scheme>,
        Setter::set_scheme,
        p2_scheme_length
    );
    count_text!(
        http,
        "[method]outgoing-request.set-authority",
        HostOutgoingRequest,
        Option<String>,
        Setter::set_authority,
        text_length
    );
    count_text!(
        http,
        "[method]outgoing-request.set-path-with-query",
        HostOutgoingRequest,
        Option<String>,
        Setter::set_path_with_query,
        text_length
    );
    linker.allow_shadowing(false);
    Ok(())
}

/// Counts what guests of WASI 0.3 have the host hold.
pub fn add_to_async_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use p3::bindings::http::types::{self, HostRequest as Setter, Method, Scheme};
    linker.allow_shadowing(true);
    let mut http = linker.instance("wasi:http/types@0.3.0")?;
    count_fields!(types, http);
    count_text!(
        http,
        "[method]request.set-method",
        p3::Request,
        Method,
        Setter::set_method,
        |value: &Method| { if let Method::Other(name) = value { name.len() } else { 0 } }
    );
    count_text!(
        http,
        "[method]request.set-scheme",
        p3::Request,
        Option<Scheme>,
        Setter::set_scheme,
        |value: &Option<Scheme>| { if let Some(Scheme::Other(name)) = value { name.len() } else { 0 } }
    );
    count_text!(
        http,
        "[method]request.set-authority",
        p3::Request,
        Option<String>,
        Setter::set_authority,
        text_length
    );
    count_text!(
        http,
        "[method]request.set-path-with-query",
        p3::Request,
        Option<String>,
        Setter::set_path_with_query,
        text_length
    );
    linker.allow_shadowing(false);
    Ok(())
}
