//! Request bodies with bounds on length and slowness.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error as HttpError;

use crate::capability::guest::GuestBody;
use crate::limits;

/// Why a request body was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than [`limits::REQUEST_BODY_BYTES_MAX`].
    #[error("the request body is longer than {} bytes", limits::REQUEST_BODY_BYTES_MAX)]
    TooLarge,
    /// Slower than [`limits::BODY_BYTES_PER_SECOND_MIN`].
    #[error("the request body arrives slower than {} bytes a second", limits::BODY_BYTES_PER_SECOND_MIN)]
    TooSlow,
    /// The client broke off, or its framing is wrong.
    #[error("the request body ended early or is framed wrongly")]
    Broken,
}

impl From<BodyError> for HttpError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::HttpRequestBodySize(Some(limits::REQUEST_BODY_BYTES_MAX)),
            BodyError::TooSlow => Self::ConnectionReadTimeout,
            BodyError::Broken => Self::ConnectionTerminated,
        }
    }
}

/// A client's body, bounded. Only the time in which somebody waits for it counts as slowness.
pub struct RequestBody {
    incoming: Incoming,
    received: u64,
    waited: Duration,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    too_slow: Pin<Box<Sleep>>,
}

impl RequestBody {
    /// Bounds `incoming`.
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, received: 0, waited: Duration::ZERO, waiting: None }
    }

    /// What the guest gets: small bodies of known length are read whole first, so that a slow client holds
    /// no slot and a guest need not wait; larger ones stream.
    pub async fn into_guest_body(self) -> Result<GuestBody, BodyError> {
        let length = self.incoming.size_hint().exact();
        match length {
            Some(0) => Ok(Empty::new().map_err(|never| match never {}).boxed_unsync()),
            Some(length) if length > limits::REQUEST_BODY_BYTES_MAX => Err(BodyError::TooLarge),
            Some(length) if length <= limits::BODY_WHOLE_BYTES_MAX => {
                let whole = self.collect().await?.to_bytes();
                Ok(Full::new(whole).map_err(|never| match never {}).boxed_unsync())
            }
            _ => Ok(self.map_err(HttpError::from).boxed_unsync()),
        }
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
            Poll::Pending => self.poll_too_slow(context).map(|()| Some(Err(BodyError::TooSlow))),
            Poll::Ready(Some(Ok(frame))) => {
                self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.received > limits::REQUEST_BODY_BYTES_MAX {
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BodyError::Broken))),
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
