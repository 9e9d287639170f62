//! Responses of the host's own services to guests.

use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::WasiBody;

use crate::refusal::Refusal;

/// A response from `refusal`, in the form of all errors of the host.
pub fn refused(refusal: Refusal) -> Response<WasiBody> {
    refusal.into_response().map(|text: Full<_>| text.map_err(|never| match never {}).boxed_unsync())
}

/// A JSON response.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<WasiBody> {
    let mut response = text(status, value.to_string() + "\n");
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A text response.
pub fn text(status: StatusCode, text: String) -> Response<WasiBody> {
    bytes(status, text.into_bytes())
}

/// A response of bytes.
pub fn bytes(status: StatusCode, bytes: Vec<u8>) -> Response<WasiBody> {
    let mut response = Response::new(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
