//! Request lines, targets, hosts and fields, and the heads that are none (RFC 9112, 2, 3 and 5; RFC 9110, 7 and 9).

use super::{Expected, Row, Then, answer, head_answer, refusal, row};

fn ok() -> Expected {
    answer(200).body("ok\n")
}

/// A head that is refused, after which the connection ends.
fn bad(name: &'static str, head: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Row {
    row(name, head, [refusal(status, code).field("connection: close")]).then(Then::Closed).direct()
}

/// A request that is refused, after which another may come.
fn refused(name: &'static str, head: &str, status: u16, code: &'static str) -> Row {
    row(name, head, [refusal(status, code)]).direct()
}

pub fn rows() -> Vec<Row> {
    let mut rows = targets();
    rows.extend(lines());
    rows.extend(fields());
    rows
}

fn targets() -> Vec<Row> {
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n");
    vec![
        row("a query", get("/p2/ok?x=1&y=%20", "Host: x"), [ok()]),
        row("a URL", get("http://x/p2/ok", "Host: x"), [ok()]),
        row(
            "a URL whose host goes before",
            get("http://right/cgi-env/", "Host: wrong"),
            [answer(200).with("HTTP_HOST=right\0")],
        )
        .direct(),
        row("a host with a port", get("/p2/ok", "Host: example.org:8080"), [ok()]),
        row("an address", get("/p2/ok", "Host: [::1]:80"), [ok()]),
        refused("a URL without a host", &get("http://x/p2/ok", "A: b"), 400, "bad-request"),
        refused("no host", &get("/p2/ok", "A: b"), 400, "bad-request"),
        refused("two hosts", &get("/p2/ok", "Host: a\r\nHost: b"), 400, "bad-request"),
        refused("the same host twice", &get("/p2/ok", "Host: a\r\nHost: a"), 400, "bad-request"),
        refused("an empty host", &get("/p2/ok", "Host:"), 400, "bad-request"),
        refused("a host with a path", &get("/p2/ok", "Host: a/b"), 400, "bad-request"),
        refused("a host with a user", &get("/p2/ok", "Host: a@b"), 400, "bad-request"),
        refused("a host with a space", &get("/p2/ok", "Host: a b"), 400, "bad-request"),
        refused(
            "two hosts of an old client",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\nConnection: keep-alive\r\n\r\n",
            400,
            "bad-request",
        ),
        refused("a name for a target", &get("hello", "Host: x"), 400, "bad-request"),
        refused("a star for a target", &get("*", "Host: x"), 400, "bad-request"),
        refused("no such app", &get("/nobody", "Host: x"), 404, "no-route"),
        refused("no app at the root", &get("/", "Host: x"), 404, "no-route"),
        refused("a tunnel", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 501, "not-implemented"),
        refused("a trace", "TRACE /p2/ok HTTP/1.1\r\nHost: x\r\n\r\n", 501, "not-implemented"),
        row(
            "options of the host",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            [answer(204).field("allow: GET, HEAD, OPTIONS").without("content-length")],
        )
        .direct(),
        row("options at the root", "OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", [answer(204)]),
        row("what haproxy asks by default", "OPTIONS / HTTP/1.0\r\n\r\n", [answer(204)])
            .then(Then::Closed)
            .direct(),
        row(
            "options of an app",
            "OPTIONS /echo/ HTTP/1.1\r\nHost: x\r\n\r\n",
            [answer(405).field("allow: GET, HEAD, POST, PUT, PATCH")],
        ),
        row(
            "a method that the function does not know",
            "BREW /echo/ HTTP/1.1\r\nHost: x\r\n\r\n",
            [answer(405)],
        ),
        row(
            "a HEAD of nothing",
            "HEAD /nobody HTTP/1.1\r\nHost: x\r\n\r\n",
            [head_answer(404).field("wfn-outcome: no-route")],
        ),
    ]
}

fn lines() -> Vec<Row> {
    let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n");
    // More than the limit and one read: a head that ends within the read that passes the limit is taken.
    let long = "x".repeat(140_000);
    vec![
        bad("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, "bad-request"),
        bad("words", "hello there\r\n\r\n", 400, "bad-request"),
        bad("HTTP/0.9", "GET /p2/ok\r\n\r\n", 400, "bad-request"),
        bad("no method", line(" /p2/ok HTTP/1.1"), 400, "bad-request"),
        bad("a method that is none", line("G@T /p2/ok HTTP/1.1"), 400, "bad-request"),
        bad("a target with a NUL", line("GET /p2/o\0k HTTP/1.1"), 400, "bad-request"),
        bad("a target with a space", line("GET /p2/ ok HTTP/1.1"), 400, "bad-request"),
        bad("a version in small letters", line("GET /p2/ok http/1.1"), 400, "bad-request"),
        bad("half a version", line("GET /p2/ok HTTP/1"), 400, "bad-request"),
        bad("a version with more", line("GET /p2/ok HTTP/1.1x"), 400, "bad-request"),
        bad("HTTP/1.2", line("GET /p2/ok HTTP/1.2"), 505, "version-not-supported"),
        bad("HTTP/2.0", line("GET /p2/ok HTTP/2.0"), 505, "version-not-supported"),
        bad("HTTP/3.0", line("GET /p2/ok HTTP/3.0"), 505, "version-not-supported"),
        bad("half a preface", "PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n", 505, "version-not-supported"),
        bad("a long target", line(&format!("GET /p2/{long} HTTP/1.1")), 414, "target-too-long"),
        bad("a long method", line(&format!("{long} /p2/ok HTTP/1.1")), 414, "target-too-long"),
        row("a target of 60,000 bytes", line(&format!("GET /p2/ok?{} HTTP/1.1", "x".repeat(60_000))), [ok()])
            .direct(),
        row("lines without carriage returns", "GET /p2/ok HTTP/1.1\nHost: x\n\n", [ok()]).direct(),
    ]
}

fn fields() -> Vec<Row> {
    let with = |field: &str| format!("GET /p2/ok HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
    let many = |count: usize| (0..count).map(|i| format!("f{i}: v\r\n")).collect::<String>();
    vec![
        bad("a name with a space", with("a b: c"), 400, "bad-request"),
        bad("a space before the colon", with("a : c"), 400, "bad-request"),
        bad("no colon", with("abc"), 400, "bad-request"),
        bad("no name", with(": c"), 400, "bad-request"),
        bad("a name that is none", with("a(b): c"), 400, "bad-request"),
        bad("a folded line", with("a: b\r\n c"), 400, "bad-request"),
        bad("a line that begins with a space", "GET /p2/ok HTTP/1.1\r\n Host: x\r\n\r\n", 400, "bad-request"),
        bad("a NUL", with("a: b\0c"), 400, "bad-request"),
        bad("a carriage return", with("a: b\rc"), 400, "bad-request"),
        bad("a control character", with("a: b\x07c"), 400, "bad-request"),
        bad("a long field", with(&format!("a: {}", "x".repeat(140_000))), 431, "head-too-large"),
        bad("a long name", with(&format!("{}: a", "x".repeat(140_000))), 431, "head-too-large"),
        bad(
            "a field that never ends",
            format!("GET /p2/ok HTTP/1.1\r\na: {}", "x".repeat(70_000)),
            431,
            "head-too-large",
        ),
        bad("130 fields", with(&many(129)), 431, "head-too-large"),
        row("127 fields", with(&many(126)), [ok()]).direct(),
        row("60,000 bytes", with(&format!("a: {}", "x".repeat(60_000))), [ok()]).direct(),
        row("bytes beyond ASCII", b"GET /p2/ok HTTP/1.1\r\nHost: x\r\na: \xfc\r\n\r\n".to_vec(), [ok()]),
        row("an empty value and tabs", with("a:\r\nb:\t c \t"), [ok()]),
    ]
}
