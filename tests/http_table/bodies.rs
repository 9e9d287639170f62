//! Bodies that are not read, are cut, or are too much; answers that come early (RFC 9112, 7.1, 8 and 9.6).

use super::{Row, Then, answer, refusal, row};

/// A body longer than what a host reads before it asks a function.
const LARGE: usize = 1_000_000;

fn sized(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    )
}

pub fn rows() -> Vec<Row> {
    let mut rows = early();
    rows.extend(broken());
    rows.extend(programs());
    rows
}

/// The answer reaches a client that has not been read to its end.
fn early() -> Vec<Row> {
    let (small, large) = ("x".repeat(10), "x".repeat(LARGE));
    let closes = |name, sent: String, expected: super::Expected| {
        row(name, sent, [expected.field("connection: close")]).then(Then::Closed)
    };
    let next = "GET /p2/ok HTTP/1.1\r\nHost: x\r\n\r\n";
    vec![
        row("a small body for nobody", sized("/nobody", &small), [refusal(404, "no-route")]),
        row(
            "small bodies for nobody and another request",
            format!("{}{}{next}", sized("/nobody", &small), sized("/nobody", &small)),
            [answer(404), answer(404), answer(200).body("ok\n")],
        ),
        closes("a large body for nobody", sized("/nobody", &large), refusal(404, "no-route")),
        closes("a large body for nobody in chunks", chunked("/nobody", &large), refusal(404, "no-route")),
        closes("a large body and another request", format!("{}{next}", sized("/nobody", &large)), {
            refusal(404, "no-route")
        })
        .direct(),
        closes(
            "a body over the bound",
            format!("POST /echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n{large}"),
            refusal(413, "body-too-large"),
        )
        .direct(),
        closes("a body that p2 does not read", sized("/p2/never-read", &large), {
            answer(200).body("answered without reading\n")
        }),
        closes("chunks that p2 does not read", chunked("/p2/never-read", &large), {
            answer(200).body("answered without reading\n")
        }),
        row(
            "a small body that p2 does not read",
            sized("/p2/never-read", &small),
            [answer(200).body("answered without reading\n")],
        ),
        row("a body that p3 does not read", sized("/p3/ok", &large), [answer(200).body("ok\n")])
            .then(Then::Closed),
        row("chunks that p3 does not read", chunked("/p3/ok", &large), [answer(200).body("ok\n")])
            .then(Then::Closed),
        row(
            "a body that a program does not read",
            sized("/cgi-plain/", &large),
            [answer(200).body("plain\n")],
        )
        .then(Then::Closed),
    ]
}

/// Bodies that end wrongly: the client is told so, whatever the function makes of it.
fn broken() -> Vec<Row> {
    let post = |path: &str, rest: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{rest}")
    };
    let broken = || refusal(400, "body-broken").field("connection: close");
    let mut rows: Vec<_> = [
        ("no chunk size", "x\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size beyond counting", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("a chunk that is longer than it says", "2\r\nabc\r\n0\r\n\r\n"),
        ("a chunk that is shorter than it says", "4\r\nabc\r\n0\r\n\r\n"),
    ]
    .into_iter()
    .flat_map(|(name, rest)| {
        ["/p2/read-slow?ms=0", "/cgi-echo/"]
            .map(|path| row(name, post(path, rest), [broken()]).then(Then::Closed).direct())
    })
    .collect();
    let cut = "POST /p2/read-slow?ms=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nhalf";
    rows.extend([
        row(
            "half a small body",
            "POST /p2/ok HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
            [broken()],
        )
        .then(Then::Nothing)
        .direct(),
        row("half a large body", cut, [broken()]).then(Then::Nothing).direct(),
        row("half a chunk", post("/p2/read-slow?ms=0", "9\r\nhalf"), [broken()]).then(Then::Nothing).direct(),
    ]);
    rows
}

/// A program is told how long its input is (RFC 3875, 4.1.2).
fn programs() -> Vec<Row> {
    let large = "y".repeat(LARGE);
    vec![
        row("a body", sized("/cgi-echo/", "abc"), [answer(200).body("3:abc")]),
        row("chunks", chunked("/cgi-echo/", "abc"), [answer(200).body("3:abc")]),
        row(
            "no body",
            "POST /cgi-echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            [answer(200).body(":")],
        ),
        row(
            "chunks without content",
            "POST /cgi-echo/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            [answer(200).body(":")],
        ),
        row("many chunks", chunked("/cgi-echo/", &large), [answer(200).body(format!("1000000:{large}"))]),
        row(
            "too many chunks",
            chunked("/cgi-echo/", &large.repeat(2)),
            [refusal(411, "length-required").field("connection: close")],
        )
        .then(Then::Closed)
        .direct(),
    ]
}
