//! The guest's answer on its way to the client: whole when it was there at once, streamed otherwise.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::instance::worker::{Head, Worker};
use crate::invocation::{Fault, OUTCOME, Outcome};
use crate::limits;
use crate::pool::slot::Slot;
use crate::short_queue::ShortQueue;

/// How a call failed; set before anything else can tell that it did, and once.
#[derive(Default)]
pub struct Verdict {
    fault: OnceLock<Fault>,
    /// Whoever reads the body.
    reader: AtomicWaker,
}

impl Verdict {
    /// The call failed. The first word counts.
    pub fn set(&self, fault: Fault) {
        let _ = self.fault.set(fault);
        self.reader.wake();
    }

    /// How, if it did.
    pub fn get(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// A call that has ended. Worker and head are kept so that nothing shows before the outcome is known.
pub struct Ended {
    /// The slot, still taken.
    pub slot: Slot,
    /// The worker, if one was made; used again only if the slot gets it back.
    pub worker: Option<Box<Worker>>,
    /// Whether the guest returned.
    pub result: Result<(), Fault>,
    /// What was not handed to the guest, because it did not start.
    pub head: Option<oneshot::Sender<Head>>,
}

/// The body of a response on the functions listener.
pub struct ResponseBody(Inner);

enum Inner {
    /// The host's own words.
    Host(Option<Bytes>),
    /// All frames are here; the slot is kept until the last is taken.
    Whole { frames: ShortQueue<Frame<Bytes>>, length: Option<u64>, slot: Option<Slot> },
    /// The guest, or its buffer, goes on.
    Streamed(Box<Streamed>),
}

struct Streamed {
    /// Frames that came before the head was sent.
    ahead: ShortQueue<Frame<Bytes>>,
    inner: HyperOutgoingBody,
    verdict: Arc<Verdict>,
    /// Taken when the body has ended; dropped unused, the client went away.
    client: Option<oneshot::Sender<ClientEnd>>,
    promise: Promise,
    status: StatusCode,
    /// Bytes passed on.
    bytes: u64,
}

/// How the client's side of an invocation ended.
pub enum ClientEnd {
    /// The answer of this status was passed on whole, with a body of so many bytes.
    Whole(StatusCode, u64),
    /// The guest's answer was refused.
    Refused(Fault),
}

/// The response was cut because the guest failed; the client sees a broken connection, never a body that
/// looks whole.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut: {0}")]
pub struct Cut(&'static str);

impl ResponseBody {
    /// A body of the host's own.
    pub fn host(text: impl Into<Bytes>) -> Self {
        Self(Inner::Host(Some(text.into())))
    }
}

/// The answer of a guest that has returned before anything was sent: everything it wrote is there.
pub fn whole(
    ended: Ended,
    head: Option<Head>,
    bodiless: bool,
) -> Result<http::Response<ResponseBody>, Fault> {
    let Ended { slot, worker, result, .. } = ended;
    if let Err(fault) = result {
        if let Some(worker) = worker {
            slot.retire(worker);
        }
        return Err(fault);
    }
    let slot = slot.keep_if_reusable(worker);
    let head = head.ok_or_else(|| Fault::plain(Outcome::NoResponse))?;
    let mut collected = Collected::new(checked(head)?, bodiless);
    // The guest returned, and what it holds was checked: nothing can come any more.
    if !collected.is_complete(&Verdict::default())? {
        return Err(invalid("the function returned without finishing its response body"));
    }
    Ok(collected.into_answer(slot))
}

/// What has come of an answer without waiting.
pub struct Collected {
    parts: http::response::Parts,
    frames: ShortQueue<Frame<Bytes>>,
    body: HyperOutgoingBody,
    promise: Promise,
    /// Whether nothing more can come.
    pub ended: bool,
}

/// What the guest's own `content-length` says of its body, checked here for every kind of guest: the library
/// loses its own verdict on a body that ends early if nobody has read what came before
/// (wasmtime-wasi-http 48, `LimitedGuestBodyConsumer`).
struct Promise {
    /// Bytes still to come; `None` where no length was given.
    remaining: Option<u64>,
}

impl Promise {
    fn of(parts: &http::response::Parts, bodiless: bool) -> Self {
        if bodiless || parts.status.is_informational() || matches!(parts.status.as_u16(), 204 | 304) {
            // Nobody reads the body, whatever its length would be.
            return Self { remaining: Some(0) };
        }
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { remaining: length }
    }

    fn take(&mut self, frame: &Frame<Bytes>) {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(length));
    }

    /// Whether the body may end here.
    fn is_kept(&self) -> bool {
        self.remaining.is_none_or(|remaining| remaining == 0)
    }
}

impl Collected {
    /// Nothing of the body of `head` yet; nobody reads that of a `bodiless` one.
    pub fn new(head: http::Response<HyperOutgoingBody>, bodiless: bool) -> Self {
        let (parts, body) = head.into_parts();
        let promise = Promise::of(&parts, bodiless);
        Self { parts, frames: ShortQueue::default(), body, promise, ended: false }
    }

    /// Takes what is there now and says whether that is all. A body that was cut is an error.
    pub fn is_complete(&mut self, verdict: &Verdict) -> Result<bool, Fault> {
        let mut context = Context::from_waker(Waker::noop());
        while !self.ended {
            match Pin::new(&mut self.body).poll_frame(&mut context) {
                // An empty frame would be forwarded as one, without bound on HTTP/2.
                Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Poll::Ready(Some(Ok(frame))) => {
                    self.promise.take(&frame);
                    self.frames.push(frame);
                }
                Poll::Ready(Some(Err(_))) => return Err(verdict.get().cloned().unwrap_or_else(broken_body)),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => return Ok(false),
            }
        }
        // An end without a verdict is the guest's own.
        match verdict.get() {
            Some(fault) => Err(fault.clone()),
            None if self.promise.is_kept() => Ok(true),
            None => Err(broken_body()),
        }
    }

    /// The whole answer; `slot` is kept until its last frame is taken.
    pub fn into_whole(self, slot: Slot) -> http::Response<ResponseBody> {
        self.into_answer(Some(slot))
    }

    /// Status and bytes of the body, when nothing more can come.
    pub fn size(&self) -> (StatusCode, u64) {
        let bytes = self.frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        (self.parts.status, bytes as u64)
    }

    fn into_answer(self, slot: Option<Slot>) -> http::Response<ResponseBody> {
        let has_trailers = self.frames.iter().any(Frame::is_trailers);
        let (_, bytes) = self.size();
        let length = (!has_trailers).then_some(bytes);
        let body = ResponseBody(Inner::Whole { frames: self.frames, length, slot });
        http::Response::from_parts(self.parts, body)
    }

    /// The answer with its body as it comes. `client` is told how it ends.
    pub fn into_streamed(
        self,
        verdict: Arc<Verdict>,
        client: oneshot::Sender<ClientEnd>,
    ) -> http::Response<ResponseBody> {
        let Self { parts, frames, body, promise, .. } = self;
        let (client, status, bytes) = (Some(client), parts.status, 0);
        let streamed = Streamed { ahead: frames, inner: body, verdict, client, promise, status, bytes };
        http::Response::from_parts(parts, ResponseBody(Inner::Streamed(Box::new(streamed))))
    }
}

/// The answer of a guest that has set its head and goes on.
pub fn streamed(
    head: Head,
    bodiless: bool,
    verdict: Arc<Verdict>,
    client: oneshot::Sender<ClientEnd>,
) -> Result<http::Response<ResponseBody>, Outcome> {
    match checked(head) {
        Ok(response) => Ok(Collected::new(response, bodiless).into_streamed(verdict, client)),
        Err(fault) => Err(refuse(client, fault).outcome),
    }
}

/// Tells the running call that its answer was refused.
fn refuse(client: oneshot::Sender<ClientEnd>, fault: Fault) -> Fault {
    // A call that has ended meanwhile has its own verdict.
    let _ = client.send(ClientEnd::Refused(fault.clone()));
    fault
}

/// Checks what a hostile guest could do to the response's head.
pub fn checked(head: Head) -> Result<http::Response<HyperOutgoingBody>, Fault> {
    let mut response =
        head.map_err(|code| invalid(&format!("the function answered with the error {code:?}")))?;
    // The host's own words; a guest cannot put them into its mouth.
    response.headers_mut().remove(OUTCOME);
    let headers = response.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > limits::HEADERS_MAX {
        return Err(invalid(&format!(
            "{} header fields, at most {} are allowed",
            headers.len(),
            limits::HEADERS_MAX
        )));
    }
    if bytes > limits::RESPONSE_HEADER_BYTES_MAX {
        let most = limits::RESPONSE_HEADER_BYTES_MAX;
        return Err(invalid(&format!("{bytes} bytes of header fields, at most {most} are allowed")));
    }
    if response.status().is_informational() {
        return Err(invalid("an informational status cannot end a request"));
    }
    Ok(response)
}

fn invalid(why: &str) -> Fault {
    Fault { outcome: Outcome::InvalidResponse(why.to_owned()), detail: why.to_owned() }
}

fn broken_body() -> Fault {
    invalid("the body ended early or does not match its content-length")
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
            Inner::Whole { frames, slot, .. } => {
                let frame = frames.pop();
                if frames.is_empty() {
                    drop(slot.take());
                }
                Poll::Ready(frame.map(Ok))
            }
            Inner::Streamed(streamed) => streamed.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Host(text) => text.is_none(),
            Inner::Whole { frames, .. } => frames.is_empty(),
            Inner::Streamed(streamed) => streamed.client.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Host(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Whole { length: Some(length), .. } => SizeHint::with_exact(*length),
            Inner::Whole { .. } | Inner::Streamed(_) => SizeHint::default(),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.verdict.reader.register(context.waker());
        loop {
            if let Some(fault) = self.verdict.get() {
                return Poll::Ready(Some(Err(Cut(fault.outcome.code()))));
            }
            if let Some(frame) = self.ahead.pop() {
                return Poll::Ready(Some(Ok(self.passed_on(frame))));
            }
            match std::task::ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                // The verdict is set before the guest's end of the body is dropped, so an end without a
                // verdict is the guest's own.
                None if self.verdict.get().is_some() => {}
                None if self.promise.is_kept() => {
                    self.end_whole();
                    return Poll::Ready(None);
                }
                None | Some(Err(_)) => {
                    self.end(ClientEnd::Refused(broken_body()));
                    return Poll::Ready(Some(Err(Cut("invalid-response"))));
                }
                Some(Ok(frame)) => {
                    self.promise.take(&frame);
                    // An empty frame would be forwarded as one, without bound on HTTP/2.
                    if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                        return Poll::Ready(Some(Ok(self.passed_on(frame))));
                    }
                }
            }
        }
    }

    /// Trailers are the last frame: the body is not polled once more.
    fn passed_on(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
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
        // A body of known length is not polled once more after its last byte.
        if self.ahead.is_empty() && self.promise.remaining == Some(0) {
            self.end_whole();
        }
    }
}
