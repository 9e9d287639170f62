//! HTTP from hostile or old clients: a 4xx or a closed connection after a bounded time, never a stuck
//! worker.

use crate::harness::{Connection, Host, Request, until};

/// Sends `bytes` and gives the status of the answer, or 0 if the connection is closed without one.
fn status_of(host: &Host, bytes: &[u8]) -> u16 {
    let mut connection = Connection::open(&host.functions);
    connection.write(bytes);
    connection.read_answer().map_or(0, |answer| answer.status)
}

#[test]
fn malformed_requests_are_refused() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let long = "x".repeat(100_000);
    let many: String = (0..200).map(|i| format!("h{i}: v\r\n")).collect();
    let cases: [(&str, String, &[u16]); 14] = [
        ("no host", "GET /hello HTTP/1.1\r\n\r\n".into(), &[400]),
        ("two hosts", "GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".into(), &[400]),
        ("empty host", "GET /hello HTTP/1.1\r\nhost:\r\n\r\n".into(), &[400]),
        ("host with a path", "GET /hello HTTP/1.1\r\nhost: a/b\r\n\r\n".into(), &[400]),
        ("host with a user", "GET /hello HTTP/1.1\r\nhost: a@b\r\n\r\n".into(), &[400]),
        ("no such app", "GET /nobody HTTP/1.1\r\nhost: a\r\n\r\n".into(), &[404]),
        ("a bare path", "GET hello HTTP/1.1\r\nhost: a\r\n\r\n".into(), &[400, 404, 0]),
        ("not http", "\x16\x03\x01\x02\x00\x01\r\n\r\n".into(), &[400, 0]),
        ("a long header", format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), &[431, 400, 0]),
        ("a long path", format!("GET /hello/{long} HTTP/1.1\r\nhost: a\r\n\r\n"), &[414, 431, 400, 0]),
        ("many headers", format!("GET /hello HTTP/1.1\r\nhost: a\r\n{many}\r\n"), &[431, 400, 0]),
        (
            "two lengths",
            "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".into(),
            &[400, 0],
        ),
        (
            "an enormous length",
            "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 4294967296\r\n\r\n".into(),
            &[413],
        ),
        ("a wrong length", "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".into(), &[400, 0]),
    ];
    for (name, request, expected) in cases {
        let status = status_of(&host, request.as_bytes());
        assert!(expected.contains(&status), "{name}: {status}");
    }
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    assert_eq!(host.number("hello", "in_flight"), 0);
}

#[test]
fn every_answer_of_the_host_names_its_invocation_and_code() {
    let host = Host::start();
    let answer = host.get("/nobody/x");
    assert_eq!((answer.status, answer.code().as_str()), (404, "no-route"));
    assert_eq!(answer.header("wfn-outcome"), Some("no-route"));
    assert_eq!(answer.header("wfn-invocation").map(str::len), Some(16));
    assert!(answer.text().contains("wfn ls"), "{}", answer.text());
}

#[test]
fn a_body_cut_half_way_costs_no_slot() {
    let host = Host::start();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    // Announced small: it is awaited before a slot is taken. Announced large: it streams, and is cut.
    for length in ["100", "1000000"] {
        let mut connection = Connection::open(&host.functions);
        let head = format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\nhalf");
        connection.write(head.as_bytes());
        drop(connection);
        until("nothing is in flight", || (host.number("echo", "in_flight") == 0).then_some(()));
        assert_eq!(Request::new("POST", "/echo").body("next").send(&host.functions).ok(), "next");
    }
}

#[test]
fn a_head_that_never_ends_is_cut_in_bounded_time() {
    let host = Host::start();
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ");
    let begun = std::time::Instant::now();
    // Either an answer or just the end; both are fine, later than the patience is not.
    let _ = connection.read_to_end();
    let took = begun.elapsed().as_secs();
    assert!((5..=20).contains(&took), "cut after {took} s");
}

#[test]
fn a_body_that_never_comes_is_refused_in_bounded_time() {
    let host = Host::start();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    let mut slow = Connection::open(&host.functions);
    slow.write(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nhalf");
    // It holds no slot meanwhile: the only one is free for others.
    assert_eq!(Request::new("POST", "/echo").body("next").send(&host.functions).ok(), "next");
    let answer = slow.read_answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "body-too-slow"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let mut connection = Connection::open(&host.functions);
    let requests: String = (0..50)
        .map(|i| format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{i:02}"))
        .collect();
    connection.write(requests.as_bytes());
    for i in 0..50 {
        assert_eq!(connection.read_answer().unwrap().ok(), format!("{i:02}"));
    }
}

#[test]
fn one_request_is_never_taken_for_two() {
    let host = Host::start();
    host.deploy("echo", &[]);
    // The smuggling classic: a chunked body with a length beside it. One answer at most, then the end.
    let mut connection = Connection::open(&host.functions);
    connection.write(
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
          0\r\n\r\nGET /echo/headers HTTP/1.1\r\nhost: smuggled\r\nconnection: close\r\n\r\n",
    );
    let all = String::from_utf8_lossy(&connection.read_to_end().unwrap_or_default()).into_owned();
    let answers = all.matches("HTTP/1.1 ").count();
    assert!(answers <= 2, "{all}");
    if answers == 2 {
        // Then the length was ignored, as RFC 9112 6.3 wants it: what follows the chunks is a request.
        assert!(all.contains("smuggled"), "{all}");
    }
}

#[test]
fn head_requests_and_http_1_0_are_served() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let mut connection = Connection::open(&host.functions);
    connection.write(b"HEAD /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let text = String::from_utf8(connection.read_to_end().unwrap()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET /hello HTTP/1.0\r\nhost: a\r\n\r\n");
    let text = String::from_utf8(connection.read_to_end().unwrap()).unwrap();
    assert!(text.contains(" 200 ") && text.ends_with("Hello from wfn!\n"), "{text}");
}

#[test]
fn cleartext_http_2_is_served() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy("html-parse", &[]);
    let address = host.functions.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        let request = |path: &str, body: Vec<u8>| {
            let request = hyper::Request::post(format!("http://{address}{path}"));
            let mut sender = sender.clone();
            async move {
                let body = Full::new(bytes::Bytes::from(body));
                let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
                assert_eq!(response.status(), 200);
                String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
            }
        };
        let (one, two) =
            tokio::join!(request("/hello", Vec::new()), request("/html-parse", crate::harness::page()));
        assert_eq!(one, "Hello from wfn!\n");
        assert!(two.contains("\"elements\":920"), "{two}");
        connection.abort();
    });
}
