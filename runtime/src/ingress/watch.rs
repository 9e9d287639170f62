//! Notes what each connection is doing and enforces its time limits: a head that never ends, a client that never reads and a
//! connection that never asks are all cut after a bounded time.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Version};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::limits;

/// How often the limits of all connections are checked. Coarse on purpose: a timer per request or per connection would cost too
/// much.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// What a connection is doing, as far as its time limits and its end need to know. Times are milliseconds of a coarse clock; 0
/// means "not".
pub struct Watch {
    requests: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    write_blocked_since: AtomicU64,
    http2: AtomicBool,
    /// Bits that are set once: [`LEFT_UNREAD`], [`WAS_CUT`], [`CLIENT_ENDED`].
    facts: AtomicU8,
    /// What the connection is to do when it is polled next: an [`Order`].
    order: AtomicU8,
    /// Whether something that the connection waits for has come.
    has_come: AtomicBool,
    /// The task that polls the connection.
    task: Mutex<Waker>,
}

/// A request's body was not read to its end: no other request can follow it.
const LEFT_UNREAD: u8 = 1;
/// A response was cut, and its client cannot know the length it should have had.
const WAS_CUT: u8 = 2;
/// The client sends nothing more.
const CLIENT_ENDED: u8 = 4;

/// What a connection is to do. A later order replaces an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Go on serving.
    Serve,
    /// Finish the requests under way, then end.
    Drain,
    /// Answer that a head took too long, and end.
    Late,
    /// End at once.
    End,
}

impl Order {
    const ALL: [Self; 4] = [Self::Serve, Self::Drain, Self::Late, Self::End];
}

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
            if let Some(order) = watch.overdue(now) {
                watch.tell(order);
            }
            true
        });
    }

    /// Lets every connection finish the requests under way and then end. New connections start in this state.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.open.lock().iter().filter_map(Weak::upgrade).for_each(|watch| watch.tell(Order::Drain));
    }

    /// Begins to watch a connection.
    pub fn open(&self) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(now_ms()),
            head_since: AtomicU64::new(0),
            write_blocked_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            facts: AtomicU8::new(0),
            order: AtomicU8::new(Order::Serve as u8),
            has_come: AtomicBool::new(false),
            task: Mutex::new(Waker::noop().clone()),
        });
        let mut open = self.open.lock();
        open.push(Arc::downgrade(&watch));
        if self.draining.load(Ordering::SeqCst) {
            watch.order.store(Order::Drain as u8, Ordering::Release);
        }
        watch
    }
}

/// Returns the kernel's coarse monotonic clock in milliseconds (resolution of some ms, no system call). Never 0.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000 + 1
}

impl Watch {
    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.task.lock().wake_by_ref();
    }

    /// Notes that `task` polls the connection. It is woken from now on.
    pub fn polled_by(&self, task: &Waker) {
        self.task.lock().clone_from(task);
    }

    /// Returns what the connection is to do. Its task is woken when that changes.
    pub fn order(&self) -> Order {
        let order = usize::from(self.order.load(Ordering::Acquire));
        Order::ALL.get(order).copied().unwrap_or(Order::End)
    }

    /// Whether something that the connection waits for has come since the last call.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire) && self.has_come.swap(false, Ordering::AcqRel)
    }

    /// Notes that a request's head is complete. Dropping the guard says that its response is out.
    pub fn begin(self: &Arc<Self>, version: Version) -> ActiveRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        ActiveRequest { watch: self.clone(), ends_with_connection: version == Version::HTTP_10 }
    }

    /// Notes that the client speaks HTTP/2.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Notes that bytes came.
    pub fn received(&self) {
        if self.is_idle() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Notes that bytes went, or were `blocked` by a client that does not read.
    pub fn written(&self, blocked: bool) {
        if !blocked {
            if self.write_blocked_since.load(Ordering::Relaxed) != 0 {
                self.write_blocked_since.store(0, Ordering::Relaxed);
            }
        } else if self.write_blocked_since.load(Ordering::Relaxed) == 0 {
            self.write_blocked_since.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether a request's body was given up before its end.
    pub fn has_left_unread(&self) -> bool {
        self.is(LEFT_UNREAD)
    }

    /// Writes into the head of an answer that it is the last, if no other can follow it.
    pub fn mark_last(&self, headers: &mut HeaderMap) {
        if self.has_left_unread() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Whether a response was cut, and its client cannot know the length it should have had.
    pub fn was_cut(&self) -> bool {
        self.is(WAS_CUT)
    }

    /// Notes that the client sends nothing more.
    pub fn client_ends(&self) {
        self.facts.fetch_or(CLIENT_ENDED, Ordering::Relaxed);
    }

    /// Whether the client has said that it sends nothing more.
    pub fn client_has_ended(&self) -> bool {
        self.is(CLIENT_ENDED)
    }

    fn is(&self, fact: u8) -> bool {
        self.facts.load(Ordering::Relaxed) & fact != 0
    }

    /// Returns the order that follows from a limit that has passed, if one has.
    fn overdue(&self, now: u64) -> Option<Order> {
        let longer = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && now.saturating_sub(since) > limit.as_millis() as u64
        };
        if longer(&self.write_blocked_since, limits::WRITE_STALL_TIMEOUT) {
            return Some(Order::End);
        }
        if !self.is_idle() {
            return None;
        }
        if longer(&self.idle_since, limits::CONNECTION_IDLE_TIMEOUT) {
            return Some(Order::End);
        }
        // On HTTP/2 bytes between requests may be pings, so only idleness counts there.
        let head_is_slow =
            !self.http2.load(Ordering::Relaxed) && longer(&self.head_since, limits::HEAD_READ_TIMEOUT);
        head_is_slow.then_some(Order::Late)
    }
}

/// Wakes the connection's task because what it waits for has come. The task can tell this from other reasons.
impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_come.store(true, Ordering::Release);
        self.task.lock().wake_by_ref();
    }
}

/// The body of a request. If it is dropped before its end, its HTTP/1 connection has to end, too, because the rest of the body
/// stands before the next request. On HTTP/2 it does not.
pub struct Unfinished<B> {
    body: B,
    /// `None` once the body has ended.
    watch: Option<Arc<Watch>>,
}

impl<B: Body> Unfinished<B> {
    /// Wraps the `body` of a request of this `version` on the connection of `watch`.
    pub fn new(body: B, version: Version, watch: &Arc<Watch>) -> Self {
        // Most requests have no body.
        let has_end = version == Version::HTTP_2 || body.is_end_stream();
        Self { body, watch: (!has_end).then(|| watch.clone()) }
    }
}

impl<B: Body + Unpin> Body for Unfinished<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let has_ended = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
            Poll::Ready(None) => true,
        };
        if has_ended {
            self.watch = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Unfinished<B> {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.facts.fetch_or(LEFT_UNREAD, Ordering::Relaxed);
        }
    }
}

/// A request between the end of its head and the end of its response.
pub struct ActiveRequest {
    watch: Arc<Watch>,
    /// Whether its response may have no other end than that of the connection.
    ends_with_connection: bool,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.watch.idle_since.store(now_ms(), Ordering::Relaxed);
        self.watch.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body during which its request counts as active.
pub struct Guarded<B> {
    body: B,
    active: ActiveRequest,
}

impl<B> Guarded<B> {
    /// Keeps `active` until `body` is dropped.
    pub fn new(body: B, active: ActiveRequest) -> Self {
        Self { body, active }
    }
}

impl<B: Body + Unpin> Body for Guarded<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if self.active.ends_with_connection && matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.active.watch.facts.fetch_or(WAS_CUT, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
