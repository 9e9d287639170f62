//! Serves one client connection, from its first byte to its end in stages.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;

use crate::ingress::malformed;
use crate::ingress::stream::Stream;
use crate::ingress::watch::{Order, Watch, Watches};
use crate::ingress::wire::{self, Outbox};
use crate::limits;
use crate::refusal::Refusal;

/// Serves HTTP/1.1 and HTTP/2 on `stream`. Returns when the connection ends, passes a limit, or, after `watches` began
/// to drain, has finished the requests under way.
pub async fn serve<S, B>(stream: Stream, watches: &Watches, make: impl FnOnce(Arc<Watch>) -> S)
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Unpin,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watch = watches.open();
    let agreed = stream.speaks_http2();
    let (mut wire, outbox) = wire::open(stream, &watch);
    let driver = Driver { watch: &watch, outbox: &outbox };
    let version = match agreed {
        Some(true) => ConnectionEnd::Itself(Ok(true)),
        // The first bytes tell; hyper gets the first one alone ([`wire::Wire`]).
        Some(false) | None => {
            driver.drive(pin!(poll_fn(|context| wire.poll_is_http2(context))), |_| false).await
        }
    };
    let is_malformed = match version {
        ConnectionEnd::Over | ConnectionEnd::Itself(Err(_)) => return,
        ConnectionEnd::Late => {
            outbox.put(&too_slow());
            true
        }
        ConnectionEnd::Itself(Ok(true)) => {
            watch.speaks_http2();
            let connection = http2_builder().serve_connection(TokioIo::new(wire), make(watch.clone()));
            let connection = pin!(connection);
            let ended = driver.drive(connection, |connection| {
                connection.graceful_shutdown();
                true
            });
            // An early end is caused by the client, so nobody is told.
            if matches!(ended.await, ConnectionEnd::Over) {
                return;
            }
            false
        }
        ConnectionEnd::Itself(Ok(false)) => {
            let mut connection = http1_builder().serve_connection(TokioIo::new(wire), make(watch.clone()));
            let ended = driver.drive(Pin::new(&mut connection), |connection| {
                connection.graceful_shutdown();
                true
            });
            match ended.await {
                ConnectionEnd::Over => return,
                ConnectionEnd::Late => {
                    outbox.put(&too_slow());
                    true
                }
                ConnectionEnd::Itself(Err(error)) if error.is_parse() => {
                    let head = connection.into_parts().read_buf;
                    let answer = malformed::last_response(&malformed::refusal(&error, &head));
                    match error.is_parse_version_h2() {
                        // hyper sends no answer itself where the caller could go on with HTTP/2.
                        true => outbox.put(&answer),
                        false => outbox.put_instead(&answer),
                    }
                    true
                }
                ConnectionEnd::Itself(_) => false,
            }
        }
    };
    driver.end(is_malformed).await;
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits::HEAD_BYTES_MAX).max_headers(limits::HEADERS_MAX);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits::WRITE_STALL_TIMEOUT))
        .keep_alive_timeout(limits::HEAD_READ_TIMEOUT)
        .max_concurrent_streams(limits::H2_STREAMS_MAX)
        .max_header_list_size(limits::HEAD_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(limits::H2_RESETS_MAX)
        .max_send_buf_size(limits::RESPONSE_CHUNK_BYTES);
    builder
}

fn too_slow() -> Vec<u8> {
    let seconds = limits::HEAD_READ_TIMEOUT.as_secs();
    let message = format!("the request's head did not end within {seconds} s");
    malformed::last_response(&Refusal::new(StatusCode::REQUEST_TIMEOUT, "head-too-slow", message))
}

/// How a part of a connection ended.
enum ConnectionEnd<T> {
    /// By itself.
    Itself(T),
    /// The client took too long to send a head.
    Late,
    /// It has to end at once, or cannot be written to any more.
    Over,
}

/// Polls a connection and sends what it writes.
struct Driver<'a> {
    watch: &'a Arc<Watch>,
    outbox: &'a Outbox,
}

impl Driver<'_> {
    /// Polls `part` to its end. What it wrote is sent after the tasks that are ready have run. For that this task is polled once
    /// more, and then `part` is polled only if something has come for it. `drain` is called when the host begins to end, and says
    /// whether `part` has something to finish.
    async fn drive<F: Future>(
        &self,
        mut part: Pin<&mut F>,
        drain: impl Fn(Pin<&mut F>) -> bool,
    ) -> ConnectionEnd<F::Output> {
        let waker = Waker::from(self.watch.clone());
        let (mut draining, mut is_due) = (false, true);
        let mut task = Waker::noop().clone();
        poll_fn(|context| {
            if !task.will_wake(context.waker()) {
                task.clone_from(context.waker());
                self.watch.polled_by(&task);
            }
            match self.watch.order() {
                Order::End => return Poll::Ready(ConnectionEnd::Over),
                Order::Late if self.watch.is_idle() => return Poll::Ready(ConnectionEnd::Late),
                Order::Drain if !draining => {
                    (draining, is_due) = (true, true);
                    if !drain(part.as_mut()) {
                        return Poll::Ready(ConnectionEnd::Over);
                    }
                }
                _ => {}
            }
            let of_part = &mut Context::from_waker(&waker);
            let sent = self.outbox.poll_send(of_part);
            if matches!(sent, Poll::Ready(Err(_))) {
                return Poll::Ready(ConnectionEnd::Over);
            }
            if !self.watch.has_come() && !is_due {
                return Poll::Pending;
            }
            is_due = false;
            let polled = part.as_mut().poll(of_part);
            if polled.is_pending() && sent.is_ready() && self.outbox.waits() {
                context.waker().wake_by_ref();
            }
            polled.map(ConnectionEnd::Itself)
        })
        .await
    }

    /// Ends the connection in stages (RFC 9112, 9.6): sends what was answered, then the end, and then reads for a while what the
    /// client still sends. If the socket were closed at once, the client's system would drop the answer with the connection.
    async fn end(&self, is_malformed: bool) {
        if self.unless_over(|context| self.outbox.poll_send(context)).await.is_none() {
            return;
        }
        if self.watch.was_cut() {
            return self.outbox.abort();
        }
        let ended = self.unless_over(|context| self.outbox.poll_end(context)).await;
        if ended.is_none() || self.watch.client_has_ended() {
            return;
        }
        let expects_more = is_malformed || self.watch.has_left_unread();
        let some = poll_fn(|context| Poll::Ready(self.outbox.poll_discard(context))).await;
        if matches!(some, Poll::Ready(Ok(1..))) || (some.is_pending() && expects_more) {
            let discarding = async {
                let some = || self.unless_over(|context| self.outbox.poll_discard(context));
                while let Ok(Some(1..)) = timeout(limits::LINGER_SILENCE_MAX, some()).await {}
            };
            // A client that still sends has had time to read its answer.
            let _ = timeout(limits::LINGER_MAX, discarding).await;
        }
    }

    /// Returns the result of `poll`, or `None` if it is an error or the connection has to end before.
    async fn unless_over<T>(&self, poll: impl Fn(&mut Context<'_>) -> Poll<std::io::Result<T>>) -> Option<T> {
        poll_fn(|context| {
            self.watch.polled_by(context.waker());
            match self.watch.order() {
                Order::End => Poll::Ready(None),
                _ => poll(context).map(Result::ok),
            }
        })
        .await
    }
}
