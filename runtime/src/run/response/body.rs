//! The body of an answer to the client: all of it, or streamed as the guest writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::instance::kept_body::AnswerBody;
use crate::instance::verdict::Verdict;
use crate::invocation::Fault;
use crate::pool::slot::Slot;
use crate::run::response::head::broken_body;
use crate::short_queue::ShortQueue;

/// The body of a response on the functions listener.
pub struct ResponseBody(pub(super) Inner);

/// The kinds of body.
pub enum Inner {
    /// Text of the host itself.
    Host(Option<Bytes>),
    /// All frames are here; the slot is kept until the last is taken.
    Whole(Box<Whole>),
    /// The guest, or its buffer, may still add to it.
    Streamed(Box<Streamed>),
}

/// A body that is complete. Boxed, because an answer is moved many times.
pub struct Whole {
    pub(super) frames: ShortQueue<Frame<Bytes>>,
    /// Its bytes, unless trailers follow them.
    pub(super) length: Option<u64>,
    pub(super) slot: Option<Slot>,
}

/// A body that comes as the guest writes it.
pub struct Streamed {
    /// Frames that came before the head was sent.
    pub(super) ahead: ShortQueue<Frame<Bytes>>,
    pub(super) inner: AnswerBody,
    pub(super) verdict: Arc<Verdict>,
    /// Taken when the body has ended. If it is dropped unused, the client has gone.
    pub(super) client: Option<oneshot::Sender<ClientEnd>>,
    pub(super) promise: Promise,
    pub(super) status: StatusCode,
    /// Bytes passed on.
    pub(super) bytes: u64,
    /// Whether its content is not sent.
    pub(super) is_left_out: bool,
    /// Whether the head, or a frame, was passed on since the reader last waited. It may not be sent yet.
    pub(super) is_behind: bool,
    /// Why the response is cut, if it is.
    pub(super) cut: Option<&'static str>,
}

/// How the client's side of an invocation ended.
pub enum ClientEnd {
    /// The answer was passed on whole: its status, and the bytes of its body.
    Whole(StatusCode, u64),
    /// The guest's answer was refused.
    Refused(Fault),
}

/// The response was cut because the guest failed; the client sees a broken connection, never a body that
/// looks whole.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut: {0}")]
pub struct Cut(&'static str);

impl From<String> for ResponseBody {
    fn from(text: String) -> Self {
        Self::host(text)
    }
}

impl ResponseBody {
    /// Makes a body with a text of the host itself.
    pub fn host(text: impl Into<Bytes>) -> Self {
        Self(Inner::Host(Some(text.into())))
    }

    /// Makes a body without content.
    pub fn none() -> Self {
        Self(Inner::Host(None))
    }

    /// Returns the bytes of a body that the host itself made.
    pub fn own_bytes(&self) -> Option<usize> {
        match &self.0 {
            Inner::Host(text) => text.as_ref().map(Bytes::len),
            Inner::Whole(_) | Inner::Streamed(_) => None,
        }
    }
}

/// The length that the guest's `content-length` states, checked here for every kind of guest. The library loses its own verdict
/// on a body that ends early if nobody has read what came before (wasmtime-wasi-http 48, `LimitedGuestBodyConsumer`).
pub struct Promise {
    /// Bytes still to come; `None` where no length was given.
    pub(super) remaining: Option<u64>,
}

impl Promise {
    /// Notes that a frame of the body has come.
    pub fn take(&mut self, frame: &Frame<Bytes>) {
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(bytes_of(frame)));
    }

    /// Whether the body may end here.
    pub fn is_kept(&self) -> bool {
        self.remaining.is_none_or(|remaining| remaining == 0)
    }
}

/// Returns the bytes of content in `frame`.
pub fn bytes_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, Bytes::len) as u64
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.0 {
            Inner::Host(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Inner::Whole(whole) => {
                let frame = whole.frames.pop();
                if whole.frames.is_empty() {
                    drop(whole.slot.take());
                }
                Poll::Ready(frame.map(Ok))
            }
            Inner::Streamed(streamed) => streamed.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Host(text) => text.is_none(),
            Inner::Whole(whole) => whole.frames.is_empty(),
            Inner::Streamed(streamed) => streamed.client.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Host(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Whole(whole) => whole.length.map_or_else(SizeHint::default, SizeHint::with_exact),
            Inner::Streamed(_) => SizeHint::default(),
        }
    }
}

impl Streamed {
    /// Returns the next frame.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(code) = self.cut {
            return Poll::Ready(Some(Err(Cut(code))));
        }
        self.verdict.register(context.waker());
        loop {
            if let Some(fault) = self.verdict.get() {
                let code = fault.outcome.code();
                return self.poll_cut(context, code);
            }
            if let Some(frame) = self.ahead.pop() {
                return Poll::Ready(Some(Ok(self.passed_on(frame))));
            }
            let polled = Pin::new(&mut self.inner).poll_frame(context);
            self.is_behind &= polled.is_ready();
            match std::task::ready!(polled) {
                // The verdict is set before the guest's end of the body is dropped, so an end without a
                // verdict is the guest's own.
                None if self.verdict.get().is_some() => {}
                None if self.promise.is_kept() => {
                    self.end_whole();
                    return Poll::Ready(None);
                }
                // Where there is no content, a stated length that does not come is no error.
                Some(Err(_)) if self.is_left_out && self.verdict.get().is_none() => {
                    self.end_whole();
                    return Poll::Ready(None);
                }
                None | Some(Err(_)) => {
                    self.end(ClientEnd::Refused(broken_body()));
                    return self.poll_cut(context, "invalid-response");
                }
                Some(Ok(frame)) => {
                    self.promise.take(&frame);
                    // hyper would forward an empty frame, and on HTTP/2 any number of them.
                    if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                        return Poll::Ready(Some(Ok(self.passed_on(frame))));
                    }
                }
            }
        }
    }

    /// Cuts the response after what came before could be sent, because hyper drops what it still holds.
    fn poll_cut(
        &mut self,
        context: &Context<'_>,
        code: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.cut = Some(code);
        if self.is_behind {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Cut(code))))
    }

    /// Notes a frame as passed on. After trailers, which are the last frame, the body is not polled again.
    fn passed_on(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.is_behind = true;
        if !self.is_left_out {
            self.bytes += bytes_of(&frame);
        }
        if frame.is_trailers() && self.promise.is_kept() {
            self.end_whole();
        }
        frame
    }

    fn end_whole(&mut self) {
        self.end(ClientEnd::Whole(self.status, self.bytes));
    }

    fn end(&mut self, end: ClientEnd) {
        if let Some(client) = self.client.take() {
            // The call may have ended first, with its own verdict.
            let _ = client.send(end);
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // A body of known length is not polled again after its last byte.
        if self.ahead.is_empty() && self.promise.remaining == Some(0) {
            self.end_whole();
        }
    }
}
