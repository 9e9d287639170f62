//! Names the addresses of the host's own services.

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::call::{CallError, at_hand, refusal};
use crate::{Body, Request, Response};

/// What is not part of a name as it is: everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as one part of a path or of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A request to `path` of the host's services, under the condition that a header and its value state.
pub(crate) fn request(
    method: Method,
    path: &str,
    condition: Option<(&str, &str)>,
    body: Body,
) -> http::Result<Request> {
    let mut request = Request::builder().method(method).uri(format!("http://wfn.internal/{path}"));
    if let Some((name, value)) = condition {
        request = request.header(name, value);
    }
    request.body(body)
}

/// The header of this name, or no text.
pub(crate) fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// The answer's JSON.
pub(crate) fn json<T: DeserializeOwned>(response: Response) -> Result<T, CallError> {
    let parsed = serde_json::from_slice(&at_hand(response));
    parsed.map_err(|error| CallError::Failed(format!("the answer is not the JSON expected: {error}")))
}

/// None, if that is what the service says by `code`; another thing that is not there is an error.
pub(crate) fn absent<T>(response: Response, code: &str) -> Result<Option<T>, CallError> {
    if header(&response, "wfn-outcome") == code { Ok(None) } else { Err(refusal(response)) }
}

/// The message of a refusal, out of `{"error": {"code": …, "message": …}}`.
pub(crate) fn message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        message: String,
    }
    serde_json::from_slice(body).ok().map(|Refusal { error: Told { message } }| message)
}
