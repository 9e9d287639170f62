//! `http://wfn.internal/kv/STORE[/KEY]`: key-value stores for guests of every language.
//!
//! A key is the rest of the path, percent-decoded; another app's store is `OWNER%2FSTORE`. The `ETag` of an entry is
//! its version.

use ::http::header::{CONTENT_TYPE, ETAG};
use ::http::{HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use wasmtime_wasi_http::WasiBody;

use crate::capability::Capabilities;
use crate::capability::key_value::error::KeyValueError;
use crate::capability::key_value::{BufferRoom, KeyValue, Page, Store};
use crate::capability::request::{Condition, Listing, Version, decoded, room_for_body, tag_of, value_of};
use crate::capability::response::{refused, text};
use crate::limits;
use crate::meter::output::GuestOutput;
use crate::refusal::Refusal;

/// What a path and its query ask of a store.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A page of its keys.
    List(Listing),
    /// One key.
    Key(String),
    /// The number under a key.
    Increment { key: String, by: i64 },
}

/// Answers a request; `path` is what follows `/kv/`.
pub async fn answer(
    capabilities: &Capabilities,
    path: &str,
    request: Request<WasiBody>,
    output: &GuestOutput,
) -> Response<WasiBody> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (store, target) = match parse(path, &query, request.method()) {
        Ok(parsed) => parsed,
        Err(why) => return refused(Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why)),
    };
    let key_value = capabilities.key_value();
    let answer = async { act(key_value, &capabilities.store(&store)?, target, request).await };
    answer.await.unwrap_or_else(|error| {
        if let Failure::Store(error) = &error {
            capabilities.report(error, output);
        }
        refused(error.into())
    })
}

/// The name of the store and what is asked of it.
fn parse(path: &str, query: &str, method: &Method) -> Result<(String, Target), String> {
    let (store, key) = path.split_once('/').unwrap_or((path, ""));
    let store = decoded(store)?;
    if key.is_empty() {
        return Ok((store, Target::List(Listing::of(query, limits::KEY_VALUE_PAGE_MAX)?)));
    }
    if method != Method::POST {
        return Ok((store, Target::Key(decoded(key)?)));
    }
    let key = key.strip_suffix("/increment").ok_or("POST takes …/KEY/increment?by=N; PUT sets a value")?;
    let by = value_of(query, "by").map_or(Ok(1), |by| by.parse().map_err(|_| "by: use a whole number"))?;
    Ok((store, Target::Increment { key: decoded(key)?, by }))
}

/// Why a request failed.
enum Failure {
    /// The request cannot be understood.
    Request(String),
    /// The store refused.
    Store(KeyValueError),
    /// There is no such key.
    NoKey,
    /// Its body ended early.
    Body,
    /// The method is not allowed; holds the methods that are.
    Method(&'static str),
}

impl From<KeyValueError> for Failure {
    fn from(error: KeyValueError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(why) => Self::new(StatusCode::BAD_REQUEST, "bad-request", why),
            Failure::Store(error) => (&error).into(),
            Failure::NoKey => Self::new(StatusCode::NOT_FOUND, "no-such-key", "there is no such key"),
            Failure::Body => Self::new(StatusCode::BAD_REQUEST, "body-broken", "the body ended early"),
            Failure::Method(allowed) => Self::not_allowed(allowed),
        }
    }
}

async fn act(
    key_value: &KeyValue,
    store: &Store,
    target: Target,
    request: Request<WasiBody>,
) -> Result<Response<WasiBody>, Failure> {
    match (request.method().as_str(), target) {
        ("GET", Target::List(Listing { prefix, after, limit })) => {
            let room = key_value.room(limits::KEY_VALUE_VALUE_BYTES_MAX).await?;
            let Page { keys, next } = store.list(&prefix, &after, limit).await?;
            let page = serde_json::json!({ "keys": keys, "next": next }).to_string() + "\n";
            Ok(held(page.into_bytes(), "application/json", room))
        }
        ("HEAD", Target::Key(key)) => {
            let version = store.version(&key).await?.ok_or(Failure::NoKey)?;
            Ok(tagged(text(StatusCode::OK, String::new()), version))
        }
        ("GET", Target::Key(key)) => {
            let room = key_value.room(limits::KEY_VALUE_VALUE_BYTES_MAX).await?;
            let entry = store.get(&key).await?.ok_or(Failure::NoKey)?;
            Ok(tagged(held(entry.value, "application/octet-stream", room), entry.version))
        }
        ("PUT", Target::Key(key)) => {
            let condition = Condition::of(request.headers()).map_err(Failure::Request)?;
            // Reserved before the body is read, so that the memory for all bodies is bounded.
            let most = room_for_body(request.headers(), limits::KEY_VALUE_VALUE_BYTES_MAX);
            let _room = key_value.room(most).await?;
            let body = Limited::new(request.into_body(), most).collect().await;
            let value = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
                true => Failure::Store(KeyValueError::ValueTooLarge),
                false => Failure::Body,
            })?;
            let version = store.put(&key, value.to_bytes(), condition).await?;
            Ok(tagged(text(StatusCode::NO_CONTENT, String::new()), version))
        }
        ("DELETE", Target::Key(key)) => {
            let condition = Condition::of(request.headers()).map_err(Failure::Request)?;
            store.delete(&key, condition).await?;
            Ok(text(StatusCode::NO_CONTENT, String::new()))
        }
        ("POST", Target::Increment { key, by }) => {
            Ok(text(StatusCode::OK, store.increment(&key, by).await?.to_string()))
        }
        (_, Target::List(_)) => Err(Failure::Method("GET")),
        _ => Err(Failure::Method("GET, HEAD, PUT, DELETE")),
    }
}

/// A body that keeps its reserved memory until the guest has taken it. A guest that sends many requests and reads no
/// answer uses up the memory that its own revision may have, and then waits.
fn held(bytes: Vec<u8>, content_type: &'static str, room: BufferRoom) -> Response<WasiBody> {
    struct Held(Vec<u8>, #[expect(dead_code, reason = "given back with the bytes")] BufferRoom);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let room = room.shrunk_to(bytes.len());
    let body = Full::new(Bytes::from_owner(Held(bytes, room)));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn tagged(mut response: Response<WasiBody>, version: Version) -> Response<WasiBody> {
    response.headers_mut().insert(ETAG, tag_of(version));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_store_and_a_key_or_a_list() {
        let list = |prefix: &str, after: &str, limit| {
            Target::List(Listing { prefix: prefix.to_owned(), after: after.to_owned(), limit })
        };
        let cases = [
            ("GET", "s", "", "s", list("", "", 1_000)),
            ("GET", "s/", "prefix=a%2Fb+c&after=%C3%A4&limit=2", "s", list("a/b c", "ä", 2)),
            ("PUT", "s/a/b%20c", "", "s", Target::Key("a/b c".to_owned())),
            ("GET", "owner%2Fs/%00", "", "owner/s", Target::Key("\0".to_owned())),
            ("GET", "s/increment", "", "s", Target::Key("increment".to_owned())),
            ("POST", "s/a/increment", "", "s", Target::Increment { key: "a".to_owned(), by: 1 }),
            ("POST", "s/a/increment", "by=-7", "s", Target::Increment { key: "a".to_owned(), by: -7 }),
        ];
        for (method, path, query, store, target) in cases {
            let parsed = parse(path, query, &method.parse().unwrap());
            assert_eq!(parsed, Ok((store.to_owned(), target)), "{method} {path}?{query}");
        }
        let wrong = [
            ("GET", "s/%ff", "", "UTF-8"),
            ("GET", "s", "limit=0", "1 to 1000"),
            ("GET", "s", "limit=1001", "1 to 1000"),
            ("POST", "s/a", "", "increment"),
            ("POST", "s/increment", "", "increment"),
            ("POST", "s/a/increment", "by=1.5", "whole number"),
        ];
        for (method, path, query, why) in wrong {
            let refusal = parse(path, query, &method.parse().unwrap()).unwrap_err();
            assert!(refusal.contains(why), "{method} {path}?{query}: {refusal}");
        }
    }
}
