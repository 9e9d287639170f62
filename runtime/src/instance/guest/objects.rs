//! Counts what the host holds for a guest's handles, and what of it is charged.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method as P2Method, Scheme as P2Scheme};
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, p3};

use crate::instance::limiter::Limiter;
use crate::limits;

/// What is known of a guest's objects.
#[derive(Debug, Default)]
pub struct Objects {
    /// Bytes that are charged.
    charged: u64,
    /// Bytes that calls have added since the charge was last corrected.
    added: u64,
    /// Bytes of bodies that the guest has written and nobody has read yet. Bodies add and subtract.
    buffered: Arc<AtomicU64>,
    /// The same value when the charge was last corrected.
    buffered_then: u64,
}

/// The guest's objects would pass the memory that its instance or the host may hold.
#[derive(Debug, thiserror::Error)]
#[error("the host holds too much for the function: header fields, requests or bodies")]
pub struct TooMuchHeld;

impl Objects {
    /// Returns the counter in which bodies count what waits to be read.
    pub fn buffered(&self) -> &Arc<AtomicU64> {
        &self.buffered
    }

    /// Whether anything is charged.
    pub fn is_charged(&self) -> bool {
        self.charged > 0
    }

    /// Notes that all that was added is gone again.
    pub fn forget_added(&mut self) {
        self.added = 0;
    }

    /// Adds `bytes`. Returns whether the charge has to be corrected.
    pub fn add(&mut self, bytes: usize) -> bool {
        self.added += (bytes + limits::OBJECT_BYTES) as u64;
        let buffered = self.buffered.load(Ordering::Relaxed).saturating_sub(self.buffered_then);
        self.added + buffered > limits::OBJECTS_UNCHARGED_BYTES.max(self.charged / 16)
    }

    /// Sets the charge to what `entries` hold now.
    pub fn charge<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a mut (dyn Any + Send)>,
        limiter: &mut Limiter,
    ) -> Result<(), TooMuchHeld> {
        let buffered = self.buffered.load(Ordering::Relaxed);
        let held = entries.map(|entry| bytes_of(entry)).sum::<usize>() as u64 + buffered;
        if held > self.charged {
            limiter.take(held - self.charged).map_err(|_| TooMuchHeld)?;
        } else {
            limiter.memory().release(self.charged - held);
        }
        (self.charged, self.added, self.buffered_then) = (held, 0, buffered);
        Ok(())
    }
}

/// Returns the bytes that the host holds for an entry of a guest's table.
pub fn bytes_of(entry: &(dyn Any + Send)) -> usize {
    let fields = |fields: &HeaderMap| -> usize {
        fields.iter().map(|(name, value)| name.as_str().len() + value.len() + limits::FIELD_BYTES).sum()
    };
    let of_type = if let Some(map) = entry.downcast_ref::<FieldMap>() {
        fields(map)
    } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        fields(&request.headers)
            + p2_method_length(&request.method)
            + p2_scheme_length(&request.scheme)
            + text_length(&request.authority)
            + text_length(&request.path_with_query)
    } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
        fields(&response.headers)
    } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
        fields(&response.headers)
    } else if let Some(request) = entry.downcast_ref::<p3::Request>() {
        let method = request.method.as_str().len();
        let scheme = request.scheme.as_ref().map_or(0, |scheme| scheme.as_str().len());
        let authority = request.authority.as_ref().map_or(0, |authority| authority.as_str().len());
        let path = request.path_with_query.as_ref().map_or(0, |path| path.as_str().len());
        fields(&request.headers) + method + scheme + authority + path
    } else if let Some(response) = entry.downcast_ref::<p3::Response>() {
        fields(&response.headers)
    } else {
        0
    };
    of_type + limits::OBJECT_BYTES
}

/// Returns the bytes of text in it.
pub fn p2_method_length(method: &P2Method) -> usize {
    if let P2Method::Other(name) = method { name.len() } else { 0 }
}

/// Returns the bytes of text in it.
pub fn p2_scheme_length(scheme: &Option<P2Scheme>) -> usize {
    if let Some(P2Scheme::Other(name)) = scheme { name.len() } else { 0 }
}

/// Returns the bytes of text in it.
pub fn text_length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}
