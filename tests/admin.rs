//! The admin API under pressure and misuse: the operator gets in, and every refusal is JSON with a code.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};
use serde_json::Value;

use crate::harness::{Answer, Connection, Host, Request, until};

/// A request with the token.
fn as_operator(host: &Host, method: &str, path: &str) -> Request {
    Request::new(method, path).header("authorization", &format!("Bearer {}", host.token()))
}

/// Begins to follow a log, and gives the status with the connection, which stays open.
fn follow(host: &Host, token: Option<&str>) -> (u16, Connection) {
    let mut connection = Connection::open(&host.admin);
    let token = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
    let head = format!("GET /v1/apps/hello/logs?follow=true HTTP/1.1\r\nhost: localhost\r\n{token}\r\n");
    connection.write(head.as_bytes());
    let begun = String::from_utf8(connection.read_some(12).unwrap()).unwrap();
    (begun.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap(), connection)
}

#[test]
fn silent_connections_do_not_keep_the_operator_out() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&host.admin).unwrap()).collect();
    host.wfn(&["ls"]).ok();
    host.deploy("hello", &[]);
    // Those that have sent half a head, too.
    let mut half: Vec<Connection> = (0..200).map(|_| Connection::open(&host.admin)).collect();
    half.iter_mut().for_each(|connection| drop(connection.try_write(b"GET /v1/host HTTP/1.1\r\nhost: loc")));
    host.wfn(&["ls"]).ok();
    drop((silent, half));
}

#[test]
fn those_who_follow_logs_do_not_keep_the_operator_out() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let strangers: Vec<(u16, Connection)> = (0..100).map(|_| follow(&host, None)).collect();
    let statuses: Vec<u16> = strangers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 32, "{statuses:?}");
    let refused = Request::get("/v1/apps/hello/logs").send(&host.admin);
    assert_eq!((refused.status, refused.code().as_str()), (429, "too-many-readers"));
    // Who has the token has room of their own, and it is bounded, too.
    let token = host.token();
    let scripts: Vec<(u16, Connection)> = (0..64).map(|_| follow(&host, Some(&token))).collect();
    assert!(scripts.iter().all(|(status, _)| *status == 200));
    let refused = as_operator(&host, "GET", "/v1/apps/hello/logs").send(&host.admin);
    assert_eq!((refused.status, refused.code().as_str()), (429, "too-many-readers"));
    host.wfn(&["ls"]).ok();
    host.deploy("hello", &[]);
    drop(scripts);
    until("there is room again", || (host.wfn(&["logs", "hello"]).code == Some(0)).then_some(()));
    drop(strangers);
    let may_look = || (Request::get("/v1/apps/hello/logs").send(&host.admin).status == 200).then_some(());
    until("there is room for strangers again", may_look);
}

#[test]
fn idle_connections_with_the_token_give_way_to_others() {
    let host = Host::start();
    let head =
        format!("GET /v1/host HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n", host.token());
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut connection = Connection::open(&host.admin);
        connection.write(head.as_bytes());
        assert_eq!(connection.read_answer().unwrap().status, 200, "{number}");
        idle.push(connection);
    }
    host.wfn(&["ls"]).ok();
    // The latest are there still: the oldest gave way.
    let last = idle.last_mut().unwrap();
    last.write(head.as_bytes());
    assert_eq!(last.read_answer().unwrap().status, 200);
    assert_eq!(idle[0].read_to_end().unwrap_or_default(), b"", "it was closed");
}

#[test]
fn where_descriptors_are_out_nothing_spins_and_everything_recovers() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count();
    // Fewer than it had when it shared them out: only so are there none left.
    let most = descriptors() as u64 + 20;
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    let pid = Pid::from_raw(host.pid().try_into().unwrap());
    rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
    let open = |address: &str, count: usize| -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
    };
    let held = (open(&host.functions, 200), open(&host.admin, 20));
    until("it says so", || host.own_log().contains("connections wait").then_some(()));
    let (begun, ticks) = (Instant::now(), host.processor_ticks());
    until("two seconds have passed", || (begun.elapsed() > Duration::from_secs(2)).then_some(()));
    let busy = Duration::from_millis(10 * (host.processor_ticks() - ticks));
    assert!(busy < begun.elapsed() / 4, "{busy:?} of {:?}", begun.elapsed());
    drop(held);
    until("it serves again", || {
        Request::get("/hello/").try_send(&host.functions).ok().filter(|answer| answer.status == 200).map(drop)
    });
    host.wfn(&["ls"]).ok();
}

/// An answer that says no as it should.
#[track_caller]
fn assert_refused(what: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() > 8), "{what}: {body}");
}

#[test]
fn every_refusal_is_json_with_a_code() {
    let host = Host::start();
    host.deploy("hello", &[]);
    for (method, path, status, code) in [
        ("GET", "/v1/usage?since_ms=yesterday", 400, "invalid-query"),
        ("GET", "/v1/usage?since=0", 400, "invalid-query"),
        ("GET", "/v1/apps/hello/logs?follow=maybe", 400, "invalid-query"),
        ("GET", "/v1/apps/hello/logs?stream=stdin", 400, "invalid-query"),
        ("GET", "/v1/apps/hello/invocations?limit=-1", 400, "invalid-query"),
        ("GET", "/v1/apps/hello/invocations?status=often", 400, "invalid-status"),
        ("DELETE", "/v1/apps/hello?with_data=1", 400, "invalid-query"),
        ("GET", "/v1/apps/hello/queues/jobs/messages", 400, "invalid-query"),
        ("GET", "/v1/apps/hello/queues/jobs/messages?state=lost", 400, "invalid-query"),
        ("GET", "/v1/apps/%FF", 400, "invalid-path"),
        ("PUT", "/v1/modules/%C3%28", 400, "invalid-path"),
        ("GET", "/v1/apps/hello/kv/%FF/key", 400, "invalid-path"),
        ("GET", "/v1/apps/Hello", 400, "invalid-name"),
        ("GET", "/v1/apps/nobody", 404, "no-app"),
        ("GET", "/v1/nothing", 404, "no-such-path"),
        ("GET", "/v2", 404, "no-such-path"),
        ("POST", "/v1/apps", 405, "method-not-allowed"),
        ("BREW", "/v1/host", 405, "method-not-allowed"),
        ("GET", "/dashboard/secret.js", 404, "no-such-path"),
        ("GET", "/dashboard/%FF", 400, "invalid-path"),
    ] {
        let answer = as_operator(&host, method, path).send(&host.admin);
        assert_refused(path, &answer, status, code);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    for (method, path, body, status, code) in [
        ("POST", "/v1/apps/hello/rollback", "x".repeat(1024 * 1024 + 1), 413, "body-too-large"),
        ("PATCH", "/v1/apps/hello/scale", "{".to_owned(), 400, "invalid-json"),
        ("PATCH", "/v1/apps/hello/scale", "{\"concurrency\":\"many\"}".to_owned(), 400, "invalid-json"),
        ("PATCH", "/v1/apps/hello/scale", "{}".to_owned(), 400, "nothing-to-change"),
        ("PATCH", "/v1/apps/hello/secrets", "{}".to_owned(), 400, "nothing-to-change"),
        ("POST", "/v1/apps/hello/revisions", "[".repeat(100_000), 400, "invalid-json"),
        ("POST", "/v1/apps/hello/split", String::new(), 400, "invalid-json"),
    ] {
        let answer = as_operator(&host, method, path).body(body).send(&host.admin);
        assert_refused(path, &answer, status, code);
    }
    assert_refused(
        "no token",
        &Request::new("PATCH", "/v1/apps/hello/scale").send(&host.admin),
        401,
        "unauthorized",
    );
    // A body that ends early.
    let mut connection = Connection::open(&host.admin);
    let head = format!(
        "POST /v1/apps/hello/rollback HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        host.token()
    );
    connection.write(head.as_bytes());
    assert_refused("a broken body", &connection.read_answer().unwrap(), 400, "upload-cut");
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 1, "nothing has changed");
}

#[test]
fn settings_that_are_what_they_were_make_no_revision() {
    let host = Host::start();
    host.deploy("hello", &["--concurrency", "7"]);
    let scale = |settings: &str| -> Value {
        let answer = as_operator(&host, "PATCH", "/v1/apps/hello/scale").body(settings).send(&host.admin);
        serde_json::from_str(&answer.ok()).unwrap()
    };
    assert_eq!(scale("{\"concurrency\":7}")["revision"], 1);
    assert_eq!(scale("{\"concurrency\":8}")["revision"], 2);
    assert_eq!(scale("{\"concurrency\":8,\"always_ready\":null}")["revision"], 2);
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 2);
}

#[test]
fn progress_is_told_to_whoever_accepts_it_among_others() {
    let host = Host::start();
    let deployed = host.deploy("hello", &[]);
    let body =
        serde_json::json!({ "module": deployed["module"], "manifest": { "name": "hello" }, "dry_run": true });
    for accept in ["application/x-ndjson", "application/json;q=0.5, Application/X-NDJSON; q=1"] {
        let request = as_operator(&host, "POST", "/v1/apps/hello/revisions").header("accept", accept);
        let answer = request.body(body.to_string()).send(&host.admin);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"), "{accept}");
        assert!(answer.text().contains("\"done\""), "{}", answer.text());
    }
}
