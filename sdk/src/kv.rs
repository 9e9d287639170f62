//! Key-value stores of the host: durable, shared by all instances.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Body;
use crate::call::{Call, CallError, REFUSAL_BYTES_MAX, at_hand};
use crate::service::{absent, encoded, header, json, request};

/// Most bytes of a value that the host allows.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of a page: a thousand keys of 512 bytes fit, with each byte in the longest form of JSON.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A key-value store that the manifest grants: `key_value_stores = ["notes"]`.
///
/// Each method makes a [`Call`]. When a change is answered, it is on disk.
///
/// ```
/// use wfn_sdk::{Error, kv::Store};
///
/// fn visit(page: &str) -> Result<i64, Error> {
///     Ok(Store::new("visits").increment(page, 1).send()?)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    path: String,
}

/// The value of a key, with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Bytes,
    /// The version of the entry.
    pub version: Version,
}

/// The version of an entry. Each change gives it another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Returns it as an `ETag`, with quotation marks, so that a caller of the function can keep it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Some keys, in the order of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The keys.
    pub keys: Vec<String>,
    /// Pass it as `after` to get the next page; `None` if this is the last one.
    pub next: Option<String>,
}

impl Store {
    /// The app's own store of this name, or another app's, `owner/name`, which its manifest shares.
    pub fn new(name: &str) -> Self {
        Self { path: format!("kv/{}", encoded(name)) }
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &str) -> Call<Option<Bytes>> {
        self.entry(key).map(|entry| Ok(entry.map(|entry| entry.value)))
    }

    /// Returns the value of `key`, and its version for [`Self::replace`].
    pub fn entry(&self, key: &str) -> Call<Option<Entry>> {
        let request = request(Method::GET, &self.key(key), None, Body::empty());
        Call::service(request, &[StatusCode::NOT_FOUND], Some(VALUE_BYTES_MAX), |response| {
            if response.status() != StatusCode::NOT_FOUND {
                let version = Version(header(&response, "etag"));
                return Ok(Some(Entry { value: at_hand(response), version }));
            }
            absent(response, "no-such-key")
        })
    }

    /// Sets the value of `key`.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) -> Call<()> {
        self.change(Method::PUT, key, None, value.into()).map(|_| Ok(()))
    }

    /// Sets the value of `key` to `value` as JSON; [`Call::json`] reads it.
    ///
    /// ```
    /// use wfn_sdk::{Error, kv::Store};
    ///
    /// fn move_on(store: &Store) -> Result<(), Error> {
    ///     let (x, y): (i32, i32) = store.get("place").json().send()?.unwrap_or_default();
    ///     Ok(store.put_json("place", &(x + 1, y)).send()?)
    /// }
    /// ```
    pub fn put_json(&self, key: &str, value: &impl Serialize) -> Call<()> {
        match serde_json::to_vec(value) {
            Ok(json) => self.put(key, json),
            Err(error) => Call::invalid(error.to_string()),
        }
    }

    /// Sets the value of `key` if there is none. Returns whether it did.
    pub fn create(&self, key: &str, value: impl Into<Bytes>) -> Call<bool> {
        self.change(Method::PUT, key, Some(("if-none-match", "*")), value.into())
    }

    /// Sets the value of `key` if it still has `version`. Returns whether it did.
    pub fn replace(&self, key: &str, value: impl Into<Bytes>, version: &Version) -> Call<bool> {
        self.change(Method::PUT, key, Some(("if-match", &version.0)), value.into())
    }

    /// Removes `key`, if it exists.
    pub fn delete(&self, key: &str) -> Call<()> {
        self.change(Method::DELETE, key, None, Bytes::new()).map(|_| Ok(()))
    }

    /// Adds `by` to the number of `key` (0 if there is none) and returns the sum. Concurrent increments are all counted.
    pub fn increment(&self, key: &str, by: i64) -> Call<i64> {
        let path = format!("{}/increment?by={by}", self.key(key));
        let request = request(Method::POST, &path, None, Body::empty());
        Call::service(request, &[], Some(64), |response| {
            let text = at_hand(response);
            let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
            number.ok_or_else(|| CallError::Failed("the answer is no number".to_owned()))
        })
    }

    /// Returns up to a thousand keys that begin with `prefix` and come after `after`.
    ///
    /// ```
    /// use wfn_sdk::{CallError, kv::Store};
    ///
    /// fn all(store: &Store) -> Result<Vec<String>, CallError> {
    ///     let (mut keys, mut after) = (Vec::new(), Some(String::new()));
    ///     while let Some(from) = after {
    ///         let page = store.keys("", &from).send()?;
    ///         keys.extend(page.keys);
    ///         after = page.next;
    ///     }
    ///     Ok(keys)
    /// }
    /// ```
    pub fn keys(&self, prefix: &str, after: &str) -> Call<Page> {
        let path = format!("{}?prefix={}&after={}", self.path, encoded(prefix), encoded(after));
        Call::service(request(Method::GET, &path, None, Body::empty()), &[], Some(PAGE_BYTES_MAX), json)
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{}", self.path, encoded(key))
    }

    /// Makes a change under a condition. Returns whether the condition held.
    fn change(&self, method: Method, key: &str, condition: Option<(&str, &str)>, value: Bytes) -> Call<bool> {
        let request = request(method, &self.key(key), condition, value.into());
        Call::service(request, &[StatusCode::PRECONDITION_FAILED], Some(REFUSAL_BYTES_MAX), |response| {
            Ok(response.status() != StatusCode::PRECONDITION_FAILED)
        })
    }
}

impl Call<Option<Bytes>> {
    /// Takes the value as JSON.
    pub fn json<T: DeserializeOwned + 'static>(self) -> Call<Option<T>> {
        self.map(|value| {
            let parsed = value.map(|value| serde_json::from_slice(&value)).transpose();
            parsed.map_err(|error| CallError::Failed(format!("the value is not the JSON expected: {error}")))
        })
    }
}
