//! Where requests begin and end: pipelining, versions, connections, expectations (RFC 9112, 2, 6 and 9; RFC 9110, 10.1.1).

use super::{Row, Then, answer, refusal, row};

const OK: &str = "GET /p2/ok HTTP/1.1\r\nHost: x\r\n\r\n";
const LAST: &str = "GET /p2/ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn ok() -> super::Expected {
    answer(200).body("ok\n")
}

fn times(count: usize) -> Vec<super::Expected> {
    (0..count).map(|_| ok()).collect()
}

pub fn rows() -> Vec<Row> {
    let mut rows = pipelines();
    rows.extend(versions_and_connections());
    rows.extend(lengths());
    rows
}

/// An answer leaves at once, whatever follows its request.
fn pipelines() -> Vec<Row> {
    let mut with_echoes = String::new();
    for number in 10..60 {
        with_echoes += &format!("POST /echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{number}");
    }
    let echoes: Vec<_> = (10..60).map(|number| answer(200).body(number.to_string())).collect();
    let mixed = format!(
        "{OK}HEAD /p2/ok HTTP/1.1\r\nHost: x\r\n\r\nGET /p3/ok HTTP/1.1\r\nHost: x\r\n\r\nGET /cgi-plain/ HTTP/1.1\r\nHost: x\r\n\r\nGET /nobody HTTP/1.1\r\nHost: x\r\n\r\n{OK}"
    );
    vec![
        row("one request", OK, [ok()]),
        row("a stray CRLF behind", format!("{OK}\r\n"), [ok()]),
        row("a stray LF behind", format!("{OK}\n"), [ok()]).direct(),
        row("empty lines before", format!("\r\n\r\n{OK}"), [ok()]),
        row("an empty line between", format!("{OK}\r\n{OK}"), times(2)),
        row("three at once", OK.repeat(3), times(3)),
        row("four hundred at once", OK.repeat(400), times(400)),
        row("399 and the beginning of another", format!("{}GET /p2/ok HT", OK.repeat(399)), times(399))
            .then(Then::Nothing)
            .direct(),
        row("one and a single byte", format!("{OK}G"), [ok()]).then(Then::Nothing).direct(),
        row("two and a malformed one", format!("{OK}{OK}NO\x01PE\r\n\r\n"), {
            let mut expected = times(2);
            expected.push(refusal(400, "bad-request"));
            expected
        })
        .then(Then::Closed)
        .direct(),
        row("two and one that is too long", format!("{OK}{OK}GET /{}", "x".repeat(70_000)), {
            let mut expected = times(2);
            expected.push(refusal(414, "target-too-long"));
            expected
        })
        .then(Then::Closed)
        .direct(),
        row(
            "one and the preface of HTTP/2",
            format!("{OK}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            [ok(), refusal(505, "version-not-supported")],
        )
        .then(Then::Closed)
        .direct(),
        row("bodies in a row", with_echoes, echoes),
        row(
            "guests of every kind in a row",
            mixed,
            [ok(), super::head_answer(200), ok(), answer(200).body("plain\n"), answer(404), ok()],
        ),
        row("nothing after the last", format!("{LAST}{OK}"), [ok()]).then(Then::Closed).direct(),
    ]
}

fn versions_and_connections() -> Vec<Row> {
    let websocket = "GET /p2/ok HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let h2c = "GET /p2/ok HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let expecting = |path: &str, expectation: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: {expectation}\r\nContent-Length: 3\r\n\r\nabc")
    };
    vec![
        row("close", LAST, [ok().field("connection: close")]).then(Then::Closed),
        row(
            "close among others",
            "GET /p2/ok HTTP/1.1\r\nHost: x\r\nConnection: x-foo, Close\r\n\r\n",
            [ok().field("connection: close")],
        )
        .then(Then::Closed),
        row("HTTP/1.0", "GET /p2/ok HTTP/1.0\r\nHost: x\r\n\r\n", [ok()]).then(Then::Closed),
        row("HTTP/1.0 without a host", "GET /p2/ok HTTP/1.0\r\n\r\n", [ok()]).then(Then::Closed),
        row(
            "a program without a host",
            "GET /cgi-env/ HTTP/1.0\r\n\r\n",
            [answer(200).with("SERVER_NAME=127.0.0.1\0")],
        )
        .then(Then::Closed)
        .direct(),
        row(
            "HTTP/1.0 that stays",
            "GET /p2/ok HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
            [ok().field("connection: keep-alive")],
        ),
        row(
            "HTTP/1.0 knows no chunks",
            "GET /echo/stream?chunks=2&bytes=3 HTTP/1.0\r\nHost: x\r\n\r\n",
            [answer(200).without("transfer-encoding").body("xxxxxx")],
        )
        .then(Then::Closed),
        row("an upgrade that nobody offers", websocket, [ok().without("upgrade")]),
        row("an upgrade to HTTP/2", h2c, [ok().without("upgrade")]),
        row(
            "a body that waits to be wanted",
            expecting("/echo/", "100-continue"),
            [answer(100), answer(200).body("abc")],
        ),
        row(
            "the same in other letters",
            expecting("/echo/", "100-Continue"),
            [answer(100), answer(200).body("abc")],
        )
        .direct(),
        row(
            "a body that nobody wants",
            expecting("/nobody", "100-continue"),
            [refusal(404, "no-route").field("connection: close")],
        )
        .then(Then::Closed)
        .direct(),
        row(
            "a body that is too long to be wanted",
            "POST /echo/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4294967296\r\n\r\n",
            [refusal(413, "body-too-large").field("connection: close")],
        )
        .then(Then::Closed)
        .direct(),
        row("another expectation", expecting("/echo/", "cake"), [answer(200).body("abc")]).direct(),
        row(
            "an expectation without a body",
            "GET /p2/ok HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
            [ok()],
        )
        .direct(),
    ]
}

/// Which bytes are the body, and that they are never taken for a request.
fn lengths() -> Vec<Row> {
    let post =
        |fields: &str, body: &str| format!("POST /echo/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}");
    let refused = |name, fields: &str, status, code| {
        row(name, post(fields, "abc"), [refusal(status, code)]).then(Then::Closed).direct()
    };
    vec![
        row("no body", "POST /echo/ HTTP/1.1\r\nHost: x\r\n\r\n", [answer(200).body("")]).direct(),
        row("a length", post("Content-Length: 3", "abc"), [answer(200).body("abc")]),
        row("a length of nothing", post("Content-Length: 0", ""), [answer(200).body("")]),
        row(
            "the same length twice",
            post("Content-Length: 3\r\nContent-Length: 3", "abc"),
            [answer(200).body("abc")],
        )
        .direct(),
        row("a length with zeros before", post("Content-Length: 0003", "abc"), [answer(200).body("abc")])
            .direct(),
        refused("two lengths", "Content-Length: 3\r\nContent-Length: 4", 400, "bad-request"),
        refused("a list of lengths", "Content-Length: 3, 4", 400, "bad-request"),
        refused("a length below zero", "Content-Length: -1", 400, "bad-request"),
        refused("a length with a sign", "Content-Length: +3", 400, "bad-request"),
        refused("a length in hexadecimal", "Content-Length: 0x3", 400, "bad-request"),
        refused("a length of letters", "Content-Length: abc", 400, "bad-request"),
        refused("a length that is empty", "Content-Length: ", 400, "bad-request"),
        refused("a length beyond counting", "Content-Length: 99999999999999999999", 400, "bad-request"),
        row(
            "chunks",
            post("Transfer-Encoding: chunked", "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"),
            [answer(200).body("abcdef")],
        ),
        row(
            "chunks in other letters",
            post("Transfer-Encoding: CHUNKED", "3\r\nabc\r\n0\r\n\r\n"),
            [answer(200).body("abc")],
        ),
        row(
            "chunks with extensions",
            post("Transfer-Encoding: chunked", "3;a=b\r\nabc\r\n0;c=\"d\"\r\n\r\n"),
            [answer(200).body("abc")],
        ),
        row(
            "chunks and trailers",
            post("Transfer-Encoding: chunked\r\nTrailer: x-sum", "3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"),
            [answer(200).body("abc")],
        ),
        row("no chunk but the last", post("Transfer-Encoding: chunked", "0\r\n\r\n"), [answer(200).body("")]),
        // The smuggling classic: the length does not count, and nothing follows (RFC 9112, 6.3).
        row(
            "a length beside chunks",
            {
                let rest = format!("3\r\nabc\r\n0\r\n\r\n{OK}");
                post("Content-Length: 4\r\nTransfer-Encoding: chunked", &rest)
            },
            [answer(200).body("abc").field("connection: close")],
        )
        .then(Then::Closed)
        .direct(),
        row(
            "chunks beside a length",
            {
                let rest = format!("3\r\nabc\r\n0\r\n\r\n{OK}");
                post("Transfer-Encoding: chunked\r\nContent-Length: 4", &rest)
            },
            [answer(200).body("abc").field("connection: close")],
        )
        .then(Then::Closed)
        .direct(),
        refused("chunks that are compressed", "Transfer-Encoding: gzip, chunked", 501, "not-implemented"),
        refused(
            "chunks in two fields",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            501,
            "not-implemented",
        ),
        refused("chunks of chunks", "Transfer-Encoding: chunked, chunked", 501, "not-implemented"),
        refused("a coding that does not end", "Transfer-Encoding: gzip", 400, "bad-request"),
        refused("chunks that are not last", "Transfer-Encoding: chunked, gzip", 400, "bad-request"),
        refused("a coding that is none", "Transfer-Encoding: xchunked", 400, "bad-request"),
        refused("identity", "Transfer-Encoding: identity", 400, "bad-request"),
        row(
            "chunks from an old client",
            "POST /echo/ HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            [refusal(400, "bad-request")],
        )
        .then(Then::Closed)
        .direct(),
    ]
}
