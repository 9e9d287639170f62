//! Replaces `trace/exporter.rs` if wfn is built without OTLP: making an exporter fails.

use http::{HeaderName, HeaderValue, Uri};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::trace::span::Span;

/// Never there.
pub enum Exporter {}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
#[error("this wfn was built without OTLP, the feature otlp")]
pub struct EndpointError;

impl Exporter {
    /// Refuses.
    pub fn start(
        _: &Uri,
        _: Vec<(HeaderName, HeaderValue)>,
        _: String,
        _: &Handle,
    ) -> Result<Self, EndpointError> {
        Err(EndpointError)
    }

    /// Hands over a span.
    pub fn export(&self, _: Span) {
        match *self {}
    }

    /// Spans that did not arrive.
    pub fn dropped(&self) -> u64 {
        match *self {}
    }

    /// Sends what waits.
    pub async fn flush(&self, _: Instant) {
        match *self {}
    }
}
