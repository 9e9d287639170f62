//! Chooses the answer to a head of HTTP/1 that cannot be read, so that the client learns the reason.

use http::StatusCode;

use crate::invocation::{INVOCATION, InvocationId, OUTCOME};
use crate::refusal::Refusal;
use crate::{clock, limits};

/// Returns the answer to a head that hyper could not read because of `error`. `rest` is what hyper had not taken of the head: all
/// of it, unless `error` is about the framing of the body.
pub fn refusal(error: &hyper::Error, rest: &[u8]) -> Refusal {
    let (status, code, message) = match () {
        () if error.is_parse_too_large() && first_line_is_too_long(rest) => (
            StatusCode::URI_TOO_LONG,
            "target-too-long",
            format!("the request's first line is longer than {} bytes", limits::HEAD_BYTES_MAX),
        ),
        () if error.is_parse_too_large() => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            format!(
                "the request's head is larger than {} bytes, or has more than {} fields",
                limits::HEAD_BYTES_MAX,
                limits::HEADERS_MAX
            ),
        ),
        () if asks_for_another_version(rest) => (
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "version-not-supported",
            "this host speaks HTTP/1.0, HTTP/1.1 and HTTP/2".to_owned(),
        ),
        () => (StatusCode::BAD_REQUEST, "bad-request", format!("the request cannot be read: {error}")),
    };
    Refusal::new(status, code, message)
}

/// Whether the first line of `head` alone is longer than a head may be. More of the head may have been read than that.
fn first_line_is_too_long(head: &[u8]) -> bool {
    !head.iter().take(limits::HEAD_BYTES_MAX).any(|byte| *byte == b'\n')
}

/// Returns `refusal` as the bytes of the last response on an HTTP/1.1 connection, for a request that cannot be answered in
/// another way.
pub fn last_response(refusal: &Refusal) -> Vec<u8> {
    let now = jiff::Timestamp::from_millisecond(clock::now_ms() as i64).unwrap_or_default();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    let body = refusal.body();
    let reason = refusal.status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\n{OUTCOME}: {}\r\n{INVOCATION}: {}\r\n\
         content-length: {}\r\nconnection: close\r\ndate: {}\r\n\r\n{body}",
        refusal.status.as_str(),
        refusal.code,
        InvocationId::next(),
        body.len(),
        date.unwrap_or_default(),
    )
    .into_bytes()
}

/// Whether the first line of `head` is a request line of HTTP in a version that is not supported (RFC 9112, 2.3).
fn asks_for_another_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    // The error may be known before the line has come whole.
    match version.strip_prefix(b"HTTP/") {
        Some([b'1', b'.', minor]) => matches!(minor, b'2'..=b'9'),
        Some([major] | [major, b'.'] | [major, b'.', b'0'..=b'9']) => matches!(major, b'0' | b'2'..=b'9'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_are_told_from_what_is_no_version() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n", false),
            ("GET / HTTP/1.2\r\n\r\n", true),
            ("GET / HTTP/2.0\r\n\r\n", true),
            ("\r\nGET / HTTP/3.0\r\n\r\n", true),
            ("GET / HTTP/2", true),
            ("GET / HTTP/1.2", true),
            ("GET / HTTP/1\r\n\r\n", false),
            ("GET / HTTP/11\r\n\r\n", false),
            ("GET / HTTP/1.1.1\r\n\r\n", false),
            ("GET / HTTP/x.y\r\n\r\n", false),
            ("GET / http/2.0\r\n\r\n", false),
            ("GET /\r\nx: HTTP/2.0\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(asks_for_another_version(head.as_bytes()), expected, "{head:?}");
        }
    }
}
