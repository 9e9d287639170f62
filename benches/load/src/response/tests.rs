//! Tests answers of all kinds, split in all ways.

use proptest::prelude::*;

use super::*;

/// Reads `bytes` as a connection does, split wherever `is_cut` says so. Returns the answer, how many bytes had come
/// when it was complete, and how many of them are left over.
fn read_in_pieces(
    bytes: &[u8],
    has_no_body: bool,
    is_cut: impl Fn(usize) -> bool,
) -> Result<Option<(Answer, usize, usize)>, Malformed> {
    let mut reader = Reader::new(has_no_body);
    let mut taken = 0;
    for come in 1..=bytes.len() {
        if come == bytes.len() || is_cut(come) {
            let (length, answer) = reader.read(&bytes[taken..come])?;
            taken += length;
            if let Some(answer) = answer {
                return Ok(Some((answer, come, come - taken)));
            }
        }
    }
    Ok(reader.close().map(|answer| (answer, bytes.len(), bytes.len() - taken)))
}

/// Reads `text`. The result must be the same if the bytes come at once, one by one, or split anywhere.
fn read(text: &str, has_no_body: bool) -> Result<Option<Answer>, Malformed> {
    let bytes = text.as_bytes();
    let at_once = read_in_pieces(bytes, has_no_body, |_| false).map(|read| read.map(|(answer, ..)| answer));
    let answer = |is_cut: &dyn Fn(usize) -> bool| {
        read_in_pieces(bytes, has_no_body, is_cut).map(|read| read.map(|(answer, ..)| answer))
    };
    assert_eq!(answer(&|_| true), at_once, "{text:?} byte by byte");
    for cut in 1..bytes.len() {
        assert_eq!(answer(&|at| at == cut), at_once, "{text:?} cut at {cut}");
    }
    at_once
}

#[test]
fn an_answer_ends_where_its_head_says() {
    // The answer; what is left over after it; its status; whether the connection can be used again.
    for (text, rest, status, is_reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP", 200, true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "", 200, true),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "x", 404, true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n", "\r\n", 200, true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n2\r\nhe\r\n0\r\na: b\r\n\r\n",
            "",
            200,
            true,
        ),
        // If there are both headers, the length means nothing.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n",
            "",
            200,
            true,
        ),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", "hello", 204, true),
        ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", "2\r\n", 304, true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n\r\n.", "", 200, false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close, keep-alive\r\n\r\n.", "", 200, false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n.", "", 200, false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n.", "", 200, true),
        ("HTTP/1.1 200 OK\r\n\r\nall until the end", "", 200, false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: 1\r\n\r\nall", "", 200, false),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\na: b\r\n\r\nHTTP/1.1 204 N\r\n\r\n", "", 204, true),
    ] {
        let answer = Answer { status, outcome: None, is_reusable, bytes: text.len() as u64 };
        assert_eq!(read(&format!("{text}{rest}"), false), Ok(Some(answer)), "{text:?}");
    }
}

#[test]
fn the_answer_to_head_has_no_body() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let answer = Answer { status: 200, outcome: None, is_reusable: true, bytes: text.len() as u64 };
    assert_eq!(read(text, true), Ok(Some(answer)));
    assert_eq!(read(text, false), Ok(None));
}

#[test]
fn an_answer_that_ends_early_is_none() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n",
    ] {
        assert_eq!(read(text, false), Ok(None), "{text:?}");
    }
}

#[test]
fn what_is_no_answer_is_malformed() {
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello",
    ] {
        assert_eq!(read(text, false), Err(Malformed), "{text:?}");
    }
    let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
    assert_eq!(Reader::new(false).read(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes()), Err(Malformed));
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_BYTES_MAX));
    let (fits, full) = (&endless.as_bytes()[..HEAD_BYTES_MAX - 1], &endless.as_bytes()[..HEAD_BYTES_MAX]);
    assert_eq!(Reader::new(false).read(fits), Ok((0, None)));
    assert_eq!(Reader::new(false).read(full), Err(Malformed));
}

#[test]
fn the_outcome_is_kept_and_bounded() {
    let outcome = |value: &str| {
        let text = format!("HTTP/1.1 429 T\r\nWfn-Outcome: {value}\r\ncontent-length: 0\r\n\r\n");
        read(&text, false).unwrap().and_then(|answer| answer.outcome)
    };
    assert_eq!(outcome("throttled").as_deref(), Some("throttled"));
    assert_eq!(outcome(&"x".repeat(100)), Some("x".repeat(OUTCOME_BYTES_MAX)));
}

/// An answer as a server might write it, whether the end of the connection ends it, and what is counted.
fn answers() -> impl Strategy<Value = (Vec<u8>, bool, Answer)> {
    let body = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..30), 0..5);
    let status = prop_oneof![Just(200u16), Just(204), Just(304), Just(429), Just(503)];
    let outcome = prop::option::of("[a-z-]{1,12}");
    let filler = "(x-[a-z]{1,9}: [a-z ]{0,20}\r\n){0,4}";
    (status, body, 0..3, outcome, filler, any::<bool>(), 0..3usize).prop_map(
        |(status, pieces, framing, outcome, filler, closes, interim)| {
            let mut head = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(interim);
            head += &format!("HTTP/1.1 {status} Reason\r\n{filler}");
            if let Some(outcome) = &outcome {
                head += &format!("wfn-outcome: {outcome}\r\n");
            }
            if closes {
                head += "connection: close\r\n";
            }
            let has_body = !matches!(status, 204 | 304);
            let ends_with_connection = has_body && framing == 2;
            let mut body = Vec::new();
            match framing {
                0 => {
                    body = pieces.concat();
                    head += &format!("content-length: {}\r\n", body.len());
                }
                1 => {
                    head += "transfer-encoding: chunked\r\n";
                    for piece in &pieces {
                        body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        body.extend_from_slice(piece);
                        body.extend_from_slice(b"\r\n");
                    }
                    body.extend_from_slice(b"0\r\n\r\n");
                }
                _ => body = pieces.concat(),
            }
            let mut bytes = format!("{head}\r\n").into_bytes();
            if has_body {
                bytes.extend_from_slice(&body);
            }
            let is_reusable = !closes && !ends_with_connection;
            let answer = Answer { status, outcome, is_reusable, bytes: bytes.len() as u64 };
            (bytes, ends_with_connection, answer)
        },
    )
}

proptest! {
    #[test]
    fn any_answer_is_read_in_any_pieces((bytes, ends_with_connection, answer) in answers(), cuts in any::<u64>()) {
        let read = read_in_pieces(&bytes, false, |at| cuts >> (at % 64) & 1 == 1);
        prop_assert_eq!(read, Ok(Some((answer.clone(), bytes.len(), 0))));
        if !ends_with_connection {
            // What follows is not touched, and no byte is waited for that is not needed.
            let followed = [&bytes[..], b"HTTP/1.1 200 OK\r\n"].concat();
            let read = read_in_pieces(&followed, false, |at| at >= bytes.len());
            prop_assert_eq!(read, Ok(Some((answer, bytes.len(), 0))));
        }
    }

    #[test]
    fn garbage_ends_in_bounds(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in any::<u64>()) {
        // Whatever the bytes are, no more are used than have come.
        if let Ok(Some((answer, come, left))) = read_in_pieces(&bytes, false, |at| cuts >> (at % 64) & 1 == 1) {
            prop_assert_eq!(answer.bytes as usize, come - left);
        }
    }
}
