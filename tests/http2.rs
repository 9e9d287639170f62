//! HTTP/2 in the clear, as a client of another make speaks it: the same answers as on HTTP/1.1, and one request's fault
//! is never the connection's (RFC 9113, 8).

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use crate::harness::Host;
use crate::http_table;

type Sent = BoxBody<Bytes, std::convert::Infallible>;

/// One connection.
struct Client {
    runtime: Runtime,
    sender: SendRequest<Sent>,
}

/// What came back, whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
    trailers: Option<HeaderMap>,
}

impl Client {
    fn open(host: &Host) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(&host.functions).await.unwrap();
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    #[track_caller]
    fn send(&mut self, request: Request<Sent>) -> Answer {
        let shown = format!("{} {}", request.method(), request.uri());
        let sender = &mut self.sender;
        let answered = self.runtime.block_on(async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned();
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
        });
        answered.unwrap_or_else(|error: hyper::Error| panic!("{shown}: {error:?}"))
    }

    #[track_caller]
    fn get(&mut self, path: &str) -> Answer {
        self.send(request("GET", path).body(empty()).unwrap())
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn request(method: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(format!("http://example.org{path}"))
}

fn empty() -> Sent {
    whole("")
}

fn whole(body: impl Into<Bytes>) -> Sent {
    Full::new(body.into()).boxed()
}

#[test]
fn heads_and_statuses_without_content_leave_the_connection_alone() {
    let host = http_table::host();
    let mut client = Client::open(&host);
    for (path, status, length) in [
        ("/p2/ok", 200, Some("3")),
        ("/p3/ok", 200, None),
        ("/cgi-plain/", 200, Some("6")),
        ("/p2/answer?length=5", 200, Some("5")),
        ("/p3/answer?length=5", 200, Some("5")),
        ("/cgi-promise/", 200, Some("5")),
        ("/echo/stream?chunks=30&bytes=100000", 200, None),
        ("/nobody", 404, None),
        ("/p2/no-response", 502, None),
        ("/p2/trap", 500, None),
    ] {
        let answer = client.send(request("HEAD", path).body(empty()).unwrap());
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{path}");
        assert!(
            length.is_none() || answer.header("content-length") == length,
            "{path}: {:?}",
            answer.headers
        );
    }
    for status in [204, 205, 304] {
        for app in ["p2", "p3"] {
            for query in ["", "&length=5", "&length=5&bytes=5", "&bytes=5"] {
                let path = format!("/{app}/answer?status={status}{query}");
                let answer = client.get(&path);
                assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{path}");
            }
        }
        let answer = client.get(&format!("/cgi-{status}/"));
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "a program");
    }
    assert_eq!(client.get("/p2/ok").body, "ok\n");
}

#[test]
fn cookies_that_came_in_parts_are_one_for_every_kind_of_guest() {
    let host = http_table::host();
    let mut client = Client::open(&host);
    let mut ask = |path: &str| {
        let parts = ["a=1", "b=2", "c=3"];
        let request =
            parts.iter().fold(request("GET", path), |request, part| request.header("cookie", *part));
        client.send(request.body(empty()).unwrap()).body
    };
    let p2: serde_json::Value = serde_json::from_str(&ask("/echo/headers")).unwrap();
    let cookies: Vec<_> =
        p2["headers"].as_array().unwrap().iter().filter(|field| field[0] == "cookie").collect();
    assert_eq!(cookies, [&serde_json::json!(["cookie", "a=1; b=2; c=3"])]);
    let p3 = ask("/p3/target");
    assert_eq!(p3, "scheme Some(Scheme::Http)\nauthority Some(\"example.org\")\ncookie a=1; b=2; c=3\n");
    let program = ask("/cgi-env/");
    for variable in ["HTTP_COOKIE=a=1; b=2; c=3", "HTTP_HOST=example.org", "SERVER_PROTOCOL=HTTP/2.0"] {
        assert!(program.split('\0').any(|known| known == variable), "{variable} is not in {program:?}");
    }
}

#[test]
fn heads_that_are_too_large_are_told_so() {
    let host = http_table::host();
    let mut client = Client::open(&host);
    for bytes in [66_000, 70_000, 100_000] {
        let request = request("GET", "/p2/ok").header("x-large", "x".repeat(bytes));
        assert_eq!(client.send(request.body(empty()).unwrap()).status, 431, "{bytes} bytes");
        assert_eq!(client.get("/p2/ok").body, "ok\n", "after {bytes} bytes");
    }
    let fields = |count: usize| {
        (0..count).fold(request("GET", "/p2/ok"), |request, number| request.header(format!("f{number}"), "v"))
    };
    let answer = client.send(fields(130).body(empty()).unwrap());
    assert_eq!((answer.status, answer.header("wfn-outcome")), (431, Some("head-too-large")));
    assert_eq!(client.send(fields(100).body(empty()).unwrap()).status, 200);
}

#[test]
fn an_early_answer_costs_the_stream_and_not_the_connection() {
    let host = http_table::host();
    let mut client = Client::open(&host);
    let large = vec![b'x'; 3_000_000];
    for (path, status, body) in [
        ("/nobody", 404, "no-route"),
        ("/p2/never-read", 200, "answered without reading\n"),
        ("/p3/ok", 200, "ok\n"),
        ("/cgi-plain/", 200, "plain\n"),
    ] {
        for known in [true, false] {
            let body_sent = match known {
                true => whole(large.clone()),
                false => {
                    let parts = large.chunks(16_384).map(Bytes::copy_from_slice).collect::<Vec<_>>();
                    let frames = parts.into_iter().map(|part| Ok(Frame::data(part)));
                    StreamBody::new(futures_util::stream::iter(frames)).boxed()
                }
            };
            // A program is told how long its input is.
            let (status, body) =
                if known || path != "/cgi-plain/" { (status, body) } else { (411, "length-required") };
            let answer = client.send(request("POST", path).body(body_sent).unwrap());
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
            assert!(answer.body.contains(body), "{path}: {}", answer.body);
            assert_eq!(client.get("/p2/ok").body, "ok\n", "after {path}");
        }
    }
    let too_long = request("POST", "/echo/").header("content-length", "200000000");
    let part = Bytes::from(vec![b'x'; 10_000]);
    let frames = std::iter::repeat_n(part, 20_000).map(|part| Ok(Frame::data(part)));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let answer = client.send(too_long.body(body).unwrap());
    assert_eq!((answer.status, answer.header("wfn-outcome")), (413, Some("body-too-large")));
    assert_eq!(client.get("/p2/ok").body, "ok\n");
}

#[test]
fn what_is_not_to_be_served_is_refused_as_on_http_1() {
    let host = http_table::host();
    let mut client = Client::open(&host);
    let other = request("GET", "/p2/ok").header("host", "elsewhere.org");
    let cases = [
        ("another host", other.body(empty()).unwrap(), 400),
        ("the same host", request("GET", "/p2/ok").header("host", "example.org").body(empty()).unwrap(), 200),
        ("a tunnel", Request::connect("example.org:443").body(empty()).unwrap(), 501),
        ("a trace", request("TRACE", "/p2/ok").body(empty()).unwrap(), 501),
        ("options at the root", request("OPTIONS", "/").body(empty()).unwrap(), 204),
        ("a host that is none", Request::get("http://a@b/p2/ok").body(empty()).unwrap(), 400),
    ];
    for (name, request, status) in cases {
        let answer = client.send(request);
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
    }
}

#[test]
fn trailers_go_both_ways_and_requests_overlap() {
    let host = http_table::host();
    let mut client = Client::open(&host);
    let answer = client.send(request("GET", "/p3/trailers").header("te", "trailers").body(empty()).unwrap());
    let trailers = answer.trailers.unwrap();
    assert_eq!((answer.status, trailers.get("x-first").unwrap().to_str().unwrap()), (200, "one"));
    let mut fields = HeaderMap::new();
    fields.insert("x-sum", "6".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(fields))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let answer = client.send(request("POST", "/p3/echo").body(body).unwrap());
    assert_eq!((answer.status, answer.body.as_str()), (200, "abc"));
    assert_eq!(answer.trailers.unwrap().get("x-sum").unwrap().to_str().unwrap(), "6");
    let sender = client.sender.clone();
    client.runtime.block_on(async {
        let ask = |path: &'static str, body: Vec<u8>| {
            let mut sender = sender.clone();
            async move {
                let answer =
                    sender.send_request(request("POST", path).body(whole(body)).unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.unwrap().to_bytes()
            }
        };
        let (slow, echoed, quick) = tokio::join!(
            ask("/p2/sleep?ms=200", Vec::new()),
            ask("/echo/", vec![b'y'; 70_000]),
            ask("/p2/ok", Vec::new())
        );
        assert_eq!((&slow[..], echoed.len(), &quick[..]), (&b"slept\n"[..], 70_000, &b"ok\n"[..]));
    });
}
