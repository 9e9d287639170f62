//! JSON in requests and responses.

use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(any(feature = "sync", feature = "async"))]
use crate::Request;
use crate::response::of_type;
use crate::{Error, IntoResponse, Response};

/// A value that is JSON outside: read from a request's body, or returned as a response.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use wfn_sdk::{Error, Json, Request};
///
/// #[derive(Deserialize)]
/// struct Order {
///     pieces: u32,
/// }
///
/// #[derive(Serialize)]
/// struct Bill {
///     cents: u32,
/// }
///
/// fn bill(mut request: Request) -> Result<Json<Bill>, Error> {
///     let Json(order) = Json::<Order>::read(&mut request, 64 * 1024)?;
///     Ok(Json(Bill { cents: order.pieces * 250 }))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Json<T> {
    /// Reads the body of the request as JSON, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 415 if `content-type` is not JSON, 413 if the body is longer, 400 if it is not a `T`; the message says where.
    #[cfg(feature = "sync")]
    pub fn read(request: &mut Request, bytes_max: usize) -> Result<Self, Error> {
        require_json(request.headers())?;
        Self::parse(&request.body_mut().read_bytes(bytes_max)?)
    }

    /// Reads the body of the request as JSON, at most `bytes_max` bytes, while other invocations run.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[cfg(feature = "async")]
    pub async fn collect(request: &mut Request, bytes_max: usize) -> Result<Self, Error> {
        require_json(request.headers())?;
        Self::parse(&request.body_mut().collect_bytes(bytes_max).await?)
    }

    /// Parses `bytes` as JSON.
    ///
    /// # Errors
    /// 400 if they are not a `T`; the message says where.
    ///
    /// ```
    /// let wfn_sdk::Json(pair) = wfn_sdk::Json::<(u8, String)>::parse(br#"[7, "seven"]"#)?;
    /// assert_eq!(pair, (7, "seven".to_owned()));
    /// # Ok::<(), wfn_sdk::Error>(())
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let parsed = serde_json::from_slice(bytes);
        parsed.map(Self).map_err(|error| {
            Error::new(StatusCode::BAD_REQUEST, format!("the body is not the JSON expected: {error}"))
        })
    }
}

/// JSON in one line.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut json) => {
                json.push(b'\n');
                of_type("application/json", json)
            }
            Err(error) => Error::from(error).into_response(),
        }
    }
}

/// Refuses a body whose `content-type` is not JSON.
#[cfg(any(feature = "sync", feature = "async"))]
fn require_json(headers: &http::HeaderMap) -> Result<(), Error> {
    let content_type =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        return Ok(());
    }
    let message = "the body must be JSON, with content-type: application/json";
    Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

#[cfg(test)]
mod tests {
    use super::Json;
    use crate::{Body, IntoResponse, Request};

    fn request(content_type: &str, body: &'static str) -> Request {
        Request::builder()
            .header("content-type", content_type)
            .body(Body::from(body))
            .expect("a valid request")
    }

    #[test]
    fn json_is_read_within_its_bounds() {
        let read = |content_type, body| Json::<Vec<u8>>::read(&mut request(content_type, body), 10);
        for content_type in
            ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
        {
            assert_eq!(read(content_type, "[1, 2]").expect("valid").0, [1, 2], "{content_type}");
        }
        for (content_type, body, status) in [
            ("text/plain", "[1]", 415),
            ("application/json", "[1", 400),
            ("application/json", "[300]", 400),
            ("application/json", "[1,2,3,4,5,6]", 413),
        ] {
            assert_eq!(read(content_type, body).expect_err("invalid").status(), status, "{body}");
        }
    }

    #[test]
    fn json_is_answered_in_one_line() {
        let mut response = Json(("a\"b", 1)).into_response();
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.body_mut().read_bytes(100).expect("whole"), "[\"a\\\"b\",1]\n");
    }
}
