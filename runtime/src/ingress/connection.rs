//! One client connection and its time limits: a head that never ends, a client that never reads and a
//! connection that never asks are all cut after a bounded time.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits;

/// How often the limits of all connections are looked at. Coarse on purpose: a timer per request or per
/// connection would cost more than it is worth.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// What a connection is doing, as far as its limits go. Times are milliseconds of a coarse clock; 0 means
/// "not".
pub struct Watch {
    requests: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    write_blocked_since: AtomicU64,
    http2: AtomicBool,
    /// What the connection is to do when it is polled next: [`SERVE`], [`DRAIN`] or [`END`].
    order: AtomicU8,
    task: AtomicWaker,
}

const SERVE: u8 = 0;
const DRAIN: u8 = 1;
const END: u8 = 2;

/// The open connections of one listener.
#[derive(Default)]
pub struct Watches {
    open: Mutex<Vec<Weak<Watch>>>,
    draining: AtomicBool,
}

impl Watches {
    /// Ends every connection that has passed a limit. Called every [`WATCH_PERIOD`].
    pub fn end_overdue(&self) {
        let now = now_ms();
        self.open.lock().retain(|watch| {
            let Some(watch) = watch.upgrade() else { return false };
            if watch.is_over(now) {
                watch.tell(END);
            }
            true
        });
    }

    /// Lets every connection finish the requests under way and then end; new ones begin like that.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.open.lock().iter().filter_map(Weak::upgrade).for_each(|watch| watch.tell(DRAIN));
    }

    fn open(&self) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(now_ms()),
            head_since: AtomicU64::new(0),
            write_blocked_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            order: AtomicU8::new(SERVE),
            task: AtomicWaker::new(),
        });
        let mut open = self.open.lock();
        open.push(Arc::downgrade(&watch));
        if self.draining.load(Ordering::SeqCst) {
            watch.order.store(DRAIN, Ordering::Release);
        }
        watch
    }
}

/// Milliseconds of the kernel's coarse monotonic clock (some ms of resolution, no system call); never 0.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000 + 1
}

impl Watch {
    fn tell(&self, order: u8) {
        self.order.fetch_max(order, Ordering::AcqRel);
        self.task.wake();
    }

    /// A request's head is complete; the guard says when its response is out.
    pub fn begin(self: &Arc<Self>, version: http::Version) -> ActiveRequest {
        if version == http::Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        ActiveRequest(self.clone())
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    fn received(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(now_ms(), Ordering::Relaxed);
        }
    }

    fn written(&self, blocked: bool) {
        if !blocked {
            if self.write_blocked_since.load(Ordering::Relaxed) != 0 {
                self.write_blocked_since.store(0, Ordering::Relaxed);
            }
        } else if self.write_blocked_since.load(Ordering::Relaxed) == 0 {
            self.write_blocked_since.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether a limit has passed.
    fn is_over(&self, now: u64) -> bool {
        let longer = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && now.saturating_sub(since) > limit.as_millis() as u64
        };
        if longer(&self.write_blocked_since, limits::WRITE_STALL_TIMEOUT) {
            return true;
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return false;
        }
        // On HTTP/2 bytes between requests may be pings, so only idleness counts there.
        let head_is_slow =
            !self.http2.load(Ordering::Relaxed) && longer(&self.head_since, limits::HEAD_READ_TIMEOUT);
        head_is_slow || longer(&self.idle_since, limits::CONNECTION_IDLE_TIMEOUT)
    }
}

/// A request between the end of its head and the end of its response.
pub struct ActiveRequest(Arc<Watch>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(now_ms(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body during which its request counts as active.
pub struct Guarded<B> {
    body: B,
    _active: ActiveRequest,
}

impl<B> Guarded<B> {
    /// Keeps `active` until `body` is dropped.
    pub fn new(body: B, active: ActiveRequest) -> Self {
        Self { body, _active: active }
    }
}

impl<B: Body + Unpin> Body for Guarded<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves HTTP/1.1 and cleartext HTTP/2 on `stream` until it ends, passes a limit, or has finished what was
/// under way when `watches` began to drain.
pub async fn serve<S, B>(stream: TcpStream, watches: &Watches, make: impl FnOnce(Arc<Watch>) -> S)
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watch = watches.open();
    let builder = builder();
    let io = TokioIo::new(Watched { stream, watch: watch.clone(), has_its_turn: false });
    let mut connection = pin!(builder.serve_connection(io, make(watch.clone())));
    let mut draining = false;
    poll_fn(|context| {
        watch.task.register(context.waker());
        match watch.order.load(Ordering::Acquire) {
            END => return Poll::Ready(()),
            DRAIN if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        // What ends a connection early is the client's doing; there is nobody to tell.
        connection.as_mut().poll(context).map(drop)
    })
    .await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits::WRITE_STALL_TIMEOUT))
        .keep_alive_timeout(limits::HEAD_READ_TIMEOUT)
        .max_concurrent_streams(limits::H2_STREAMS_MAX)
        .max_header_list_size(limits::HEAD_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(limits::H2_RESETS_MAX)
        .max_send_buf_size(limits::RESPONSE_CHUNK_BYTES);
    builder
}

/// A stream that notes what [`Watch`] needs to know, and writes when the tasks that are ready have had their turn: answers
/// that can be computed now leave together, and wake whoever waits for them once (docs/decisions/).
struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
    has_its_turn: bool,
}

impl Watched {
    /// Ready when this task has gone to the end of the queue and come back, once for each write.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.has_its_turn = !self.has_its_turn;
        if self.has_its_turn {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.received();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.written(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.written(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
