//! Reads request bodies, with limits on their length and on how slowly they come.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error as HttpError;

use crate::ingress::watch::{Unfinished, Watch};
use crate::invocation::{BodyError, BodyVerdict};
use crate::limits;
use crate::request::{GuestBody, GuestRequest};

impl From<BodyError> for HttpError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::HttpRequestBodySize(Some(limits::REQUEST_BODY_BYTES_MAX)),
            BodyError::TooSlow => Self::ConnectionReadTimeout,
            BodyError::Broken | BodyError::LengthRequired => Self::ConnectionTerminated,
        }
    }
}

/// The body of a client's request, with its limits. Time counts as slowness only while somebody waits for the body.
pub struct RequestBody {
    incoming: Unfinished<Incoming>,
    received: u64,
    waited: Duration,
    waiting: Option<Waiting>,
    verdict: Option<Arc<BodyVerdict>>,
}

struct Waiting {
    since: Instant,
    too_slow: Pin<Box<Sleep>>,
}

impl RequestBody {
    /// Takes the body out of `request` and sets its limits. `watch` is that of its connection. Returns the request without a
    /// body, and the body.
    pub fn take_from(request: Request<Incoming>, watch: &Arc<Watch>) -> (GuestRequest, Self) {
        let version = request.version();
        let (parts, incoming) = request.into_parts();
        let incoming = Unfinished::new(incoming, version, watch);
        let body = Self { incoming, received: 0, waited: Duration::ZERO, waiting: None, verdict: None };
        (Box::new(Request::from_parts(parts, nothing())), body)
    }

    /// Whether the body comes without a stated length.
    pub fn is_chunked(&self) -> bool {
        self.incoming.size_hint().exact().is_none()
    }

    /// Whether the body is known to be longer than allowed.
    pub fn is_too_large(&self) -> bool {
        self.incoming.size_hint().lower() > limits::REQUEST_BODY_BYTES_MAX
    }

    /// Returns the body for the guest. A small body of known length is read whole first, so that a slow client holds no slot and
    /// the guest need not wait. A larger one streams, and the verdict says if it fails.
    pub async fn into_guest_body(mut self) -> Result<(GuestBody, Option<Arc<BodyVerdict>>), BodyError> {
        match self.incoming.size_hint().exact() {
            Some(0) => Ok((nothing(), None)),
            Some(length) if length <= limits::BODY_WHOLE_BYTES_MAX => {
                let whole = Box::pin(self.collect()).await?.to_bytes();
                Ok((Full::new(whole).map_err(|never| match never {}).boxed_unsync(), None))
            }
            _ => {
                let verdict = Arc::<BodyVerdict>::default();
                self.verdict = Some(verdict.clone());
                Ok((self.map_err(HttpError::from).boxed_unsync(), Some(verdict)))
            }
        }
    }

    /// Drops a body that nobody wants. A small one is read to its end, so that another request can follow on the connection.
    pub async fn discard(self) {
        if self.incoming.size_hint().upper().is_some_and(|upper| upper <= limits::BODY_WHOLE_BYTES_MAX) {
            // An error of the body does not matter: the request was refused for another reason.
            let _ = Box::pin(self.collect()).await;
        }
    }

    fn fails(&self, error: BodyError) -> BodyError {
        if let Some(verdict) = &self.verdict {
            verdict.set(error);
        }
        error
    }

    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let earned = Duration::from_secs(self.received / limits::BODY_BYTES_PER_SECOND_MIN);
        let left = (limits::BODY_GRACE + earned).saturating_sub(self.waited);
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            since: Instant::now(),
            too_slow: Box::pin(tokio::time::sleep(left)),
        });
        waiting.too_slow.as_mut().poll(context)
    }
}

/// A body without content.
fn nothing() -> GuestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        if polled.is_ready()
            && let Some(waiting) = self.waiting.take()
        {
            self.waited += waiting.since.elapsed();
        }
        match polled {
            Poll::Pending => self.poll_too_slow(context).map(|()| Some(Err(self.fails(BodyError::TooSlow)))),
            Poll::Ready(Some(Ok(frame))) => {
                self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.received > limits::REQUEST_BODY_BYTES_MAX {
                    return Poll::Ready(Some(Err(self.fails(BodyError::TooLarge))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(self.fails(BodyError::Broken)))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
