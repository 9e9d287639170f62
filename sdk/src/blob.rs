//! Blobs of the host: named bytes of any length, durable, streamed in and out.

use std::ops::Range;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;

use crate::call::{Call, CallError, REFUSAL_BYTES_MAX};
use crate::service::{absent, encoded, header, json, request};
use crate::{Body, Response};

/// Most bytes of a page: a thousand names of 1 KiB in the longest form of JSON, and the properties of each blob.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A container of blobs that the manifest grants: `blob_containers = ["images"]`.
///
/// Each method makes a [`Call`]. When a put is answered, the blob is on disk.
///
/// ```
/// use wfn_sdk::{Body, Error, blob::Container};
///
/// /// Turns a picture by a quarter.
/// fn turn(name: &str, turned: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<(), Error> {
///     let images = Container::new("images");
///     let Some(mut image) = images.get(name).send()? else { return Ok(()) };
///     let bytes = image.body.read_bytes(16 * 1024 * 1024)?;
///     images.put(name, &image.content_type, turned(bytes.into())).send()?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Container {
    path: String,
}

/// A blob, or a part of it.
#[derive(Debug)]
pub struct Blob {
    /// The bytes, as a stream.
    pub body: Body,
    /// Their media type.
    pub content_type: String,
    /// The version of the blob. Each change gives it another one.
    pub etag: String,
}

/// The properties of a blob in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their media type.
    pub content_type: String,
    /// When it was put, in the form of RFC 3339.
    pub modified: String,
    /// The version of the blob.
    pub etag: String,
}

/// Some blobs, in the order of the bytes of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The blobs.
    pub blobs: Vec<Entry>,
    /// Pass it as `after` to get the next page; `None` if this is the last one.
    pub next: Option<String>,
}

/// A version of a blob that was written: the data of an event for a function with `[[trigger.blob]]`.
///
/// When the event is handled there may be a newer version of the blob, or none:
///
/// ```
/// use wfn_sdk::{Error, Json, Request, StatusCode, blob::{Container, Written}};
///
/// fn look(mut request: Request) -> Result<StatusCode, Error> {
///     let Json(written) = Json::<Written>::read(&mut request, 16 * 1024)?;
///     let Some(blob) = Container::new(&written.container).get(&written.name).send()? else {
///         return Ok(StatusCode::NO_CONTENT);
///     };
///     println!("{} is {}, it was {}", written.name, blob.etag, written.etag);
///     Ok(StatusCode::NO_CONTENT)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Written {
    /// Its container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// The version of the blob.
    pub etag: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their media type.
    pub content_type: String,
}

impl Container {
    /// The app's own container of this name, or another app's, `owner/name`, which its manifest shares.
    pub fn new(name: &str) -> Self {
        Self { path: format!("blobs/{}", encoded(name)) }
    }

    /// Returns the blob of this name.
    pub fn get(&self, name: &str) -> Call<Option<Blob>> {
        self.read(name, None)
    }

    /// Returns these bytes of the blob, or as many of them as it has. Fails if it has none of them.
    pub fn get_range(&self, name: &str, range: Range<u64>) -> Call<Option<Blob>> {
        match range.end.checked_sub(1).filter(|last| *last >= range.start) {
            Some(last) => self.read(name, Some(&format!("bytes={}-{last}", range.start))),
            None => Call::invalid("the range is empty".to_owned()),
        }
    }

    /// Puts a blob of this media type, whole or not at all: if the body breaks off, the old version stays. Returns its `ETag`.
    pub fn put(&self, name: &str, content_type: &str, body: impl Into<Body>) -> Call<String> {
        let put = self.change(name, content_type, None, body.into());
        // There is no condition that could fail.
        put.map(|etag| etag.ok_or_else(|| CallError::Failed("the condition of none failed".to_owned())))
    }

    /// Puts a blob if there is none of this name. Returns its `ETag`; `None` if there was one.
    pub fn create(&self, name: &str, content_type: &str, body: impl Into<Body>) -> Call<Option<String>> {
        self.change(name, content_type, Some(("if-none-match", "*")), body.into())
    }

    /// Puts a blob if the present one has the version `etag`. Returns the new `ETag`; `None` if it had another version.
    pub fn replace(
        &self,
        name: &str,
        content_type: &str,
        body: impl Into<Body>,
        etag: &str,
    ) -> Call<Option<String>> {
        self.change(name, content_type, Some(("if-match", etag)), body.into())
    }

    /// Removes the blob, if it exists.
    pub fn delete(&self, name: &str) -> Call<()> {
        let request = request(Method::DELETE, &self.blob(name), None, Body::empty());
        Call::service(request, &[], Some(REFUSAL_BYTES_MAX), |_| Ok(()))
    }

    /// Returns up to a thousand blobs whose names begin with `prefix` and come after `after`.
    pub fn list(&self, prefix: &str, after: &str) -> Call<Page> {
        let path = format!("{}?prefix={}&after={}", self.path, encoded(prefix), encoded(after));
        Call::service(request(Method::GET, &path, None, Body::empty()), &[], Some(PAGE_BYTES_MAX), json)
    }

    fn blob(&self, name: &str) -> String {
        format!("{}/{}", self.path, encoded(name))
    }

    fn read(&self, name: &str, range: Option<&str>) -> Call<Option<Blob>> {
        let request =
            request(Method::GET, &self.blob(name), range.map(|range| ("range", range)), Body::empty());
        Call::service(request, &[StatusCode::NOT_FOUND], None, |response: Response| {
            if response.status() == StatusCode::NOT_FOUND {
                return absent(response, "no-such-blob");
            }
            let (content_type, etag) = (header(&response, "content-type"), header(&response, "etag"));
            Ok(Some(Blob { body: response.into_body(), content_type, etag }))
        })
    }

    /// Puts a blob under a condition. Returns its `ETag` if the condition held.
    fn change(
        &self,
        name: &str,
        content_type: &str,
        condition: Option<(&str, &str)>,
        body: Body,
    ) -> Call<Option<String>> {
        let typed = request(Method::PUT, &self.blob(name), condition, body).and_then(|mut request| {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::try_from(content_type)?);
            Ok(request)
        });
        Call::service(typed, &[StatusCode::PRECONDITION_FAILED], Some(REFUSAL_BYTES_MAX), |response| {
            let held = response.status() != StatusCode::PRECONDITION_FAILED;
            Ok(held.then(|| header(&response, "etag")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Written;
    use crate::Json;

    #[test]
    fn what_was_written_is_read() {
        let event = r#"{"container":"photos","name":"in/größe 1.png","etag":"\"7\"","bytes":3,"content_type":"image/png"}"#;
        let Json(written) = Json::<Written>::parse(event.as_bytes()).expect("an event's data");
        assert_eq!((written.container.as_str(), written.name.as_str()), ("photos", "in/größe 1.png"));
        assert_eq!((written.etag.as_str(), written.bytes), ("\"7\"", 3));
        assert_eq!(written.content_type, "image/png");
    }
}
