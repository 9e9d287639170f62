//! Prepares the bodies of outbound requests: finds their length where possible, and removes empty frames.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use crate::limits;
use crate::short_queue::ShortQueue;

/// Returns `request` with the length of its body, if that can be known: most guests write a small body right after they
/// have sent the request. POST, PUT and PATCH get a length even without a body, because servers ask for it (RFC 9110,
/// 8.6). So their first bytes are waited for, but not longer than [`limits::OUTBOUND_BODY_WAIT_MAX`]: a guest may want
/// to read the answer first.
pub async fn measured(request: Request<WasiBody>) -> Request<WasiBody> {
    let (mut parts, body) = request.into_parts();
    let length = body.size_hint().exact();
    let mut body = RequestBody { ahead: ShortQueue::default(), failed: None, rest: Some(body), length };
    let is_about_a_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    if length.is_none() {
        poll_fn(|context| {
            body.look_ahead(context);
            Poll::Ready(())
        })
        .await;
        if is_about_a_body && body.is_silent() {
            let first = timeout(limits::OUTBOUND_BODY_WAIT_MAX, poll_fn(|context| body.poll_first(context)));
            // After a timeout the body is sent without a length.
            let _ = first.await;
        }
    }
    if is_about_a_body && body.length == Some(0) && !parts.headers.contains_key(CONTENT_LENGTH) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Request::from_parts(parts, body.boxed_unsync())
}

/// A request body without its empty frames, which HTTP/2 queues without bound.
struct RequestBody {
    /// Frames that came before the request was sent.
    ahead: ShortQueue<Frame<Bytes>>,
    /// The error that came after them.
    failed: Option<HttpError>,
    /// The rest of the body; `None` after its end.
    rest: Option<WasiBody>,
    /// Bytes that are still to be sent, if known.
    length: Option<u64>,
}

impl RequestBody {
    /// Takes the frames that are there now, until they exceed [`limits::OUTBOUND_MEASURED_BYTES_MAX`].
    fn look_ahead(&mut self, context: &mut Context<'_>) {
        let mut bytes = 0;
        while bytes <= limits::OUTBOUND_MEASURED_BYTES_MAX {
            match self.poll_rest(context) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                    self.ahead.push(frame);
                }
                Poll::Ready(None) => {
                    self.length = Some(bytes);
                    return;
                }
                Poll::Ready(Some(Ok(trailers))) => return self.ahead.push(trailers),
                Poll::Ready(Some(Err(error))) => return self.failed = Some(error),
                Poll::Pending => return,
            }
        }
    }

    /// Whether nothing of it has come yet, not even its end.
    fn is_silent(&self) -> bool {
        self.length.is_none() && self.ahead.is_empty() && self.failed.is_none() && self.rest.is_some()
    }

    /// Looks ahead until something has come.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.look_ahead(context);
        if self.is_silent() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        loop {
            let Some(body) = &mut self.rest else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(ended) => {
                    self.rest = None;
                    return Poll::Ready(ended);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = match (self.ahead.pop(), self.failed.take()) {
            (Some(frame), failed) => {
                self.failed = failed;
                Poll::Ready(Some(Ok(frame)))
            }
            (None, Some(error)) => Poll::Ready(Some(Err(error))),
            (None, None) => self.poll_rest(context),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.length = self.length.map(|length| length.saturating_sub(bytes));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.failed.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
