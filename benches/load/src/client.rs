//! One client: a keep-alive connection with one request at a time. If it ends, the next one is made.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::chunks::Malformed;
use crate::request::Request;
use crate::response::{Answer, HEAD_BYTES_MAX, Reader};

/// Why a request has no answer; see [`crate::Errors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Connect,
    Timeout,
    Closed,
    Malformed,
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// One of the clients of a run.
pub(crate) struct Client {
    request: Arc<Request>,
    /// The connection of the last answer, if it can be used again.
    kept: Option<Connection>,
}

impl Client {
    pub fn new(request: Arc<Request>) -> Self {
        Self { request, kept: None }
    }

    /// The kept connection, or a new one. If the server has closed the kept one meanwhile, that is no failure.
    pub async fn connect(&mut self) -> Result<Connection, Failure> {
        if let Some(mut connection) = self.kept.take()
            && connection.is_quiet().await
        {
            return Ok(connection);
        }
        let made = timeout(self.request.timeout, Connection::open(&self.request)).await;
        made.ok().and_then(Result::ok).ok_or(Failure::Connect)
    }

    /// Sends the request on `connection` and reads the answer to its end.
    pub async fn exchange(&mut self, mut connection: Connection) -> Result<Answer, Failure> {
        let exchange = connection.exchange(&self.request.bytes, self.request.is_head);
        let answer = timeout(self.request.timeout, exchange).await.unwrap_or(Err(Failure::Timeout))?;
        self.kept = answer.is_reusable.then_some(connection);
        Ok(answer)
    }
}

/// TCP, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection, during a request or between two.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// Begins with the bytes that have come of an incomplete head.
    buffer: Box<[u8]>,
    filled: usize,
}

/// How much of a request is sent.
struct Sending<'a> {
    rest: &'a [u8],
    /// Nothing more can be sent, or has to be.
    is_over: bool,
}

impl Connection {
    async fn open(request: &Request) -> io::Result<Self> {
        let tcp = TcpStream::connect(request.addresses.as_slice()).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &request.tls {
            None => Box::new(tcp),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), tcp).await?),
        };
        Ok(Self { stream, buffer: vec![0; HEAD_BYTES_MAX].into(), filled: 0 })
    }

    /// Whether neither bytes nor the end have come since the last answer.
    async fn is_quiet(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(self.poll_read(context).is_pending())).await
    }

    async fn exchange(&mut self, request: &[u8], is_head: bool) -> Result<Answer, Failure> {
        let mut sending = Sending { rest: request, is_over: false };
        let mut reader = Reader::new(is_head);
        let mut answer = poll_fn(|context| {
            // Sends and reads at once: a server may answer before it has read everything, and read no further until its
            // answer is taken.
            sending.poll(&mut self.stream, context);
            self.poll_answer(&mut reader, context)
        })
        .await?;
        // Unsent bytes of the request, or bytes after the answer, would be taken for a part of what follows.
        answer.is_reusable &= sending.is_over && sending.rest.is_empty() && self.filled == 0;
        Ok(answer)
    }

    fn poll_answer(
        &mut self,
        reader: &mut Reader,
        context: &mut Context<'_>,
    ) -> Poll<Result<Answer, Failure>> {
        loop {
            let length = match ready!(self.poll_read(context)) {
                Ok(0) => return Poll::Ready(reader.close().ok_or(Failure::Closed)),
                Ok(length) => length,
                Err(_) => return Poll::Ready(Err(Failure::Closed)),
            };
            self.filled += length;
            let (taken, answer) = reader.read(&self.buffer[..self.filled])?;
            self.buffer.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            if let Some(answer) = answer {
                return Poll::Ready(Ok(answer));
            }
        }
    }

    /// Reads into the buffer, after what is filled. Returns how many bytes have come. There is always space, because a
    /// head that fills the buffer is malformed.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.buffer[self.filled..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }
}

impl Sending<'_> {
    /// Sends what can be sent now. An error here is not a failure of the request: the answer may have come already.
    fn poll(&mut self, stream: &mut Box<dyn Stream>, context: &mut Context<'_>) {
        while !self.is_over {
            let polled = match self.rest {
                [] => Pin::new(&mut *stream).poll_flush(context).map_ok(|()| 0),
                rest => Pin::new(&mut *stream).poll_write(context, rest),
            };
            match polled {
                Poll::Pending => return,
                Poll::Ready(Ok(0) | Err(_)) => self.is_over = true,
                Poll::Ready(Ok(length)) => self.rest = &self.rest[length..],
            }
        }
    }
}

#[cfg(test)]
mod tests;
