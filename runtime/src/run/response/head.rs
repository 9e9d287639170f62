//! Checks the head of a guest's answer, which a hostile guest may have written.

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::instance::call::Head;
use crate::instance::kept_body::AnswerBody;
use crate::invocation::{Fault, OUTCOME};
use crate::limits;

/// Returns the guest's response, if its answer is one.
pub fn answered(head: Head) -> Result<http::Response<AnswerBody>, Fault> {
    match head {
        Ok(response) => Ok(response.map(AnswerBody::Own)),
        Err(ErrorCode::InternalError(Some(text))) => Err(Fault::answered_with_error(&text)),
        Err(code) => Err(Fault::answered_with_error(&format!("{code:?}"))),
    }
}

/// Checks the head for what a hostile guest could write into it.
pub fn checked(mut response: http::Response<AnswerBody>) -> Result<http::Response<AnswerBody>, Fault> {
    // Only the host may set this field.
    response.headers_mut().remove(OUTCOME);
    settle_length(response.headers_mut())?;
    let headers = response.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let most = (limits::HEADERS_MAX, limits::RESPONSE_HEADER_BYTES_MAX);
    if headers.len() > most.0 || bytes > most.1 {
        let detail = format!(
            "{} header fields of {bytes} bytes, at most {} of {} are allowed",
            headers.len(),
            most.0,
            most.1
        );
        return Err(Fault::invalid_response("it has more or longer header fields than are allowed", detail));
    }
    if response.status().is_informational() {
        return Err(invalid("an informational status cannot end a request"));
    }
    Ok(response)
}

/// Leaves at most one `content-length`, which must be a number (RFC 9110, 8.6).
fn settle_length(headers: &mut HeaderMap) -> Result<(), Fault> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let text = length.to_str().unwrap_or_default();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    let Some(other) = lengths.next() else {
        return if is_number { Ok(()) } else { Err(invalid("its content-length is no number")) };
    };
    if !is_number || other != length || lengths.any(|other| other != length) {
        return Err(invalid("its content-length fields are not one number"));
    }
    let length = length.clone();
    headers.insert(CONTENT_LENGTH, length);
    Ok(())
}

/// Returns the fault of an answer that breaks HTTP because of `why`.
pub fn invalid(why: &'static str) -> Fault {
    Fault::invalid_response(why, why.to_owned())
}

/// Returns the fault of a body that does not match its head.
pub fn broken_body() -> Fault {
    invalid("the body ended early or does not match its content-length")
}
