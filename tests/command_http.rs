//! Programs of WASI preview 1 send requests through the host: with `wfn_http`, under the same policy as every guest.

use std::fs;

use crate::harness::{Host, Request, root, until};
use crate::upstream::Upstream;

/// A program that opens a connection (`tls` or not), writes `request` to it, and answers all that comes back.
fn exchange(tls: bool, request: &str) -> Vec<u8> {
    let data: String = request.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let length = request.len();
    program(&format!(
        r#"(data (i32.const 4096) "{data}")
  (func (export "_start") (local $c i32) (local $at i32) (local $n i32)
    (local.set $c (call $connect (i32.const {tls})))
    (block $sent (loop $send
      (br_if $sent (i32.ge_u (local.get $at) (i32.const {length})))
      (local.set $n (call $write (local.get $c) (i32.add (i32.const 4096) (local.get $at))
        (i32.sub (i32.const {length}) (local.get $at))))
      (if (i32.eq (local.get $n) (i32.const -1)) (then (drop (call $wait (i32.const -1))) (br $send)))
      (br_if $sent (i32.lt_s (local.get $n) (i32.const 0)))
      (local.set $at (i32.add (local.get $at) (local.get $n)))
      (br $send)))
    (call $say (i32.const 1024) (i32.const 1))
    (loop $receive
      (local.set $n (call $read (local.get $c) (i32.const 131072) (i32.const 65536)))
      (if (i32.eq (local.get $n) (i32.const -1)) (then (drop (call $wait (i32.const 5000))) (br $receive)))
      (if (i32.gt_s (local.get $n) (i32.const 0))
        (then (call $say (i32.const 131072) (local.get $n)) (br $receive)))))"#,
        tls = i32::from(tls)
    ))
}

/// A program with all functions of `wfn_http`, `(call $say AT LENGTH)` for its stdout, and an empty line at 1024.
fn program(rest: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wfn_http" "connect" (func $connect (param i32) (result i32)))
  (import "wfn_http" "write" (func $write (param i32 i32 i32) (result i32)))
  (import "wfn_http" "read" (func $read (param i32 i32 i32) (result i32)))
  (import "wfn_http" "wait" (func $wait (param i32) (result i32)))
  (import "wfn_http" "close" (func $close (param i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "\n")
  (func $say (param $at i32) (param $length i32)
    (loop $more
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $length))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
      (br_if $more (local.get $length))))
  {rest})"#
    );
    wat::parse_str(wat).unwrap()
}

fn deploy(host: &Host, app: &str, program: &[u8], flags: &[&str]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), program).unwrap();
    host.wfn(&[&["deploy", file.path().to_str().unwrap(), "--name", app], flags].concat()).ok();
}

#[test]
fn ten_requests_at_once_take_the_time_of_one() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let mut guests = vec!["c-links"];
    // Built by `cargo xtask guests --all`.
    guests.extend(fs::exists(guest_path("go-links")).unwrap().then_some("go-links"));
    for (round, guest) in guests.into_iter().enumerate() {
        host.deploy(guest, &["--allow-outbound", &upstream.url("")]);
        let list = vec![upstream.url("/wait?500"); 10].join("\n");
        let answer = Request::new("POST", &format!("/{guest}/")).body(list).send(&host.functions).ok();
        assert_eq!(answer, format!("200 {}\n", upstream.url("/wait?500")).repeat(10));
        assert_eq!((upstream.requests(), upstream.most()), (10 * (round + 1), 10));
        // What is not allowed, what is none, and the host itself.
        let list = "http://10.1.2.3/\nftp://a\nhttp://wfn.internal/settings\nhttp://wfn.internal/kv/none/k\n";
        let answer = Request::new("POST", &format!("/{guest}/")).body(list).send(&host.functions).ok();
        let expected = "403 http://10.1.2.3/\n--- ftp://a\n200 http://wfn.internal/settings\n403 http://wfn.internal/kv/none/k\n";
        assert_eq!(answer, expected);
        let log = host.logs(guest);
        assert!(log.contains("allowed_outbound_hosts = [\"http://10.1.2.3\"]"), "{log}");
    }
}

fn guest_path(name: &str) -> String {
    root().join(format!("target/guests/{name}.wasm")).display().to_string()
}

#[test]
fn a_request_without_a_body_says_so() {
    let (host, upstream) = (Host::start(), Upstream::start());
    for (app, fields, expected) in [
        ("none", "", "\"content-length\": \"0\""),
        ("nothing", "transfer-encoding: chunked\r\n\r\n0\r\n", "\"content-length\": \"0\""),
        ("some", "content-length: 3\r\n\r\nabc", "\"content-length\": \"3\""),
    ] {
        let host_field = format!("host: {}\r\nconnection: close\r\n", upstream.address);
        let program = exchange(false, &format!("POST /headers HTTP/1.1\r\n{host_field}{fields}\r\n"));
        deploy(&host, app, &program, &["--allow-outbound", &upstream.url("")]);
        let said = host.get(&format!("/{app}/")).ok();
        assert!(said.contains(expected) && !said.contains("\"transfer-encoding\""), "{app}: {said}");
    }
}

#[test]
fn a_body_streams_both_ways_through_net_http() {
    if !fs::exists(guest_path("go-links")).unwrap() {
        return;
    }
    let (host, upstream) = (Host::start(), Upstream::start());
    host.deploy("go-links", &["--allow-outbound", &upstream.url("")]);
    let body: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    let path = format!("/go-links/forward?to={}", upstream.url("/echo"));
    let answer = Request::new("POST", &path).body(body.clone()).send(&host.functions);
    assert_eq!((answer.status, answer.body.len()), (200, body.len()));
    assert!(answer.body == body);
}

#[test]
fn requests_are_written_and_responses_read() {
    let (upstream, certificate) = Upstream::start_tls();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), certificate).unwrap();
    let host = Host::start_with_env(&[("SSL_CERT_FILE", file.path().to_str().unwrap())]);
    let own = format!("localhost:{}", upstream.address.port());
    let flags = ["--allow-outbound", &format!("https://{own}"), "--key-value-store", "default"];
    let head = "connection: close\r\n\r\n";
    let cases = [
        ("tls", true, format!("GET /ok HTTP/1.1\r\nhost: {own}\r\n{head}"), "200 OK", "ok from upstream"),
        (
            "whole",
            false,
            format!("GET https://{own}/ok HTTP/1.1\r\nhost: x\r\n{head}"),
            "200 OK",
            "ok from upstream",
        ),
        (
            "clear",
            false,
            format!("GET /ok HTTP/1.1\r\nhost: {own}\r\n{head}"),
            "403 Forbidden",
            "outbound-refused",
        ),
        (
            "put",
            false,
            format!("PUT /kv/default/k HTTP/1.1\r\nhost: wfn.internal\r\ncontent-length: 5\r\n{head}hello"),
            "204 No Content",
            "",
        ),
        (
            "both",
            false,
            format!(
                "PUT /kv/default/l HTTP/1.1\r\nhost: wfn.internal\r\ncontent-length: 3\r\n\r\ntwoGET /kv/default/l HTTP/1.1\r\nhost: wfn.internal\r\n{head}"
            ),
            "204 No Content",
            "two",
        ),
        ("garbage", false, "this is not HTTP\r\n\r\n".to_owned(), "400 Bad Request", ""),
        ("nobody", false, format!("GET / HTTP/1.0\r\n{head}"), "400 Bad Request", "no header Host"),
        ("tunnel", false, format!("CONNECT {own} HTTP/1.1\r\nhost: {own}\r\n{head}"), "40", ""),
        ("huge", false, format!("GET / HTTP/1.1\r\nhost: {}\r\n{head}", "x".repeat(100_000)), "4", ""),
    ];
    for (app, tls, request, status, expected) in cases {
        deploy(&host, app, &exchange(tls, &request), &flags);
        let answer = host.get(&format!("/{app}/"));
        let text = answer.text();
        assert_eq!(answer.status, 200, "{app}: {text}");
        let said = text.strip_prefix("HTTP/1.").and_then(|text| text.get(2..)).unwrap_or_default();
        assert!(said.starts_with(status), "{app}: {text}");
        assert!(
            text.ends_with(expected) || text.contains(&format!("\"{expected}\"")) || text.contains(expected),
            "{app}: {text}"
        );
    }
    assert_eq!(host.wfn(&["kv", "get", "put", "default", "k"]).ok(), "hello");
}

#[test]
fn what_a_program_does_wrong_is_an_error_to_itself() {
    let host = Host::start();
    let check = |rest: &str| {
        program(&format!("(func (export \"_start\") {rest} (call $say (i32.const 1024) (i32.const 1)))"))
    };
    let expect =
        |call: &str, value: i32| format!("(if (i32.ne {call} (i32.const {value})) (then (unreachable)))");
    let none = |number: i32| {
        [
            expect(&format!("(call $read (i32.const {number}) (i32.const 0) (i32.const 8))"), -2),
            expect(&format!("(call $write (i32.const {number}) (i32.const 0) (i32.const 8))"), -2),
            expect(&format!("(call $close (i32.const {number}))"), -2),
        ]
        .concat()
    };
    let opened: String = (0..64).map(|number| expect("(call $connect (i32.const 0))", number)).collect();
    let fine = [
        ("none", [none(0), none(-1), none(i32::MAX), none(i32::MIN)].concat()),
        (
            "most",
            opened
                + &expect("(call $connect (i32.const 1))", -3)
                + &expect("(call $close (i32.const 5))", 0)
                + &none(5)
                + &expect("(call $connect (i32.const 0))", 5),
        ),
        ("patient", expect("(call $wait (i32.const 10))", 0)),
        (
            "quiet",
            expect("(call $connect (i32.const 0))", 0)
                + &expect("(call $read (i32.const 0) (i32.const 0) (i32.const 8))", -1)
                + &expect("(call $wait (i32.const 10))", 0),
        ),
    ];
    for (app, rest) in &fine {
        deploy(&host, app, &check(rest), &[]);
        host.get(&format!("/{app}/")).ok();
    }
    let outside = [("far", 262_140, 8), ("high", -8, 8), ("long", 0, -1), ("round", 16, -8)];
    for (app, at, length) in outside {
        let rest = format!(
            "(drop (call $connect (i32.const 0))) (drop (call $read (i32.const 0) (i32.const {at}) (i32.const {length})))"
        );
        deploy(&host, app, &check(&rest), &[]);
        let answer = host.get(&format!("/{app}/"));
        assert_eq!((answer.status, answer.code().as_str()), (500, "trapped"), "{app}");
        assert!(host.logs(app).contains("outside of the memory"), "{}", host.logs(app));
    }
    // It waits for what never comes, and its time ends it.
    deploy(
        &host,
        "endless",
        &check(
            "(drop (call $connect (i32.const 0))) (drop (call $read (i32.const 0) (i32.const 0) (i32.const 8))) (drop (call $wait (i32.const -1)))",
        ),
        &["--timeout", "200ms"],
    );
    assert_eq!(host.get("/endless/").status, 504);
    // Nothing of all that stays open.
    let sockets = || {
        let open = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
        let links = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    until("the connections are closed", || (sockets() < 16).then_some(()));
}
