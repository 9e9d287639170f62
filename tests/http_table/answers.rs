//! What comes back: HEAD, statuses without content, lengths, trailers, and programs' words (RFC 9110, 6.4, 8.6, 9.3.2 and
//! 15; RFC 3875, 6).

use super::{Expected, Row, Then, answer, head_answer, refusal, row};
use crate::commands;
use crate::harness::Host;

/// Programs, by app, with what they write before their answer ends.
const PROGRAMS: &[(&str, &str)] = &[
    ("cgi-plain", "Content-Type: text/plain\n\nplain\n"),
    ("cgi-promise", "Content-Length: 5\n\n"),
    ("cgi-204", "Status: 204\nContent-Length: 5\n\nabcde"),
    ("cgi-205", "Status: 205\nContent-Length: 5\n\nabcde"),
    ("cgi-304", "Status: 304\nContent-Length: 5\nETag: \"x\"\n\n"),
    ("cgi-length", "Content-Length: 5x\n\nabcde"),
    ("cgi-lengths", "Content-Length: 5\nContent-Length: 7\n\nabcde"),
    ("cgi-length-twice", "Content-Length: 5\nContent-Length: 5\n\nabcde"),
    ("cgi-length-list", "Content-Length: 5, 5\n\nabcde"),
    ("cgi-length-sign", "Content-Length: +5\n\nabcde"),
    ("cgi-100", "Status: 100\n\n"),
    ("cgi-hops", "Connection: close\nTransfer-Encoding: chunked\nUpgrade: x\nKeep-Alive: 5\n\nhops\n"),
    ("cgi-words", "the secret is TOPSECRET-0123\n\n"),
    ("cgi-words-2", "TOPSECRET-0123: a\nno colon: but TOPSECRET-0123\nTOPSECRET-0123\n\n"),
    ("cgi-no-end", "X: TOPSECRET-0123\n"),
];

/// Deploys the programs that the rows ask.
pub fn deploy_programs(host: &Host) {
    for (app, text) in PROGRAMS {
        commands::deploy(host, app, &commands::program(text, "(call $text)"), &[]);
    }
    let plain = "Content-Type: text/plain\n\n";
    commands::deploy(host, "cgi-env", &commands::program(plain, "(call $text) (call $environ)"), &[]);
    commands::deploy(
        host,
        "cgi-echo",
        &commands::program(plain, "(call $text) (call $length) (call $echo)"),
        &[],
    );
    commands::deploy(
        host,
        "cgi-exit",
        &commands::program("TOPSECRET-0123", "(call $exit (i32.const 77))"),
        &[],
    );
}

pub fn rows() -> Vec<Row> {
    let mut rows = heads();
    rows.extend(statuses());
    rows.extend(trailers());
    rows.extend(words());
    rows
}

fn ask(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn heads() -> Vec<Row> {
    let head = |name, path: &str, expected: Expected| row(name, ask("HEAD", path), [expected]);
    vec![
        head("HEAD of p2", "/p2/ok", head_answer(200).field("content-length: 3")),
        head("HEAD of p3", "/p3/ok", head_answer(200)),
        head("HEAD of a program", "/cgi-plain/", head_answer(200).field("content-length: 6")),
        head("a length that p2 does not write", "/p2/answer?length=5", {
            head_answer(200).field("content-length: 5")
        }),
        head("a length that p3 does not write", "/p3/answer?length=5", {
            head_answer(200).field("content-length: 5")
        }),
        head("a length that a program does not write", "/cgi-promise/", {
            head_answer(200).field("content-length: 5")
        }),
        head(
            "a part of a length",
            "/p2/answer?length=5&bytes=3",
            head_answer(200).field("content-length: 5"),
        ),
        head(
            "more than a length",
            "/p2/answer?length=3&bytes=5",
            head_answer(200).field("content-length: 3"),
        ),
        head("a stream", "/echo/stream?chunks=30&bytes=100000", head_answer(200)),
        head("a stream of p3", "/p3/stream?chunks=30&bytes=100000", head_answer(200)),
        row("HEAD twice", ask("HEAD", "/p2/ok").repeat(2), [head_answer(200), head_answer(200)]),
        row("HEAD from an old client", "HEAD /p2/ok HTTP/1.0\r\nHost: x\r\n\r\n", [head_answer(200)])
            .then(Then::Closed),
    ]
}

/// Statuses without content, whatever is written, and the next answer behind them.
fn statuses() -> Vec<Row> {
    let mut rows = Vec::new();
    for app in ["p2", "p3"] {
        for status in [204, 304] {
            for (name, query) in [
                ("a status without content", ""),
                ("a status without content, and a length", "&length=5"),
                ("a status without content, and a length that is written", "&length=5&bytes=5"),
                ("a status without content, and content", "&bytes=5"),
            ] {
                let path = format!("/{app}/answer?status={status}{query}");
                let twice = ask("GET", &path) + &ask("GET", "/p2/ok");
                let expected = answer(status).without("content-length").without("transfer-encoding").body("");
                rows.push(row(name, twice, [expected, answer(200).body("ok\n")]));
            }
        }
        let path = format!("/{app}/answer?status=205&length=5&bytes=5");
        let expected = answer(205).field("content-length: 0").body("");
        rows.push(row("a reset", ask("GET", &path), [expected]));
    }
    rows.extend([
        row("204 of a program", ask("GET", "/cgi-204/"), [answer(204).without("content-length").body("")]),
        row("205 of a program", ask("GET", "/cgi-205/"), [answer(205).field("content-length: 0").body("")]),
        row("304 of a program", ask("GET", "/cgi-304/"), [answer(304).field("etag: \"x\"").body("")]),
        row("100 of a program", ask("GET", "/cgi-100/"), [refusal(502, "invalid-response")]),
        row(
            "one length, twice",
            ask("GET", "/cgi-length-twice/"),
            [answer(200).field("content-length: 5").body("abcde")],
        ),
        row(
            "fields of a connection",
            ask("GET", "/cgi-hops/"),
            [answer(200).without("upgrade").without("connection").without("keep-alive").body("hops\n")],
        ),
    ]);
    for path in ["/cgi-length/", "/cgi-lengths/", "/cgi-length-list/", "/cgi-length-sign/"] {
        rows.push(row("a length that is none", ask("GET", path), [refusal(502, "invalid-response")]));
    }
    rows
}

fn trailers() -> Vec<Row> {
    let with = "GET /p3/trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    vec![
        row("trailers", with, [answer(200).body("a body, then trailers\n")]),
        row(
            "trailers that nobody asked for",
            ask("GET", "/p3/trailers"),
            [answer(200).body("a body, then trailers\n")],
        ),
    ]
}

/// No word of a guest reaches a caller except as its response.
fn words() -> Vec<Row> {
    ["/cgi-words/", "/cgi-words-2/", "/cgi-no-end/", "/cgi-exit/", "/p3/no-response"]
        .into_iter()
        .map(|path| {
            let expected = refusal(502, "invalid-response").with("see 'wfn logs'");
            row("words that are no answer", ask("GET", path), [expected])
        })
        .collect()
}
