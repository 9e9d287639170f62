//! What a handler may return, and how it becomes a response.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::{Body, Error};

/// A response as a handler returns it: the `http` crate's, with a [`Body`].
///
/// ```
/// use wfn_sdk::{Error, Request, Response, StatusCode};
///
/// fn moved(_: Request) -> Result<Response, Error> {
///     let response = Response::builder().status(StatusCode::SEE_OTHER).header("location", "/new");
///     Ok(response.body("moved\n".into())?)
/// }
/// ```
pub type Response<B = Body> = http::Response<B>;

/// What a handler may return.
///
/// Text is answered as `text/plain`, bytes as `application/octet-stream`, [`Json`](crate::Json) as JSON. A pair with a status
/// sets the status. To set headers, use the `http` crate's builder: its response may have anything that becomes a [`Body`].
///
/// ```
/// use wfn_sdk::{IntoResponse, StatusCode};
///
/// let response = (StatusCode::CREATED, "made\n").into_response();
/// assert_eq!(response.status(), 201);
/// assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
/// ```
pub trait IntoResponse {
    /// Returns the response.
    fn into_response(self) -> Response;
}

impl<B: Into<Body>> IntoResponse for http::Response<B> {
    fn into_response(self) -> Response {
        self.map(Into::into)
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(Body::empty())
    }
}

/// The status alone, without a body.
impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

impl<T: IntoResponse, E: Into<Error>> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into().into_response(),
        }
    }
}

/// Bodies that determine their media type.
macro_rules! typed {
    ($content_type:literal: $($type:ty),*) => {$(
        impl IntoResponse for $type {
            fn into_response(self) -> Response {
                of_type($content_type, self)
            }
        }
    )*};
}

typed!("text/plain; charset=utf-8": String, &'static str);
typed!("application/octet-stream": Bytes, Vec<u8>, &'static [u8], Body);

/// Makes a response with this `content-type`.
pub(crate) fn of_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sets `content-length` where the length is known, the handler has not set one, and the status allows it.
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) fn set_content_length(response: &mut Response) {
    let status = response.status();
    let without_body = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || response.headers().contains_key(http::header::CONTENT_LENGTH);
    if let Some(length) = response.body().exact_length()
        && !without_body
    {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
}

#[cfg(test)]
mod tests {
    use super::{Response, set_content_length};
    use crate::{Body, Error, IntoResponse, StatusCode};

    #[test]
    fn whole_bodies_get_a_content_length_where_one_may_be() {
        let chosen = Response::builder().header("content-length", "10").body(Body::from("abc"));
        for (response, expected) in [
            ("abc".into_response(), Some("3")),
            (().into_response(), Some("0")),
            (StatusCode::NO_CONTENT.into_response(), None),
            (StatusCode::NOT_MODIFIED.into_response(), None),
            (chosen.expect("valid").into_response(), Some("10")),
            (Response::new(Body::from_reader(std::io::empty())), None),
        ] {
            let mut response = response;
            set_content_length(&mut response);
            let length = response.headers().get("content-length").map(|value| value.to_str().expect("ascii"));
            assert_eq!(length, expected, "{response:?}");
        }
    }

    #[test]
    fn errors_answer_their_own_status_and_others_500() {
        let own: Result<(), Error> = Err(Error::new(StatusCode::CONFLICT, "taken"));
        assert_eq!(own.into_response().status(), 409);
        let other: Result<(), std::fmt::Error> = Err(std::fmt::Error);
        assert_eq!(other.into_response().status(), 500);
    }
}
