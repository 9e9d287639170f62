//! Programs for WASI preview 1 answer as CGI programs do (RFC 3875), one process per invocation.

use crate::harness::{Connection, Host, Request, until};

/// A program whose `_start` is `body`. It can `(call $say FD AT LENGTH)`, `(call $echo)` its stdin to its stdout,
/// `(call $environ)` its variables to its stdout, `(call $length)` what `CONTENT_LENGTH` says, and a colon, `(call $wait
/// MS)`, `(call $exit CODE)`, and finds `text` at 1024.
pub fn program(text: &str, body: &str) -> Vec<u8> {
    let data: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let wat = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "{data}")
  (data (i32.const 512) "CONTENT_LENGTH=:")
  (func $say (param $fd i32) (param $at i32) (param $length i32)
    (loop $more
      (if (i32.eqz (local.get $length)) (then (return)))
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $length))
      (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 9))))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
      (br $more)))
  (func $text (call $say (i32.const 1) (i32.const 1024) (i32.const {length})))
  (func $echo
    (loop $more
      (i32.store (i32.const 16) (i32.const 65536))
      (i32.store (i32.const 20) (i32.const 65536))
      (if (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)) (then (call $exit (i32.const 8))))
      (if (i32.eqz (i32.load (i32.const 24))) (then (return)))
      (call $say (i32.const 1) (i32.const 65536) (i32.load (i32.const 24)))
      (br $more)))
  (func $environ
    (drop (call $environ_sizes_get (i32.const 32) (i32.const 36)))
    (drop (call $environ_get (i32.const 131072) (i32.const 65536)))
    (call $say (i32.const 1) (i32.const 65536) (i32.load (i32.const 36))))
  (func $has_name (param $at i32) (result i32) (local $i i32)
    (loop $next
      (if (i32.eq (local.get $i) (i32.const 15)) (then (return (i32.const 1))))
      (if (i32.ne (i32.load8_u (i32.add (local.get $at) (local.get $i)))
                  (i32.load8_u (i32.add (i32.const 512) (local.get $i)))) (then (return (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next))
    (unreachable))
  (func $length (local $i i32) (local $at i32) (local $end i32)
    (drop (call $environ_sizes_get (i32.const 32) (i32.const 36)))
    (drop (call $environ_get (i32.const 131072) (i32.const 65536)))
    (block $done (loop $next
      (br_if $done (i32.eq (local.get $i) (i32.load (i32.const 32))))
      (local.set $at (i32.load (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 2)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.eqz (call $has_name (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 15)))
      (local.set $end (local.get $at))
      (block $found (loop $digits
        (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $digits)))
      (call $say (i32.const 1) (local.get $at) (i32.sub (local.get $end) (local.get $at)))))
    (call $say (i32.const 1) (i32.const 527) (i32.const 1)))
  (func $wait (param $ms i64)
    (i64.store (i32.const 256) (i64.const 0))
    (i64.store (i32.const 264) (i64.const 0))
    (i32.store (i32.const 272) (i32.const 1))
    (i64.store (i32.const 280) (i64.mul (local.get $ms) (i64.const 1000000)))
    (i64.store (i32.const 288) (i64.const 0))
    (i64.store (i32.const 296) (i64.const 0))
    (drop (call $poll_oneoff (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 400))))
  (func (export "_start") {body}))"#,
        length = text.len()
    );
    wat::parse_str(wat).unwrap()
}

/// Deploys a program as `app`.
#[track_caller]
pub fn deploy(host: &Host, app: &str, program: &[u8], flags: &[&str]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), program).unwrap();
    let module = file.path().to_str().unwrap();
    let said = host.wfn(&[&["deploy", module, "--name", app], flags].concat()).ok();
    assert!(said.contains("(command)"), "{said}");
}

const PLAIN: &str = "Content-Type: text/plain\n\n";

#[test]
fn the_request_is_in_variables_and_on_stdin() {
    let host = Host::start();
    deploy(
        &host,
        "env",
        &program(PLAIN, "(call $text) (call $environ)"),
        &["-e", "COLOUR=red", "-e", "REQUEST_METHOD=LIE"],
    );
    let answer = Request::new("PUT", "/env/a%20b/c?x=1&y=2")
        .header("accept-language", "de")
        .header("content-type", "text/html")
        .header("proxy", "evil")
        .body("12345")
        .send(&host.functions);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let environ = answer.ok();
    let variables: Vec<&str> = environ.split('\0').collect();
    for expected in [
        "COLOUR=red",
        "GATEWAY_INTERFACE=CGI/1.1",
        "REQUEST_METHOD=PUT",
        "PATH_INFO=/a b/c",
        "QUERY_STRING=x=1&y=2",
        "SCRIPT_NAME=/env",
        "CONTENT_LENGTH=5",
        "CONTENT_TYPE=text/html",
        "REMOTE_ADDR=127.0.0.1",
        "HTTP_ACCEPT_LANGUAGE=de",
    ] {
        assert!(variables.contains(&expected), "{expected} is not in {variables:?}");
    }
    assert!(!environ.contains("LIE") && !environ.contains("evil"), "{variables:?}");
    deploy(&host, "echo", &program(PLAIN, "(call $text) (call $echo)"), &[]);
    let body: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let answer = Request::new("POST", "/echo/").body(&body[..]).send(&host.functions);
    assert_eq!((answer.status, answer.body == body), (200, true), "{} bytes", answer.body.len());
}

#[test]
fn bodies_stream_both_ways() {
    let host = Host::start();
    deploy(&host, "echo", &program(PLAIN, "(call $text) (call $echo)"), &[]);
    let mut connection = Connection::open(&host.functions);
    // Longer than what is read before a function is asked.
    let length = 200_000;
    connection.write(
        format!(
            "POST /echo/ HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\none"
        )
        .as_bytes(),
    );
    until("the first part comes back while the request is open", || {
        let some = String::from_utf8(connection.read_some(4_096).unwrap()).unwrap();
        some.contains("one").then_some(())
    });
    connection.write(&vec![b'2'; length - 3]);
    let rest = String::from_utf8(connection.read_to_end().unwrap()).unwrap();
    assert!(rest.ends_with("0\r\n\r\n") && rest.matches('2').count() >= length - 3, "{} bytes", rest.len());
}

#[test]
fn the_head_sets_status_and_headers() {
    let host = Host::start();
    for (app, text, status, header, body) in [
        ("missing", "Status: 404 Not Found\nX-A: b\n\nno\n", 404, ("x-a", "b"), "no\n"),
        ("moved", "Location: https://example.org/x\n\n", 302, ("location", "https://example.org/x"), ""),
        ("typed", "content-type: a/b\r\n\r\n\r\nx", 200, ("content-type", "a/b"), "\r\nx"),
        ("exact", "Content-Length: 2\n\nok", 200, ("content-length", "2"), "ok"),
        ("hop", "Transfer-Encoding: chunked\nX: y\n\nok", 200, ("x", "y"), "ok"),
        ("lies", "wfn-outcome: trapped\nX: y\n\n", 200, ("x", "y"), ""),
    ] {
        deploy(&host, app, &program(text, "(call $text)"), &[]);
        let answer = host.get(&format!("/{app}/"));
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{app}");
        assert_eq!(answer.header(header.0), Some(header.1), "{app}: {answer:?}");
        assert_eq!(answer.header("wfn-outcome"), None, "{app}");
    }
}

#[test]
fn each_fault_has_its_outcome_and_the_app_serves_again() {
    let host = Host::start();
    let long_head = format!("X: {}\n", "x".repeat(70_000));
    for (text, body, status, outcome, part) in [
        ("", "", 502, "no-response", "standard output (CGI)"),
        ("", "(call $exit (i32.const 0))", 502, "no-response", "standard output (CGI)"),
        ("", "(call $exit (i32.const 3))", 502, "invalid-response", "exited with an error"),
        (PLAIN, "(call $text) (call $exit (i32.const 1))", 502, "invalid-response", "exited with an error"),
        ("Content-Type: text/plain\n", "(call $text)", 502, "invalid-response", "empty line"),
        ("hello\n", "(call $text)", 502, "invalid-response", "does not begin with CGI header lines"),
        (
            "HTTP/1.1 200 OK\n\n",
            "(call $text)",
            502,
            "invalid-response",
            "does not begin with CGI header lines",
        ),
        (&long_head, "(call $text)", 502, "invalid-response", "too long or do not end"),
        ("Content-Length: 3\n\nab", "(call $text)", 502, "invalid-response", "content-length"),
        ("Content-Length: 1\n\nab", "(call $text)", 502, "invalid-response", "content-length"),
        (PLAIN, "(call $text) unreachable", 500, "trapped", ""),
        ("", "(loop $l (br $l))", 504, "timed-out", ""),
        ("", "(call $wait (i64.const 60000))", 504, "timed-out", ""),
        ("", "(drop (memory.grow (i32.const 65000))) unreachable", 500, "memory-limit", ""),
    ] {
        deploy(&host, "fault", &program(text, body), &["--timeout", "500ms"]);
        for _ in 0..2 {
            let answer = host.get("/fault/");
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, outcome),
                "{body}: {}",
                answer.text()
            );
            assert!(answer.text().contains(part), "{body}: {}", answer.text());
        }
        until("no slot is left taken", || (host.number("fault", "in_flight") == 0).then_some(()));
    }
    assert_eq!(host.number("fault", "failed"), 28);
}

#[test]
fn a_body_that_ends_in_a_failure_never_looks_whole() {
    let host = Host::start();
    for (app, end) in
        [("trap", "unreachable"), ("exit", "(call $exit (i32.const 1))"), ("spin", "(loop $l (br $l))")]
    {
        // It waits before it fails, so that the head and a part of the body are out.
        let program = program(
            PLAIN,
            &format!(
                "(call $text) (call $say (i32.const 1) (i32.const 1024) (i32.const 5)) (call $wait (i64.const 100)) {end}"
            ),
        );
        deploy(&host, app, &program, &["--timeout", "1s"]);
        let mut connection = Connection::open(&host.functions);
        connection.write(format!("GET /{app}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        let all = connection.read_to_end().unwrap_or_default();
        assert!(all.starts_with(b"HTTP/1.1 200") && !all.ends_with(b"0\r\n\r\n"), "{app} looks whole");
        until("it is counted", || (host.number(app, "failed") == 1).then_some(()));
    }
}

#[test]
fn stderr_is_the_log_and_every_invocation_is_a_new_process() {
    let host = Host::start();
    // Says what a cell of its memory holds, after adding to it: "1" in every new process.
    let counts = "(call $text) (i32.store8 (i32.const 2048) (i32.add (i32.load8_u (i32.const 2048)) (i32.const 49)))
                  (call $say (i32.const 1) (i32.const 2048) (i32.const 1)) (call $say (i32.const 2) (i32.const 1024) (i32.const 12))";
    deploy(&host, "counts", &program(PLAIN, counts), &["--always-ready", "1"]);
    for _ in 0..3 {
        let answer = host.get("/counts/");
        let id = answer.header("wfn-invocation").unwrap().to_owned();
        assert_eq!(answer.ok(), "1");
        let logs = host.logs("counts");
        assert!(
            logs.lines()
                .any(|line| line.contains(&id) && line.contains("stderr") && line.contains("Content-Type")),
            "{logs}"
        );
    }
    assert_eq!(host.number("counts", "instances"), 1);
}

#[test]
fn no_request_is_lost_under_sixty_four_connections() {
    let host = Host::start();
    deploy(&host, "echo", &program(PLAIN, "(call $text) (call $echo)"), &[]);
    let threads: Vec<_> = (0..64)
        .map(|client| {
            let address = host.functions.clone();
            std::thread::spawn(move || {
                let mut connection = Connection::open(&address);
                for number in 0..40 {
                    let body = format!("client {client}, request {number}");
                    let head =
                        format!("POST /echo/ HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
                    connection.write(head.as_bytes());
                    connection.write(body.as_bytes());
                    assert_eq!(connection.read_answer().unwrap().ok(), body);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let group = host.group("echo");
    assert_eq!(
        (group["invocations"].as_u64(), group["failed"].as_u64()),
        (Some(64 * 40), Some(0)),
        "{group}"
    );
    // Sixty-four at once at most, sixteen to an instance.
    assert!(group["instances_peak"].as_u64() <= Some(4), "{group}");
}

#[test]
fn a_restart_serves_programs_from_cached_machine_code() {
    let host = Host::start();
    deploy(&host, "plain", &program("Content-Type: text/plain\n\nhi", "(call $text)"), &[]);
    let data = host.kill();
    std::fs::remove_dir_all(data.path().join("modules")).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/plain/").ok(), "hi");
}
