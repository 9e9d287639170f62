//! Sends spans to a collector by OTLP over HTTP. Never delays its callers.
//!
//! Spans wait in a bounded queue. One task takes batches from it and sends one at a time. A batch that the collector may accept
//! later is sent again for a while. Every span that does not arrive is counted.

mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use self::request::EndpointError;
use self::request::{Collector, Failure};
use crate::limits;
use crate::trace::otlp;
use crate::trace::span::Span;

/// The way of spans out of the host.
pub struct Exporter {
    queue: Arc<Queue>,
    /// `None` once [`Exporter::flush`] was called.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    /// Sends to `endpoint`/v1/traces, with `headers` in each request, as the host on the machine `host_name`. What it
    /// takes to do so runs on `handle`.
    pub fn start(
        endpoint: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        host_name: String,
        handle: &Handle,
    ) -> Result<Self, EndpointError> {
        let collector = Collector::new(endpoint, headers)?;
        let queue = Arc::<Queue>::default();
        let sender = Sender { queue: queue.clone(), collector, host_name, is_failing: false };
        Ok(Self { queue, task: Mutex::new(Some(handle.spawn(sender.run()))) })
    }

    /// Queues a span that has ended. Drops it if there is no room.
    pub fn export(&self, span: Span) {
        self.queue.add(span);
    }

    /// Spans that the collector did not get, or did not take, since the start.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// Sends what waits, without waiting for more, and ends with that or at `deadline`. Spans that are handed over
    /// later are dropped.
    pub async fn flush(&self, deadline: Instant) {
        let task = self.task.lock().take();
        let Some(mut task) = task else { return };
        self.queue.close();
        if timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
            // It was told to end.
            let _ = task.await;
            self.queue.abandon();
        }
    }
}

/// Spans that wait to be sent.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// The first span is there, or a whole batch, or it was closed: the sender is not woken for each span.
    changed: Notify,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    /// At most [`limits::TRACE_QUEUE_MAX`].
    spans: VecDeque<Span>,
    is_closed: bool,
}

impl Queue {
    fn add(&self, span: Span) {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed || waiting.spans.len() == limits::TRACE_QUEUE_MAX {
            drop(waiting);
            self.count_dropped(1);
            return;
        }
        waiting.spans.push_back(span);
        let count = waiting.spans.len();
        drop(waiting);
        if count == 1 || count == limits::TRACE_BATCH_MAX {
            self.changed.notify_one();
        }
    }

    fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Notes that nobody will send what still waits.
    fn abandon(&self) {
        let spans = std::mem::take(&mut self.waiting.lock().spans);
        self.count_dropped(spans.len() as u64);
    }

    /// The next spans to send: a whole batch, or what has come a while after the first of it. Empty when the queue is
    /// closed and all were taken.
    async fn next_batch(&self) -> Vec<Span> {
        self.until(1).await;
        // What has come by then is enough.
        let _ = timeout(limits::TRACE_BATCH_WAIT, self.until(limits::TRACE_BATCH_MAX)).await;
        let mut waiting = self.waiting.lock();
        let count = waiting.spans.len().min(limits::TRACE_BATCH_MAX);
        waiting.spans.drain(..count).collect()
    }

    /// Waits until there are so many, or no more will come.
    async fn until(&self, count: usize) {
        let is_there = || {
            let waiting = self.waiting.lock();
            waiting.is_closed || waiting.spans.len() >= count
        };
        while !is_there() {
            self.changed.notified().await;
        }
    }

    fn count_dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }
}

/// Spans that are being sent. Those that have not arrived when this is dropped count as dropped.
struct Undelivered<'a> {
    spans: u64,
    queue: &'a Queue,
}

impl Drop for Undelivered<'_> {
    fn drop(&mut self) {
        self.queue.count_dropped(self.spans);
    }
}

/// Takes spans out of the queue.
struct Sender {
    queue: Arc<Queue>,
    collector: Collector,
    host_name: String,
    /// From a failed attempt to the next batch that arrives at once: it is logged where this changes.
    is_failing: bool,
}

impl Sender {
    /// Ends when the queue is closed and empty.
    async fn run(mut self) {
        loop {
            let spans = self.queue.next_batch().await;
            if spans.is_empty() {
                return;
            }
            let queue = self.queue.clone();
            let mut undelivered = Undelivered { spans: spans.len() as u64, queue: &queue };
            let body = Bytes::from(otlp::request_body(&spans, &self.host_name));
            drop(spans);
            undelivered.spans = self.deliver(body, undelivered.spans).await;
        }
    }

    /// Sends a batch until it arrives or cannot arrive any more. Returns how many of its spans were not accepted.
    async fn deliver(&mut self, body: Bytes, spans: u64) -> u64 {
        let last_begin = Instant::now() + limits::TRACE_RETRY_MAX;
        let mut attempt = 0;
        loop {
            let failure = match self.collector.send(body.clone()).await {
                Ok(()) => {
                    // One that takes each batch only when asked twice is not well yet.
                    if attempt == 0 && std::mem::take(&mut self.is_failing) {
                        tracing::info!("the collector of traces takes them again");
                    }
                    return 0;
                }
                Err(failure) => failure,
            };
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::warn!(
                    "send traces to {}: {failure} (said once until it works again)",
                    self.collector
                );
            }
            let pause = match failure {
                Failure::Partial { rejected, .. } => return rejected.min(spans),
                Failure::Final(_) => return spans,
                Failure::Passing { retry_after, .. } => {
                    retry_after.unwrap_or_else(|| request::pause(attempt))
                }
            };
            if Instant::now() + pause > last_begin {
                return spans;
            }
            sleep(pause).await;
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests;
