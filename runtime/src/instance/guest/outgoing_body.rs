//! Bodies that guests write with `wasi:http` 0.2: of their answers, and of the requests that they send.
//!
//! The library makes three channels for each, with room for thirty-two pieces. Nearly every body is one piece, written
//! before anybody reads: here writer and reader share one small state (docs/decisions/2026-11-22-outgoing-bodies.md).
//! What a guest can see of it is the same.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::{HyperOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{Error as HttpError, FieldMap, WasiHttpView};

use crate::instance::guest::Guest;
use crate::limits;
use crate::short_queue::ShortQueue;

/// The interface that the bodies belong to, as the library's linker calls it.
const TYPES: &str = "wasi:http/types@0.2.12";

/// The guest's handle of a body. Dropped, it lets the reader know that nothing more comes.
pub struct OutgoingBody {
    shared: Arc<Shared>,
    context: StreamContext,
    stream_is_taken: bool,
    /// What the guest's `content-length` says.
    promised: Option<u64>,
}

struct Shared {
    state: Mutex<State>,
    /// What waits to be read in all bodies of the guest.
    buffered: Arc<AtomicU64>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let waiting: usize = self.state.get_mut().pieces.iter().map(Bytes::len).sum();
        self.buffered.fetch_sub(waiting as u64, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    /// At most [`limits::RESPONSE_CHUNKS`].
    pieces: ShortQueue<Bytes>,
    written: u64,
    end: End,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    Whole(Option<HeaderMap>),
    Aborted,
}

impl State {
    fn has_room(&self) -> bool {
        self.pieces.len() < limits::RESPONSE_CHUNKS
    }

    fn push(&mut self, piece: Bytes) {
        self.pieces.push(piece);
        wake(&mut self.reader);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop()?;
        wake(&mut self.writer);
        Some(piece)
    }

    fn end(&mut self, end: End) {
        if matches!(self.end, End::Open) {
            self.end = end;
            wake(&mut self.reader);
        }
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

impl OutgoingBody {
    fn new(
        context: StreamContext,
        promised: Option<u64>,
        buffered: &Arc<AtomicU64>,
    ) -> (Self, HyperOutgoingBody) {
        let shared = Arc::new(Shared { state: Mutex::default(), buffered: buffered.clone() });
        let reader = Reader(shared.clone()).boxed_unsync();
        (Self { shared, context, stream_is_taken: false, promised }, reader)
    }

    fn take_stream(&mut self) -> Option<DynOutputStream> {
        if std::mem::replace(&mut self.stream_is_taken, true) {
            return None;
        }
        let (shared, context, promised) = (self.shared.clone(), self.context, self.promised);
        Some(Box::new(Stream { shared, context, promised }))
    }

    fn finish(self, trailers: Option<HeaderMap>) -> Result<(), ErrorCode> {
        let mut state = self.shared.state.lock();
        let written = state.written;
        if self.promised.is_some_and(|promised| promised != written) {
            state.end(End::Aborted);
            return Err(self.context.as_body_size_error(written));
        }
        state.end(End::Whole(trailers));
        Ok(())
    }

    fn abort(self) {
        self.shared.state.lock().end(End::Aborted);
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        // Only if its guest is gone: how that ended is said elsewhere.
        self.shared.state.lock().end(End::Whole(None));
    }
}

/// What the guest writes to.
struct Stream {
    shared: Arc<Shared>,
    context: StreamContext,
    promised: Option<u64>,
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stream {
    fn write(&mut self, piece: Bytes) -> StreamResult<()> {
        let mut state = self.shared.state.lock();
        if state.reader_is_gone {
            return Err(StreamError::Closed);
        }
        if piece.len() > limits::RESPONSE_CHUNK_BYTES || !state.has_room() {
            return Err(StreamError::trap("more was written than check-write allowed"));
        }
        state.written += piece.len() as u64;
        let written = state.written;
        // Nothing is not sent on: it would be an empty frame, of which there may be any number.
        if !piece.is_empty() {
            self.shared.buffered.fetch_add(piece.len() as u64, Ordering::Relaxed);
            state.push(piece);
        }
        if self.promised.is_some_and(|promised| written > promised) {
            let error = self.context.as_body_size_error(written);
            return Err(StreamError::LastOperationFailed(wasmtime::Error::new(error)));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What was written is the reader's already.
        match self.shared.state.lock().reader_is_gone {
            true => Err(StreamError::Closed),
            false => Ok(()),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.shared.state.lock();
        match (state.reader_is_gone, state.has_room()) {
            (true, _) => Err(StreamError::Closed),
            (false, true) => Ok(limits::RESPONSE_CHUNK_BYTES),
            (false, false) => Ok(0),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        poll_fn(|context| {
            let mut state = self.shared.state.lock();
            if state.reader_is_gone || state.has_room() {
                return Poll::Ready(());
            }
            state.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What the host reads.
struct Reader(Arc<Shared>);

impl Body for Reader {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut state = self.0.state.lock();
        if let Some(piece) = state.pop() {
            self.0.buffered.fetch_sub(piece.len() as u64, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut state.end {
            End::Open => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
            End::Whole(trailers) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            End::Aborted => Poll::Ready(Some(Err(HttpError::HttpProtocolError))),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.reader_is_gone = true;
        wake(&mut state.writer);
    }
}

/// Puts these bodies in the place of the library's.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.resource("outgoing-body", ResourceType::host::<OutgoingBody>(), |mut store, body| {
        let table = store.data_mut().http().table;
        table.delete(Resource::<OutgoingBody>::new_own(body))?.abort();
        Ok(())
    })?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: StoreContextMut<'_, Guest>, (response,): (Resource<HostOutgoingResponse>,)| {
            let for_head = store.data().answers_head;
            let buffered = body_begins(&mut store)?;
            let table = store.data_mut().http().table;
            let HostOutgoingResponse { status, headers, body } = table.get_mut(&response)?;
            // What its length would be is no promise where there is no content.
            let is_sent = !for_head && !has_no_content(*status);
            let made = make(StreamContext::Response, headers, body, is_sent, &buffered);
            Ok((made.map(|made| table.push(made)).transpose()?.ok_or(()),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: StoreContextMut<'_, Guest>, (request,): (Resource<HostOutgoingRequest>,)| {
            let buffered = body_begins(&mut store)?;
            let table = store.data_mut().http().table;
            let HostOutgoingRequest { headers, body, .. } = table.get_mut(&request)?;
            let made = make(StreamContext::Request, headers, body, true, &buffered);
            Ok((made.map(|made| table.push(made)).transpose()?.ok_or(()),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-body.write",
        |mut store: StoreContextMut<'_, Guest>, (body,): (Resource<OutgoingBody>,)| {
            let table = store.data_mut().http().table;
            let stream = table.get_mut(&body)?.take_stream();
            Ok((stream.map(|stream| table.push_child(stream, &body)).transpose()?.ok_or(()),))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, Guest>,
         (body, trailers): (Resource<OutgoingBody>, Option<Resource<FieldMap>>)| {
            let table = store.data_mut().http().table;
            let body = table.delete(body)?;
            let trailers = trailers.map(|trailers| table.delete(trailers)).transpose()?;
            Ok((body.finish(trailers.map(HeaderMap::from)),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Counts one more body; gives where the guest's bodies count what waits to be read.
fn body_begins(store: &mut StoreContextMut<'_, Guest>) -> wasmtime::Result<Arc<AtomicU64>> {
    let guest = store.data_mut();
    guest.holds_more(0)?;
    Ok(guest.objects.buffered().clone())
}

/// A body for a head with `headers`, unless it has one or its `content-length` is none. One that `is_sent` has to have that
/// length.
fn make(
    context: StreamContext,
    headers: &HeaderMap,
    body: &mut Option<HyperOutgoingBody>,
    is_sent: bool,
    buffered: &Arc<AtomicU64>,
) -> Option<OutgoingBody> {
    if body.is_some() {
        return None;
    }
    let promised = match headers.get(CONTENT_LENGTH) {
        Some(length) => Some(bytes_of(length)?),
        None => None,
    };
    let (made, reader) = OutgoingBody::new(context, promised.filter(|_| is_sent), buffered);
    *body = Some(reader);
    Some(made)
}

/// The bytes that a `content-length` promises (RFC 9110: digits alone).
fn bytes_of(length: &HeaderValue) -> Option<u64> {
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether answers of this status have no content (RFC 9110, 15.3.5, 15.3.6 and 15.4.5).
pub fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests;
