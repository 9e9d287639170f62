//! Makes the host's own answers. Every one has a stable code, a message and the invocation's id.

use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::invocation::{BodyError, INVOCATION, InvocationId, OUTCOME, Outcome};
use crate::limits;

/// An answer of the host instead of a guest's.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The stable code, in `wfn-outcome` and the body.
    pub code: &'static str,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// How long to wait before trying again, if that is worth it.
    pub retry_after: Option<Duration>,
    /// The methods that are allowed, if the method was not (RFC 9110, 15.5.6).
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// Makes a refusal for which trying again is useless.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None, allow: None }
    }

    /// Makes the refusal of a method; `allowed` are the methods that the path takes, with commas between them.
    pub fn not_allowed(allowed: &'static str) -> Self {
        let refusal = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            format!("this path takes {allowed}"),
        );
        Self { allow: Some(allowed), ..refusal }
    }

    /// Returns its body, as JSON.
    pub fn body(&self) -> String {
        let body = serde_json::json!({ "error": { "code": self.code, "message": self.message } });
        body.to_string() + "\n"
    }

    /// Returns it as a response.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(OUTCOME, HeaderValue::from_static(self.code));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        headers.extend(self.allow.map(|allowed| (ALLOW, HeaderValue::from_static(allowed))));
        response
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl From<&Outcome> for Refusal {
    fn from(outcome: &Outcome) -> Self {
        let retry_after = matches!(outcome, Outcome::Throttled(_))
            .then_some(Duration::from_secs(limits::RETRY_AFTER_SECONDS));
        Self { retry_after, ..Self::new(outcome.status(), outcome.code(), outcome.message()) }
    }
}

/// Marks `response` with the id of its invocation.
pub fn mark<B>(response: &mut Response<B>, invocation: InvocationId) {
    // Sixteen hexadecimal digits are always a valid header value.
    if let Ok(id) = HeaderValue::from_bytes(&invocation.digits()) {
        response.headers_mut().insert(INVOCATION, id);
    }
}
