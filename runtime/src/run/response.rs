//! Brings the guest's answer to the client: whole if it was there at once, streamed otherwise.

mod body;
mod head;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::oneshot;

pub use self::body::{ClientEnd, ResponseBody};
use self::body::{Inner, Promise, Streamed, Whole, bytes_of};
pub use self::head::checked;
use self::head::{answered, broken_body, invalid};
use crate::instance::call::Head;
use crate::instance::guest::outgoing_body::has_no_content;
use crate::instance::kept_body::AnswerBody;
use crate::instance::verdict::Verdict;
use crate::instance::worker::Worker;
use crate::invocation::{Fault, Outcome};
use crate::pool::slot::Slot;
use crate::short_queue::ShortQueue;

/// A call that has ended. Worker and head are kept, so that the client sees nothing before the outcome is known.
pub struct EndedCall {
    /// The slot, still taken.
    pub slot: Slot,
    /// The worker, if one was made; used again only if the slot gets it back.
    pub worker: Option<Box<Worker>>,
    /// Whether the guest returned.
    pub result: Result<(), Fault>,
    /// The sender of the head, if the guest did not start and so did not get it.
    pub head: Option<oneshot::Sender<Head>>,
}

impl EndedCall {
    /// Lends the worker to others while the answer is being sent, if the guest has returned.
    pub fn lends_worker(&mut self) {
        if self.result.is_ok() {
            self.worker = self.worker.take().and_then(|worker| self.slot.lend_if_reusable(worker));
        }
    }
}

/// Returns the answer of a guest that returned before anything was sent: all it wrote is there.
pub fn whole(
    ended: EndedCall,
    head: Option<Head>,
    for_head: bool,
) -> Result<http::Response<ResponseBody>, Fault> {
    let EndedCall { slot, worker, result, .. } = ended;
    if let Err(fault) = result {
        if let Some(worker) = worker {
            slot.retire(worker);
        }
        return Err(fault);
    }
    let slot = slot.keep_if_reusable(worker);
    let head = head.ok_or_else(|| Fault::plain(Outcome::NoResponse))?;
    let mut collected = Collected::new(checked(answered(head)?)?, for_head);
    // The guest has returned, and what it still holds was checked: nothing more can come.
    if !collected.is_complete(&Verdict::default())? {
        return Err(invalid("the function returned without finishing its response body"));
    }
    Ok(collected.into_answer(slot))
}

/// The part of an answer that came without waiting.
pub struct Collected {
    parts: http::response::Parts,
    frames: ShortQueue<Frame<Bytes>>,
    body: AnswerBody,
    promise: Promise,
    left_out: Option<LeftOut>,
    /// Whether nothing more can come.
    pub ended: bool,
}

/// Content that is not sent although the function writes it: of an answer to HEAD, or of a status without content.
struct LeftOut {
    bytes: u64,
    /// Whether its length is stated in the head, as for a GET.
    is_measured: bool,
}

impl Collected {
    /// Begins with nothing of the body of `head`. `for_head`: a HEAD is answered, so the body is left out.
    pub fn new(head: http::Response<AnswerBody>, for_head: bool) -> Self {
        let (mut parts, body) = head.into_parts();
        let has_none = has_no_content(parts.status);
        if has_none {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_measured = !has_none && length.is_none();
        let left_out = (for_head || has_none).then_some(LeftOut { bytes: 0, is_measured });
        let promise = Promise { remaining: length.filter(|_| left_out.is_none()) };
        Self { parts, frames: ShortQueue::default(), body, promise, left_out, ended: false }
    }

    /// Takes what is there now and returns whether that is all. A body that was cut is an error.
    pub fn is_complete(&mut self, verdict: &Verdict) -> Result<bool, Fault> {
        let mut context = Context::from_waker(Waker::noop());
        while !self.ended {
            match (Pin::new(&mut self.body).poll_frame(&mut context), &mut self.left_out) {
                // hyper would forward an empty frame, and on HTTP/2 any number of them.
                (Poll::Ready(Some(Ok(frame))), None) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                (Poll::Ready(Some(Ok(frame))), None) => {
                    self.promise.take(&frame);
                    self.frames.push(frame);
                }
                (Poll::Ready(Some(Ok(frame))), Some(left_out)) => {
                    left_out.bytes += bytes_of(&frame);
                    left_out.is_measured &= frame.is_data();
                }
                (Poll::Ready(Some(Err(_))), None) => {
                    return Err(verdict.get().cloned().unwrap_or_else(broken_body));
                }
                (Poll::Ready(Some(Err(_))), Some(left_out)) => {
                    left_out.is_measured = false;
                    self.ended = true;
                }
                (Poll::Ready(None), _) => self.ended = true,
                (Poll::Pending, _) => return Ok(false),
            }
        }
        // If there is no verdict, the guest itself ended the body.
        match verdict.get() {
            Some(fault) => Err(fault.clone()),
            None if self.promise.is_kept() => Ok(true),
            None => Err(broken_body()),
        }
    }

    /// Returns the whole answer. `slot` is kept until the last frame is taken.
    pub fn into_whole(self, slot: Slot) -> http::Response<ResponseBody> {
        self.into_answer(Some(slot))
    }

    /// Returns the status and the bytes of the body, when nothing more can come.
    pub fn size(&self) -> (StatusCode, u64) {
        let bytes = self.frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        (self.parts.status, bytes as u64)
    }

    fn into_answer(mut self, slot: Option<Slot>) -> http::Response<ResponseBody> {
        if let Some(left_out) = self.left_out {
            // A guest that writes nothing for a HEAD does not say how long the content would be.
            if left_out.is_measured && left_out.bytes > 0 {
                self.parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(left_out.bytes));
            }
            return http::Response::from_parts(self.parts, ResponseBody::none());
        }
        let has_trailers = self.frames.iter().any(Frame::is_trailers);
        let (_, bytes) = self.size();
        let length = (!has_trailers).then_some(bytes);
        let body = ResponseBody(Inner::Whole(Box::new(Whole { frames: self.frames, length, slot })));
        http::Response::from_parts(self.parts, body)
    }

    /// Returns the answer with a body that streams. `client` is told how it ends.
    pub fn into_streamed(
        self,
        verdict: Arc<Verdict>,
        client: oneshot::Sender<ClientEnd>,
    ) -> http::Response<ResponseBody> {
        let Self { parts, frames, body, promise, left_out, .. } = self;
        let mut streamed = Box::new(Streamed {
            ahead: frames,
            inner: body,
            verdict,
            client: Some(client),
            promise,
            status: parts.status,
            bytes: 0,
            is_left_out: left_out.is_some(),
            is_behind: true,
            cut: None,
        });
        if left_out.is_none() {
            return http::Response::from_parts(parts, ResponseBody(Inner::Streamed(streamed)));
        }
        // The guest can write it and does not notice that it is dropped. Ends with the guest, at its deadline at the latest.
        tokio::spawn(async move {
            while let Some(Ok(_)) = poll_fn(|context| streamed.poll_frame(context)).await {}
        });
        http::Response::from_parts(parts, ResponseBody::none())
    }
}

/// Returns the answer of a guest that has set its head and continues.
pub fn streamed(
    head: Head,
    for_head: bool,
    verdict: Arc<Verdict>,
    client: oneshot::Sender<ClientEnd>,
) -> Result<http::Response<ResponseBody>, Outcome> {
    match answered(head).and_then(checked) {
        Ok(response) => Ok(Collected::new(response, for_head).into_streamed(verdict, client)),
        Err(fault) => Err(refuse(client, fault).outcome),
    }
}

/// Tells the running call that its answer was refused.
fn refuse(client: oneshot::Sender<ClientEnd>, fault: Fault) -> Fault {
    // Fails if the call has ended meanwhile: then it has its own verdict.
    let _ = client.send(ClientEnd::Refused(fault.clone()));
    fault
}
