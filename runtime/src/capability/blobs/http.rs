//! `http://wfn.internal/blobs/CONTAINER[/NAME]`: blobs for guests of every language, and the same for operators.
//!
//! A name is the rest of the path, percent-decoded once; another app's container is `OWNER%2FCONTAINER`.

use std::io;
use std::pin::{Pin, pin};

use ::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use crate::capability::Capabilities;
use crate::capability::blobs::error::BlobError;
use crate::capability::blobs::name::BlobName;
use crate::capability::blobs::objects::BlobBody;
use crate::capability::blobs::range::{Wanted, wanted};
use crate::capability::blobs::table::Blob;
use crate::capability::blobs::{Container, Page};
use crate::capability::request::{Condition, Listing, declared_bytes, decoded, tag_of};
use crate::capability::response::refused;
use crate::limits;
use crate::meter::output::GuestOutput;
use crate::refusal::Refusal;

/// How often a blob is looked up, if each time it is replaced before it is read.
const LOOKUPS_MAX: usize = 10;
/// Content type of a blob whose writer gave none.
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// Answers a request; `path` is what follows `/blobs/`.
pub async fn answer(
    capabilities: &Capabilities,
    path: &str,
    request: Request<WasiBody>,
    output: &GuestOutput,
) -> Response<WasiBody> {
    let answered = async {
        let (container, name) = path.split_once('/').unwrap_or((path, ""));
        let text = |part: &str| decoded(part).map_err(BlobError::Request);
        let container = capabilities.container(&text(container)?)?;
        act(&container, &text(name)?, request).await
    };
    match answered.await {
        Ok(response) => response.map(|body| {
            body.map_err(|error| HttpError::InternalError(Some(error.to_string()))).boxed_unsync()
        }),
        Err(error) => {
            capabilities.report(&error, output);
            let mut response = match error {
                BlobError::Method(allowed) => refused(Refusal::not_allowed(allowed)),
                _ => refused((&error).into()),
            };
            if let BlobError::Range(bytes) = error {
                response.headers_mut().extend(content_range(&format!("*/{bytes}")));
            }
            response
        }
    }
}

/// Handles a request for the blob `name`, or for the container if `name` is empty.
pub async fn act(
    container: &Container,
    name: &str,
    request: Request<impl Body<Data = Bytes>>,
) -> Result<Response<BlobBody>, BlobError> {
    let (head, body) = request.into_parts();
    let (method, headers) = (head.method.as_str(), &head.headers);
    if name.is_empty() {
        return match method {
            "GET" => list(container, head.uri.query().unwrap_or_default()).await,
            _ => Err(BlobError::Method("GET")),
        };
    }
    let name = BlobName::new(name).map_err(BlobError::InvalidName)?;
    let condition = || Condition::of(headers).map_err(BlobError::Request);
    match method {
        "GET" => get(container, &name, headers).await,
        "HEAD" => get_head(container, &name, headers).await,
        "PUT" => {
            let (condition, content_type) = (condition()?, content_type(headers)?);
            if declared_bytes(headers).is_some_and(|bytes| bytes > limits::BLOB_BYTES_MAX) {
                return Err(BlobError::TooLarge);
            }
            let mut body = pin!(body);
            let stored = match container.put(&name, body.as_mut(), content_type, condition).await {
                Ok(stored) => stored,
                Err(error) => {
                    read_on(body).await;
                    return Err(error);
                }
            };
            let mut response = empty(StatusCode::NO_CONTENT);
            response.headers_mut().insert(ETAG, tag_of(stored.version));
            Ok(response)
        }
        "DELETE" => {
            container.delete(&name, condition()?).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(BlobError::Method("GET, HEAD, PUT, DELETE")),
    }
}

/// Reads the rest of a body that was refused: many clients send all of it before they read the answer.
async fn read_on(mut body: Pin<&mut impl Body<Data = Bytes>>) {
    let mut left = limits::BLOB_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        if left == 0 {
            return;
        }
    }
}

async fn list(container: &Container, query: &str) -> Result<Response<BlobBody>, BlobError> {
    let listing = Listing::of(query, limits::BLOB_PAGE_MAX).map_err(BlobError::Request)?;
    let Page { blobs, next } = container.list(listing).await?;
    let shown = |blob: &Blob| {
        serde_json::json!({
            "name": blob.name,
            "bytes": blob.bytes,
            "content_type": blob.content_type,
            "modified": blob.modified,
            "etag": format!("\"{}\"", blob.version),
        })
    };
    let page = serde_json::json!({ "blobs": blobs.iter().map(shown).collect::<Vec<_>>(), "next": next });
    let body = Full::new(Bytes::from(page.to_string() + "\n")).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn get(
    container: &Container,
    name: &BlobName,
    headers: &HeaderMap,
) -> Result<Response<BlobBody>, BlobError> {
    for _ in 0..LOOKUPS_MAX {
        let blob = container.get(name).await?.ok_or(BlobError::NoBlob)?;
        let wanted = wanted(headers, blob.version, blob.bytes)?;
        let range = match &wanted {
            Wanted::NotModified => return Ok(described(empty(StatusCode::NOT_MODIFIED), &blob)),
            Wanted::Whole => 0..blob.bytes,
            Wanted::Part(range) => range.clone(),
        };
        let length = range.end - range.start;
        let Some(body) = container.read(&blob, range.clone()).await? else { continue };
        let mut response = described(Response::new(body), &blob);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        if wanted != Wanted::Whole {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("{}-{}/{}", range.start, range.end - 1, blob.bytes);
            response.headers_mut().extend(content_range(&range));
        }
        return Ok(response);
    }
    Err(BlobError::Store("its bytes are missing".to_owned()))
}

async fn get_head(
    container: &Container,
    name: &BlobName,
    headers: &HeaderMap,
) -> Result<Response<BlobBody>, BlobError> {
    let blob = container.get(name).await?.ok_or(BlobError::NoBlob)?;
    let mut headers = headers.clone();
    // A range has no meaning for an answer without a body.
    headers.remove(RANGE);
    if wanted(&headers, blob.version, blob.bytes)? == Wanted::NotModified {
        return Ok(described(empty(StatusCode::NOT_MODIFIED), &blob));
    }
    let mut response = described(empty(StatusCode::OK), &blob);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(blob.bytes));
    Ok(response)
}

/// The content type that the writer gives, or the default.
fn content_type(headers: &HeaderMap) -> Result<String, BlobError> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(CONTENT_TYPE_DEFAULT.to_owned()) };
    let max = limits::BLOB_CONTENT_TYPE_BYTES_MAX;
    match given.to_str() {
        Ok(text) if (1..=max).contains(&text.len()) => Ok(text.to_owned()),
        _ => Err(BlobError::Request(format!("Content-Type: use 1 to {max} characters of ASCII"))),
    }
}

fn described(mut response: Response<BlobBody>, blob: &Blob) -> Response<BlobBody> {
    let headers = response.headers_mut();
    headers.insert(ETAG, tag_of(blob.version));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // This succeeds: it was a header value when it was stored.
    if let Ok(content_type) = HeaderValue::try_from(&blob.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    response
}

/// The `Content-Range` header; `range` is what follows the unit.
pub fn content_range(range: &str) -> Option<(::http::HeaderName, HeaderValue)> {
    HeaderValue::try_from(format!("bytes {range}")).ok().map(|value| (CONTENT_RANGE, value))
}

fn empty(status: StatusCode) -> Response<BlobBody> {
    let mut response =
        Response::new(Empty::new().map_err(|never| -> io::Error { match never {} }).boxed_unsync());
    *response.status_mut() = status;
    response
}
