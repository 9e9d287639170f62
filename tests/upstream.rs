//! A server for guests to send requests to; says what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A running server on 127.0.0.1; ends with the test's process.
pub struct Upstream {
    /// Its address.
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Requests for `/once`.
    once: AtomicUsize,
    /// Requests now being answered, and the most there ever were at once.
    now: AtomicUsize,
    most: AtomicUsize,
    /// What came to `/sink`.
    sunk: Mutex<Vec<Sunk>>,
}

/// An event that came to `/sink`.
#[derive(Debug, Clone)]
pub struct Sunk {
    pub headers: hyper::HeaderMap,
    pub body: String,
    pub at: Instant,
}

impl Sunk {
    /// One of its headers.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Upstream {
    /// A server in the clear.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A server for `localhost` over TLS, with a certificate of its own; hands back the certificate as PEM.
    pub fn start_tls() -> (Self, String) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        (Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))), issued.cert.pem())
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let seen = Arc::<Seen>::default();
        let serving = seen.clone();
        let (address, bound) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                address.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    serving.connections.fetch_add(1, Ordering::SeqCst);
                    let (serving, tls) = (serving.clone(), tls.clone());
                    tokio::spawn(async move {
                        let service = service_fn(move |request| answer(request, serving.clone()));
                        let server = auto::Builder::new(TokioExecutor::new());
                        // A connection that its client cuts is one of the cases.
                        let _ = match tls {
                            None => server.serve_connection(TokioIo::new(stream), service).await,
                            Some(tls) => match tls.accept(stream).await {
                                Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                                Err(_) => Ok(()),
                            },
                        };
                    });
                }
            });
        });
        Self { address: bound.recv().unwrap(), seen }
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests received so far.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// The most requests that were being answered at once.
    pub fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }
}

impl Upstream {
    /// What came to `/sink`, in order.
    pub fn sunk(&self) -> Vec<Sunk> {
        self.seen.sunk.lock().unwrap().clone()
    }
}

fn sunk_batch(headers: &hyper::HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|kind| kind == "application/cloudevents-batch+json")
}

/// Names of the messages of a batch that ask to fail once more.
fn failed_of(batch: &str) -> String {
    let events: Vec<serde_json::Value> = serde_json::from_str(batch).unwrap();
    let fails = |event: &serde_json::Value| {
        let times = event["data"].as_str()?.strip_prefix("fail ")?.parse::<u64>().ok()?;
        let delivery: u64 = event["deliverycount"].as_str()?.parse().ok()?;
        (delivery <= times).then(|| event["id"].clone())
    };
    serde_json::json!({ "failed": events.iter().filter_map(fails).collect::<Vec<_>>() }).to_string()
}

/// What a message asks of `/sink`: `fail N` fails its first N deliveries, `slow MS` takes so long. `/sink?slow MS` and
/// `/sink?fail` ask the same whatever comes.
async fn sink(request: Request<Incoming>, query: &str, seen: &Seen) -> Result<Answer, std::io::Error> {
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let whole = String::from_utf8_lossy(&body).into_owned();
    let sunk = Sunk {
        headers: headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
        at: Instant::now(),
    };
    let delivery: u64 = sunk.header("ce-deliverycount").parse().unwrap_or(0);
    let asked = if query.is_empty() { sunk.body.as_str() } else { query };
    let (verb, number) = asked.split_once(' ').or(asked.split_once("%20")).unwrap_or((asked, ""));
    let (verb, number) = (verb.to_owned(), number.parse::<u64>().unwrap_or(0));
    seen.sunk.lock().unwrap().push(sunk);
    let mut answer = text("");
    match verb.as_str() {
        // The one message of a batch that its text is in.
        _ if sunk_batch(&headers) => answer = text(failed_of(&whole)),
        "fail" if delivery <= number || query == "fail" => {
            *answer.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE
        }
        "slow" => {
            // The wait is the server's own behavior, not a test waiting for something.
            let _ = tokio::time::timeout(Duration::from_millis(number), std::future::pending::<()>()).await;
        }
        _ => {}
    }
    Ok(answer)
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Answer, std::io::Error> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(now, Ordering::SeqCst);
    let answer = answer_to(request, &seen).await;
    seen.now.fetch_sub(1, Ordering::SeqCst);
    answer
}

fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed())
}

async fn answer_to(request: Request<Incoming>, seen: &Seen) -> Result<Answer, std::io::Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/sink" => sink(request, &query, seen).await,
        // The way of an OpenTelemetry collector.
        "/v1/traces" => sink(request, "", seen).await,
        // The way of one that takes nothing.
        "/refusing/v1/traces" => {
            let mut answer = text("");
            *answer.status_mut() = hyper::StatusCode::BAD_REQUEST;
            Ok(answer)
        }
        "/ok" => Ok(text("ok from upstream")),
        "/lasting" => {
            let mut answer = text("how long it lasts is in the query");
            answer.headers_mut().insert("cache-control", query.parse().unwrap());
            answer.headers_mut().insert("content-type", "text/x-lasting".parse().unwrap());
            Ok(answer)
        }
        "/once" if seen.once.fetch_add(1, Ordering::SeqCst) > 0 => {
            let mut answer = text("broken");
            *answer.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            Ok(answer)
        }
        "/once" => {
            let mut answer = text("once");
            answer.headers_mut().insert("cache-control", "max-age=0".parse().unwrap());
            Ok(answer)
        }
        "/version" => Ok(text(format!("{:?}", request.version()))),
        "/headers" => Ok(text(format!("{:?}", request.headers()))),
        "/echo" => {
            let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
            Ok(text(body))
        }
        "/wait" => {
            let wait = Duration::from_millis(query.parse().unwrap_or(0));
            // The wait is the server's own behavior, not a test waiting for something.
            let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
            Ok(text("waited"))
        }
        "/redirect" => {
            let mut answer = text("over there");
            *answer.status_mut() = hyper::StatusCode::FOUND;
            answer.headers_mut().insert("location", query.parse().unwrap());
            Ok(answer)
        }
        "/large-head" => {
            let mut answer = text("");
            answer.headers_mut().insert("x-large", "x".repeat(100_000).parse().unwrap());
            Ok(answer)
        }
        "/silent-body" => {
            let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
            tokio::spawn(async move {
                // Until the other side has gone.
                let _ = sender.send(Frame::data(Bytes::from_static(b"first"))).await;
                std::future::pending::<()>().await;
            });
            Ok(Response::new(body.boxed()))
        }
        "/cut" => {
            let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
            tokio::spawn(async move {
                // Both fail only when the other side has gone already.
                let _ = sender.send(Frame::data(Bytes::from_static(b"first"))).await;
                sender.abort(std::io::Error::other("cut"));
            });
            Ok(Response::new(body.boxed()))
        }
        "/close" => Err(std::io::Error::other("no answer")),
        _ => Ok(text("unknown path")),
    }
}
