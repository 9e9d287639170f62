//! The Common Gateway Interface, version 1.1 (RFC 3875): a request as variables, a response head as text.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, request, response};
use percent_encoding::percent_decode_str;

use crate::limits;
use crate::request::is_secure;

/// The meta-variables of a request (RFC 3875, 4.1), with `REQUEST_URI` as all web servers add it. `address` is the
/// client's, if known.
///
/// Header names with an underscore are left out, because they could pass for another header, and so is `Proxy`,
/// whose variable many HTTP clients would obey.
pub fn variables(request: &request::Parts, body_bytes: Option<u64>) -> Vec<(String, String)> {
    let headers = &request.headers;
    let text = |name: &str| headers.get(name).map(|value| lossy(value.as_bytes())).unwrap_or_default();
    let script = text("x-forwarded-prefix");
    let path = request.uri.path();
    let query = request.uri.query().unwrap_or_default();
    let authority = request.uri.authority().map(|authority| authority.to_string());
    let (name, port) = host_and_port(&authority.unwrap_or_else(|| text("host")));
    let whole_path = format!("{script}{path}");
    let uri = if query.is_empty() { whole_path } else { format!("{whole_path}?{query}") };
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let address = forwarded.map(|value| lossy(value.as_bytes())).unwrap_or_default();
    let address = address.rsplit(',').next().unwrap_or_default().trim().to_owned();
    let mut variables: Vec<(String, String)> = [
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("PATH_INFO", lossy(&Cow::from(percent_decode_str(path)))),
        ("QUERY_STRING", query.to_owned()),
        ("REMOTE_ADDR", address),
        ("REQUEST_METHOD", request.method.to_string()),
        ("REQUEST_URI", uri),
        ("SCRIPT_NAME", script),
        ("SERVER_NAME", name),
        ("SERVER_PORT", port),
        ("SERVER_PROTOCOL", format!("{:?}", request.version)),
        ("SERVER_SOFTWARE", concat!("wfn/", env!("CARGO_PKG_VERSION")).to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if is_secure(&request.extensions) {
        variables.push(("HTTPS".into(), "on".into()));
    }
    if let Some(bytes) = body_bytes.filter(|bytes| *bytes > 0) {
        variables.push(("CONTENT_LENGTH".into(), bytes.to_string()));
    }
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        variables.push(("CONTENT_TYPE".into(), lossy(content_type.as_bytes())));
    }
    variables.extend(headers.keys().filter(|name| is_passed_on(name)).map(|name| {
        let separator = if *name == header::COOKIE { "; " } else { ", " };
        let values: Vec<String> = headers.get_all(name).iter().map(|value| lossy(value.as_bytes())).collect();
        let variable = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        (variable, values.join(separator))
    }));
    variables
}

fn is_passed_on(name: &HeaderName) -> bool {
    let own_variable = *name == header::CONTENT_LENGTH || *name == header::CONTENT_TYPE;
    !own_variable && !is_hop_by_hop(name) && *name != "proxy" && !name.as_str().contains('_')
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    const OTHERS: [&str; 3] = ["keep-alive", "proxy-connection", "trailer"];
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE].contains(name)
        || OTHERS.contains(&name.as_str())
}

/// Variables end at a NUL for the guest, so none may hold one.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// Name and port of a `Host`; 80 where it names none.
fn host_and_port(authority: &str) -> (String, String) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port)
        }
        _ => (authority, "80"),
    };
    (host.to_owned(), port.to_owned())
}

/// A response head that was read, and how many bytes it took, up to the first of the body.
#[derive(Debug)]
pub struct Head {
    /// Status and headers.
    pub parts: response::Parts,
    /// Bytes of the head with its empty line.
    pub bytes: usize,
}

/// What a program wrote is no head.
#[derive(Debug, PartialEq, Eq)]
pub struct NoHead {
    /// What is wrong with it.
    pub why: &'static str,
    /// The same with the program's own words, for its log alone.
    pub detail: String,
}

/// Reads the head at the beginning of `output` (RFC 3875, 6); `None` while its empty line has not come yet. The
/// error says what is wrong with it.
///
/// `Status` sets the status; without it, a `Location` makes it 302 and anything else 200. Lines may end with or
/// without a carriage return.
pub fn parse_head(output: &[u8]) -> Result<Option<Head>, NoHead> {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    let mut status = None;
    let mut at = 0;
    while let Some(length) = output[at..].iter().position(|byte| *byte == b'\n') {
        let line = &output[at..at + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += length + 1;
        if at > limits::RESPONSE_HEADER_BYTES_MAX {
            break;
        }
        if line.is_empty() {
            let redirects = parts.headers.contains_key(header::LOCATION);
            let default = if redirects { StatusCode::FOUND } else { StatusCode::OK };
            parts.status = status.unwrap_or(default);
            return Ok(Some(Head { parts, bytes: at }));
        }
        read_line(line, &mut parts.headers, &mut status)?;
    }
    if at > limits::RESPONSE_HEADER_BYTES_MAX || output.len() > limits::RESPONSE_HEADER_BYTES_MAX {
        let detail = format!(
            "no empty line within {} bytes: a CGI response begins with header lines and an empty line",
            limits::RESPONSE_HEADER_BYTES_MAX
        );
        return Err(NoHead { why: "its header lines are too long or do not end", detail });
    }
    Ok(None)
}

fn read_line(line: &[u8], headers: &mut HeaderMap, status: &mut Option<StatusCode>) -> Result<(), NoHead> {
    let wrong = || NoHead {
        why: "it does not begin with CGI header lines",
        detail: format!(
            "this is not a header line; a CGI response begins with lines like \"Content-Type: text/plain\": {}",
            String::from_utf8_lossy(line)
        ),
    };
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"status") {
        let code = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        *status = Some(StatusCode::from_bytes(code).map_err(|_| wrong())?);
        return Ok(());
    }
    let name = HeaderName::from_bytes(name).map_err(|_| wrong())?;
    let value = HeaderValue::from_bytes(value).map_err(|_| wrong())?;
    // The connection to the client is the host's business.
    if !is_hop_by_hop(&name) {
        headers.try_append(name, value).map_err(|_| wrong())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables_of(request: http::request::Builder) -> Vec<(String, String)> {
        variables(&request.body(()).unwrap().into_parts().0, Some(3))
    }

    fn value<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
        variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_request_becomes_the_variables_of_the_rfc() {
        let request = http::Request::post("/a%20b/c?x=1&y=%20")
            .header("host", "example.org:8080")
            .header("content-type", "text/plain")
            .header("x-forwarded-prefix", "/app")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-for", "10.0.0.1")
            .header("accept", "a/b")
            .header("accept", "c/d")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let got = variables_of(request);
        for (name, expected) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("PATH_INFO", "/a b/c"),
            ("QUERY_STRING", "x=1&y=%20"),
            ("REQUEST_URI", "/app/a%20b/c?x=1&y=%20"),
            ("SCRIPT_NAME", "/app"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "10.0.0.1"),
            ("CONTENT_LENGTH", "3"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_ACCEPT", "a/b, c/d"),
            ("HTTP_COOKIE", "a=1; b=2"),
        ] {
            assert_eq!(value(&got, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_could_pass_for_something_else_is_left_out() {
        let got = variables_of(
            http::Request::get("/%00")
                .header("host", "x")
                .header("proxy", "evil:1")
                .header("x_forwarded_for", "evil")
                .header("content-length", "99")
                .header("connection", "close"),
        );
        for name in ["HTTP_PROXY", "HTTP_X_FORWARDED_FOR", "HTTP_CONTENT_LENGTH", "HTTP_CONNECTION"] {
            assert_eq!(value(&got, name), None, "{name}");
        }
        assert_eq!(value(&got, "PATH_INFO"), Some("/\u{fffd}"));
        assert_eq!(value(&got, "CONTENT_LENGTH"), Some("3"));
    }

    #[test]
    fn heads_are_read_as_programs_write_them() {
        for (text, status, rest) in [
            ("Content-Type: text/plain\n\nbody", 200, "body"),
            ("content-type:text/plain\r\n\r\n\r\nb", 200, "\r\nb"),
            ("Status: 404 Not Found\n\n", 404, ""),
            ("STATUS: 201\nX: y\n\n1", 201, "1"),
            ("Location: https://example.org/\n\n", 302, ""),
            ("Status: 301 x\nLocation: /there\n\n", 301, ""),
            ("Connection: close\nTransfer-Encoding: chunked\n\n", 200, ""),
        ] {
            let head = parse_head(text.as_bytes()).unwrap().unwrap();
            assert_eq!((head.parts.status.as_u16(), &text[head.bytes..]), (status, rest), "{text:?}");
            assert!(!head.parts.headers.contains_key("connection"));
        }
        for unfinished in ["", "Content-Type", "Content-Type: a/b\n", "Content-Type: a/b\r\n\r"] {
            assert!(parse_head(unfinished.as_bytes()).unwrap().is_none(), "{unfinished:?}");
        }
        for wrong in [
            "HTTP/1.1 200 OK\n\n",
            "hello\n",
            ": x\n",
            "Status: ok\n",
            "Status: 99\n",
            "A b: c\n",
            "A: \x01\n",
        ] {
            assert!(parse_head(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        let endless = vec![b'a'; limits::RESPONSE_HEADER_BYTES_MAX + 1];
        assert!(parse_head(&endless).is_err());
    }

    proptest! {
        #[test]
        fn no_output_panics_and_a_head_is_found_however_it_is_cut(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_head(&bytes);
            let mut text = b"Status: 202 x\nA: b\n\n".to_vec();
            let length = text.len();
            text.extend(&bytes);
            for end in 0..length {
                prop_assert!(parse_head(&text[..end]).unwrap().is_none());
            }
            prop_assert_eq!(parse_head(&text).unwrap().unwrap().bytes, length);
        }

        #[test]
        fn a_head_is_the_same_with_either_end_of_line(
            fields in prop::collection::vec(("[A-Za-z-]{1,9}", "[!-~]{0,9}( [!-~]{1,9})?"), 0..9),
            body in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let written = |end: &str| {
                let lines = fields.iter().map(|(name, value)| format!("{name}: {value}{end}"));
                [lines.collect::<String>().as_bytes(), end.as_bytes(), &body].concat()
            };
            let (one, two) = (written("\n"), written("\r\n"));
            match (parse_head(&one), parse_head(&two)) {
                (Ok(Some(a)), Ok(Some(b))) => {
                    prop_assert_eq!(a.parts.status, b.parts.status);
                    prop_assert_eq!(&a.parts.headers, &b.parts.headers);
                    prop_assert_eq!((&one[a.bytes..], &two[b.bytes..]), (&body[..], &body[..]));
                    prop_assert!(!a.parts.headers.keys().any(is_hop_by_hop));
                    prop_assert!(!a.parts.headers.contains_key("status"));
                }
                (Err(a), Err(b)) => prop_assert_eq!(a.why, b.why),
                (a, b) => prop_assert!(false, "{a:?} {b:?}"),
            }
        }

        #[test]
        fn variables_are_text_by_names_of_their_own(
            path in "/[a-z%0-9/]{0,20}",
            fields in prop::collection::vec(("[a-zA-Z_-]{1,9}|proxy|content-length|connection|te", "[!-~\u{80}-\u{ff}]{0,9}"), 0..12),
            bytes in prop::option::of(0..9u64),
        ) {
            let request = fields.iter().fold(http::Request::post(path.as_str()), |request, (name, value)| {
                request.header(name.as_str(), value.as_bytes())
            });
            let Ok(request) = request.body(()) else { return Ok(()) };
            let got = variables(&request.into_parts().0, bytes);
            let mut names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            prop_assert_eq!(names.len(), count, "a name stands twice: {:?}", got);
            for (name, value) in &got {
                prop_assert!(!value.contains('\0') && !name.contains(['\0', '=']), "{name}={value}");
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'));
            }
            for name in ["HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONNECTION", "HTTP_TE"] {
                prop_assert_eq!(value(&got, name), None);
            }
            let length = bytes.filter(|bytes| *bytes > 0).map(|bytes| bytes.to_string());
            prop_assert_eq!(value(&got, "CONTENT_LENGTH"), length.as_deref());
        }
    }
}
