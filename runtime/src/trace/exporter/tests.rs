//! The exporter against a collector on a real connection, on paused time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;
use crate::trace::context::TraceContext;
use crate::trace::exporter::Exporter;
use crate::trace::span::{Kind, Span};

/// What the collector does with a request.
#[derive(Clone, Copy)]
enum Reply {
    Answer(u16),
    RetryAfter(&'static str),
    Body(&'static str),
    Silence,
}

/// A request that the collector got.
struct Received {
    at: Instant,
    path: String,
    headers: http::HeaderMap,
    names: Vec<String>,
}

/// Answers as it was told, then 200; notes what it got.
struct Server {
    replies: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
    changed: Notify,
}

impl Server {
    async fn start(replies: &[Reply]) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/otlp", listener.local_addr().unwrap());
        let server = Arc::new(Self {
            replies: Mutex::new(replies.iter().copied().collect()),
            received: Mutex::default(),
            changed: Notify::new(),
        });
        let accepting = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = accepting.clone();
                let service = service_fn(move |request| server.clone().answer(request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        (server, endpoint)
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        let names = spans.iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect();
        let path = head.uri.path().to_owned();
        self.received.lock().push(Received { at: Instant::now(), path, headers: head.headers, names });
        self.changed.notify_one();
        let reply = self.replies.lock().pop_front().unwrap_or(Reply::Answer(200));
        let mut response = Response::new(Full::default());
        match reply {
            Reply::Answer(code) => *response.status_mut() = code.try_into().unwrap(),
            Reply::RetryAfter(value) => {
                *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(value));
            }
            Reply::Body(body) => *response.body_mut() = body.into(),
            Reply::Silence => std::future::pending().await,
        }
        Ok(response)
    }

    /// Waits for so many requests.
    async fn has(&self, count: usize) {
        while self.received.lock().len() < count {
            self.changed.notified().await;
        }
    }

    fn names(&self) -> Vec<Vec<String>> {
        self.received.lock().iter().map(|request| request.names.clone()).collect()
    }

    /// The times between requests.
    fn gaps(&self) -> Vec<Duration> {
        let received = self.received.lock();
        received.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at)).collect()
    }
}

fn span(name: &str) -> Span {
    let context = TraceContext { trace_id: [1; 16], span_id: [2; 8], sampled: true };
    Span::new(context, None, name, Kind::Server, 1_000)
}

fn exporter(endpoint: &str) -> Exporter {
    let headers = vec![(HeaderName::from_static("api-key"), HeaderValue::from_static("abc"))];
    Exporter::start(&endpoint.parse().unwrap(), headers, "host-1".into(), &Handle::current()).unwrap()
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Sends "first" through a collector that answers like this, then "second", to the end of both.
async fn deliver(replies: &[Reply]) -> (Arc<Server>, Exporter) {
    let (server, endpoint) = Server::start(replies).await;
    let exporter = exporter(&endpoint);
    exporter.export(span("first"));
    server.has(1).await;
    exporter.export(span("second"));
    exporter.flush(in_seconds(300)).await;
    (server, exporter)
}

/// Takes up to a millisecond of timers.
fn is_about(found: Duration, expected: Duration) -> bool {
    found >= expected && found <= expected + Duration::from_millis(5)
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_a_second_goes_together() {
    let (server, endpoint) = Server::start(&[]).await;
    let exporter = exporter(&endpoint);
    let begin = Instant::now();
    exporter.export(span("one"));
    tokio::time::sleep(Duration::from_millis(900)).await;
    exporter.export(span("two"));
    server.has(1).await;
    exporter.export(span("three"));
    server.has(2).await;
    assert_eq!(server.names(), [vec!["one", "two"], vec!["three"]]);
    let received = server.received.lock();
    assert!(is_about(received[0].at - begin, limits::TRACE_BATCH_WAIT), "{:?}", received[0].at - begin);
    assert_eq!(received[0].path, "/otlp/v1/traces");
    assert_eq!(received[0].headers["content-type"], "application/json");
    assert_eq!(received[0].headers["api-key"], "abc");
}

#[tokio::test(start_paused = true)]
async fn a_whole_batch_does_not_wait() {
    let (server, endpoint) = Server::start(&[]).await;
    let exporter = exporter(&endpoint);
    let begin = Instant::now();
    exporter.export(span("0"));
    // Others are waited for by then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for number in 1..1_030 {
        exporter.export(span(&number.to_string()));
    }
    server.has(2).await;
    assert!(begin.elapsed() < limits::TRACE_BATCH_WAIT);
    server.has(3).await;
    let sizes: Vec<_> = server.names().iter().map(Vec::len).collect();
    assert_eq!(sizes, [512, 512, 6]);
    let names: Vec<_> = server.names().concat();
    assert!(names.iter().zip(0..).all(|(name, number)| *name == number.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_away_for_a_moment_gets_the_same_again() {
    let replies = [502, 503, 504].map(Reply::Answer);
    let (server, exporter) = deliver(&replies).await;
    assert_eq!(server.names(), [["first"], ["first"], ["first"], ["first"], ["second"]]);
    for (gap, whole_ms) in server.gaps().iter().zip([500, 1_000, 2_000]) {
        let whole = Duration::from_millis(whole_ms);
        assert!(*gap >= whole / 2 && *gap <= whole + Duration::from_millis(5), "{gap:?}");
    }
    assert_eq!(exporter.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_collector_says_how_long_to_wait() {
    let (server, exporter) = deliver(&[Reply::RetryAfter("7")]).await;
    assert_eq!(server.names(), [["first"], ["first"], ["second"]]);
    assert!(is_about(server.gaps()[0], Duration::from_secs(7)), "{:?}", server.gaps());
    assert_eq!(exporter.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_collector_refuses_is_not_sent_again() {
    let (server, exporter) = deliver(&[Reply::Answer(400)]).await;
    assert_eq!(server.names(), [["first"], ["second"]]);
    assert_eq!(exporter.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_collector_takes_in_part_is_not_sent_again() {
    let replies =
        [r#"{"partialSuccess":{"rejectedSpans":"1"}}"#, r#"{"partialSuccess":{"rejectedSpans":9}}"#];
    let (server, exporter) = deliver(&replies.map(Reply::Body)).await;
    assert_eq!(server.names(), [["first"], ["second"]]);
    assert_eq!(exporter.dropped(), 2, "never more than were sent");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_still_an_answer() {
    let endless = "x".repeat(2 * limits::TRACE_ANSWER_BYTES_MAX).leak();
    let (server, exporter) = deliver(&[Reply::Body(endless)]).await;
    assert_eq!(server.names(), [["first"], ["second"]]);
    assert_eq!(exporter.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_collector_is_asked_again_and_given_up_after_a_minute() {
    let (server, exporter) = deliver(&[Reply::Silence; 6]).await;
    let names = server.names();
    let firsts = names.iter().filter(|names| *names == &["first"]).count();
    assert!((4..=6).contains(&firsts), "{names:?}");
    assert_eq!(names.last().unwrap(), &["second"]);
    for gap in &server.gaps()[..firsts - 1] {
        assert!(*gap >= limits::TRACE_REQUEST_TIMEOUT && *gap <= Duration::from_secs(21), "{gap:?}");
    }
    let received = server.received.lock();
    let tried = received[firsts - 1].at - received[0].at;
    assert!(tried > Duration::from_secs(40) && tried <= limits::TRACE_RETRY_MAX, "{tried:?}");
    assert_eq!(exporter.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_spans_are_dropped_after_a_minute_and_counted() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let exporter = exporter(&endpoint);
    exporter.export(span("one"));
    let begin = Instant::now();
    exporter.flush(in_seconds(300)).await;
    assert_eq!(exporter.dropped(), 1);
    let tried = begin.elapsed();
    assert!(tried > Duration::from_secs(40) && tried <= limits::TRACE_RETRY_MAX, "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn beyond_its_bound_the_queue_takes_nothing() {
    let (server, endpoint) = Server::start(&[]).await;
    let exporter = exporter(&endpoint);
    for _ in 0..limits::TRACE_QUEUE_MAX + 3 {
        exporter.export(span("one"));
    }
    assert_eq!(exporter.dropped(), 3);
    exporter.flush(in_seconds(10)).await;
    assert_eq!(server.names().concat().len(), limits::TRACE_QUEUE_MAX);
    assert_eq!(exporter.dropped(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_end_sends_what_waits_at_once() {
    let (server, endpoint) = Server::start(&[]).await;
    let exporter = exporter(&endpoint);
    exporter.export(span("one"));
    let begin = Instant::now();
    exporter.flush(in_seconds(10)).await;
    assert!(begin.elapsed() < limits::TRACE_BATCH_WAIT);
    assert_eq!(server.names(), [["one"]]);
    exporter.export(span("late"));
    exporter.flush(in_seconds(10)).await;
    assert_eq!((server.names().len(), exporter.dropped()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_at_its_deadline_and_every_span_is_accounted_for() {
    let (server, endpoint) = Server::start(&[Reply::Silence]).await;
    let exporter = exporter(&endpoint);
    for _ in 0..600 {
        exporter.export(span("one"));
    }
    server.has(1).await;
    let begin = Instant::now();
    exporter.flush(in_seconds(5)).await;
    assert!(is_about(begin.elapsed(), Duration::from_secs(5)), "{:?}", begin.elapsed());
    assert_eq!(exporter.dropped(), 600);
}

/// Keeps the levels of what the exporter logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<tracing::Level>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().contains("trace::exporter")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().push(*event.metadata().level());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_once_and_so_is_its_end() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    // While there is one subscriber only, whether a line is wanted is asked of the thread that comes to it first, be it
    // that of another test.
    let _second = tracing::Dispatch::new(Log::default());
    let replies = [400, 503, 400, 500, 503, 200, 200, 200, 400];
    let (server, endpoint) = Server::start(&replies.map(Reply::Answer)).await;
    let exporter = exporter(&endpoint);
    // The collector's requests: 400 | 503 400 | 500 | 503 200 | 200 | 200 | 400.
    for requests in [1, 3, 4, 6, 7, 8, 9] {
        exporter.export(span("one"));
        server.has(requests).await;
    }
    exporter.flush(in_seconds(10)).await;
    assert_eq!(*log.0.lock(), [tracing::Level::WARN, tracing::Level::INFO, tracing::Level::WARN]);
}
