//! Faults that the SDK does not let a guest commit: no response, two of them, more headers than the host takes.

use wfn_sdk::http::Uri;
use wfn_sdk::wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wfn_sdk::{Request, RequestExt as _};

/// How a path misbehaves, given the request's path with query.
type Run = fn(&str, ResponseOutparam);

/// As `FAULTS` of the crate's root.
pub(crate) const FAULTS: &[(&str, &str, Run)] = &[
    ("/no-response", "returns without a response", |_, out| drop(out)),
    ("/answer-twice", "answers, then answers again", answer_twice),
    ("/many-headers", "answers with ?n=N (default 10000) headers", many_headers),
    ("/answer", "answers ?status=N (200), ?bytes=N (0) of body, ?length=N as content-length", as_told),
];

/// Sets the response's slot twice. The types forbid it, so the second time its number is made up again.
fn answer_twice(_: &str, out: ResponseOutparam) {
    let number = out.handle();
    answer(out, Fields::new(), "the first answer\n");
    #[expect(unsafe_code, reason = "the host is to find out that this handle was given away before")]
    // SAFETY: none is needed in this guest: it is the host that must refuse the handle.
    let again = unsafe { ResponseOutparam::from_handle(number) };
    answer(again, Fields::new(), "the second answer\n");
}

/// Adds headers until all are in or the host refuses one, then answers with what it got, saying how far that was.
fn many_headers(target: &str, out: ResponseOutparam) {
    let mut request = Request::new(());
    *request.uri_mut() = target.parse().unwrap_or_else(|_| Uri::from_static("/"));
    let n = request.query("n").ok().flatten().unwrap_or(10_000u64);
    let headers = Fields::new();
    for added in 0..n {
        if let Err(error) = headers.append(&format!("x-header-{added}"), b"0123456789") {
            let said = format!("added {added} of {n} headers; the host refused the next: {error}\n");
            return answer(out, Fields::new(), &said);
        }
    }
    answer(out, headers, &format!("added {n} of {n} headers; all were taken\n"));
}

/// Answers as the query says, whether or not that is right, and says on stderr what the host made of the body.
fn as_told(target: &str, out: ResponseOutparam) {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(known, value)| (known == name).then_some(value))
    };
    let number = |name: &str| value(name).and_then(|value| value.parse::<usize>().ok());
    let headers = Fields::new();
    if let Some(length) = value("length") {
        headers.append("content-length", length.as_bytes()).expect("a content-length can be set");
    }
    let response = OutgoingResponse::new(headers);
    let status = number("status").and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    response.set_status_code(status).expect("the status is one");
    let Ok(body) = response.body() else {
        return ResponseOutparam::set(out, Ok(response));
    };
    ResponseOutparam::set(out, Ok(response));
    let written = number("bytes").filter(|bytes| *bytes > 0).map(|bytes| {
        let stream = body.write().expect("a new body has a stream");
        stream.blocking_write_and_flush(&vec![b'x'; bytes])
    });
    let finished = OutgoingBody::finish(body, None);
    eprintln!("written: {written:?}, finished: {finished:?}");
}

/// Answers 200 with these headers and bytes. A host that refuses something finds a guest that panics.
fn answer(out: ResponseOutparam, headers: Fields, text: &str) {
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("a new response has a body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a new body has a stream");
    // Refused only when the caller or the host does not want the response; that is no fault of the guest.
    let _ = stream.blocking_write_and_flush(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}
