//! The body of an asynchronous guest's answer, which outlives its worker if the guest has written all of it.
//!
//! When a worker is lost, nobody can tell afterwards whether a body ended because the guest ended it or because the guest was
//! gone. So the body is read before: if it can be read to its end then, it is whole, whatever the guest did next.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use wasmtime_wasi_http::Error as HttpError;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// The body of a guest's answer, for the code that sends it on.
pub enum AnswerBody {
    /// Only its reader holds it.
    Own(HyperOutgoingBody),
    /// The worker holds it, too.
    Kept(Arc<KeptBody>),
}

/// A body with two readers: the code that sends it on, and the end of the worker.
pub struct KeptBody(Mutex<State>);

struct State {
    /// What was read ahead when the worker ended; few frames, since the library's channel holds one.
    ahead: VecDeque<Frame<Bytes>>,
    is_whole: bool,
    body: HyperOutgoingBody,
}

impl KeptBody {
    /// Wraps `body`, of which nothing is read yet.
    pub fn new(body: HyperOutgoingBody) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { ahead: VecDeque::new(), is_whole: false, body })))
    }

    /// Reads what is there, because the worker is about to end. Returns whether that is all.
    pub fn settle(&self) -> bool {
        let mut state = self.0.lock();
        let mut context = Context::from_waker(Waker::noop());
        while !state.is_whole {
            match Pin::new(&mut state.body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => state.ahead.push_back(frame),
                Poll::Ready(None) => state.is_whole = true,
                Poll::Ready(Some(Err(_))) | Poll::Pending => break,
            }
        }
        state.is_whole
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut state = self.0.lock();
        match state.ahead.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if state.is_whole => Poll::Ready(None),
            None => {
                let frame = std::task::ready!(Pin::new(&mut state.body).poll_frame(context));
                // A body that is polled again after its end may panic.
                state.is_whole = frame.is_none();
                Poll::Ready(frame)
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(context),
            Self::Kept(body) => body.poll(context),
        }
    }
}
