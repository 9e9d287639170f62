//! A bounded pipe from a command's standard output to the body of its response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use wasmtime_wasi_http::Error as HttpError;

use crate::limits;

/// What a pipe holds at most: small bodies fit whole, so that the command need not wait for its client.
const CAPACITY_BYTES: usize = limits::RESPONSE_CHUNKS * limits::RESPONSE_CHUNK_BYTES;

/// A new pipe. `content_length` is what the response promised; a body that is longer or shorter is an error.
pub fn pipe(content_length: Option<u64>) -> (PipeWriter, PipeBody) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let body = PipeBody { shared: shared.clone(), content_length, sent: 0 };
    (PipeWriter { shared }, body)
}

#[derive(Default)]
struct Shared {
    buffer: BytesMut,
    writer_gone: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The writing end. Dropping it ends the body.
pub struct PipeWriter {
    shared: Arc<Mutex<Shared>>,
}

impl PipeWriter {
    /// Bytes that fit now; `None` when nobody reads any more.
    pub fn room(&self) -> Option<usize> {
        let shared = self.shared.lock();
        (!shared.reader_gone).then(|| CAPACITY_BYTES.saturating_sub(shared.buffer.len()))
    }

    /// Adds `bytes`; the caller has asked for room.
    pub fn write(&self, bytes: &[u8]) {
        let mut shared = self.shared.lock();
        shared.buffer.extend_from_slice(bytes);
        wake(&mut shared.reader);
    }

    /// Ready when there is room, or nobody reads any more.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock();
        if shared.reader_gone || shared.buffer.len() < CAPACITY_BYTES {
            return Poll::Ready(());
        }
        shared.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.writer_gone = true;
        wake(&mut shared.reader);
    }
}

/// The reading end: everything written, in as few frames as possible.
pub struct PipeBody {
    shared: Arc<Mutex<Shared>>,
    content_length: Option<u64>,
    sent: u64,
}

impl PipeBody {
    fn wrong_length(&self) -> HttpError {
        HttpError::HttpResponseBodySize(Some(self.sent))
    }
}

impl Body for PipeBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let bytes = {
            let mut shared = self.shared.lock();
            if shared.buffer.is_empty() && !shared.writer_gone {
                shared.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            wake(&mut shared.writer);
            shared.buffer.split().freeze()
        };
        self.sent += bytes.len() as u64;
        let promised = self.content_length.unwrap_or(self.sent);
        if self.sent > promised || (bytes.is_empty() && self.sent < promised) {
            return Poll::Ready(Some(Err(self.wrong_length())));
        }
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }
}

impl Drop for PipeBody {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.reader_gone = true;
        shared.buffer.clear();
        wake(&mut shared.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(body: &mut PipeBody) -> Poll<Option<Result<Bytes, HttpError>>> {
        let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }

    #[test]
    fn what_is_written_comes_out_and_a_full_pipe_waits() {
        let (writer, mut body) = pipe(None);
        assert!(next(&mut body).is_pending());
        writer.write(b"a");
        writer.write(b"b");
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(bytes))) if bytes == "ab"));
        writer.write(&vec![0; CAPACITY_BYTES]);
        assert_eq!(writer.room(), Some(0));
        assert!(writer.poll_room(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(bytes))) if bytes.len() == CAPACITY_BYTES));
        assert!(writer.poll_room(&mut Context::from_waker(Waker::noop())).is_ready());
        drop(writer);
        assert!(matches!(next(&mut body), Poll::Ready(None)));
    }

    #[test]
    fn a_promised_length_is_kept_or_an_error() {
        for (promised, written, fits) in [(2, "ab", true), (3, "ab", false), (1, "ab", false), (0, "", true)]
        {
            let (writer, mut body) = pipe(Some(promised));
            writer.write(written.as_bytes());
            drop(writer);
            let mut failed = false;
            while let Poll::Ready(Some(frame)) = next(&mut body) {
                failed |= frame.is_err();
                if failed {
                    break;
                }
            }
            assert_eq!(!failed, fits, "{promised} {written:?}");
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_noticed() {
        let (writer, body) = pipe(None);
        drop(body);
        assert_eq!(writer.room(), None);
        assert!(writer.poll_room(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
