//! Bodies as streams: a reader for the request's, a writer with backpressure for the response's.

use wasip2::http::types::{ErrorCode, IncomingBody, OutgoingBody};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::Error;

/// The request's body as it arrives.
#[derive(Debug)]
pub struct BodyReader {
    // Invariant: the stream is dropped before the body that owns it, hence this order.
    stream: InputStream,
    _body: IncomingBody,
}

impl BodyReader {
    /// Opens the one stream of `body`.
    pub(crate) fn new(body: IncomingBody) -> Result<Self, Error> {
        let stream = body.stream().map_err(|()| Error::BodyTaken)?;
        Ok(Self { stream, _body: body })
    }

    /// Waits for the next bytes, at most `bytes_max` and never none; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Stream`] when the caller breaks off.
    pub fn read(&mut self, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.stream.blocking_read(bytes_max) {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(Some(chunk)),
                Err(StreamError::Closed) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The response's body after its head. Dropped without [`finish`](Self::finish) it tells the caller that the
/// response is incomplete.
#[derive(Debug)]
pub struct BodyWriter {
    // Invariant: the stream is dropped before the body that owns it, hence this order.
    stream: OutputStream,
    body: OutgoingBody,
}

impl BodyWriter {
    /// Opens the one stream of `body`.
    pub(crate) fn new(body: OutgoingBody) -> Result<Self, Error> {
        let stream = body.write().map_err(|()| Error::BodyTaken)?;
        Ok(Self { stream, body })
    }

    /// Writes what the host takes at once; answers how many bytes that was. A broken stream takes none and
    /// says so at the next write.
    pub(crate) fn write_without_waiting(&mut self, bytes: &[u8]) -> usize {
        let permit = self.stream.check_write().unwrap_or(0);
        let now = at_most(bytes, permit);
        if now.is_empty() || self.stream.write(now).is_err() { 0 } else { now.len() }
    }

    /// Writes all of `bytes`, waiting as long as the caller reads slower than this writes.
    ///
    /// # Errors
    /// [`Error::Closed`] when the caller has gone, [`Error::Stream`] when the host refuses (for example more
    /// bytes than `content-length` says).
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.stream.check_write()? {
                0 => self.stream.subscribe().block(),
                permit => {
                    let now = at_most(bytes, permit);
                    self.stream.write(now)?;
                    bytes = &bytes[now.len()..];
                }
            }
        }
        Ok(())
    }

    /// Waits until the host has passed on everything written so far.
    ///
    /// # Errors
    /// As [`Self::write_all`].
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.stream.blocking_flush()?)
    }

    /// Ends the body: the response is complete.
    ///
    /// # Errors
    /// [`Error::Stream`] when the host finds it is not, for example shorter than `content-length` says.
    pub fn finish(self) -> Result<(), Error> {
        drop(self.stream);
        OutgoingBody::finish(self.body, None).map_err(|error: ErrorCode| Error::Stream(error.to_string()))
    }
}

/// The first `permit` bytes, or all if there are fewer.
fn at_most(bytes: &[u8], permit: u64) -> &[u8] {
    &bytes[..bytes.len().min(usize::try_from(permit).unwrap_or(usize::MAX))]
}
