//! The request as a handler sees it.

use std::borrow::Cow;

use wasip2::http::types::{IncomingRequest, Method};

use crate::{BodyReader, Error, Response, query};

/// One request; its head is here, its body is still to come.
#[derive(Debug)]
pub struct Request {
    raw: IncomingRequest,
    method: Cow<'static, str>,
    path_with_query: String,
}

impl Request {
    /// Wraps the host's request; [`handler!`](crate::handler) calls it.
    pub fn new(raw: IncomingRequest) -> Self {
        let method = match raw.method() {
            Method::Get => "GET".into(),
            Method::Head => "HEAD".into(),
            Method::Post => "POST".into(),
            Method::Put => "PUT".into(),
            Method::Delete => "DELETE".into(),
            Method::Connect => "CONNECT".into(),
            Method::Options => "OPTIONS".into(),
            Method::Trace => "TRACE".into(),
            Method::Patch => "PATCH".into(),
            Method::Other(name) => name.into(),
        };
        let path_with_query = raw.path_with_query().unwrap_or_else(|| "/".to_owned());
        Self { raw, method, path_with_query }
    }

    /// The method in capitals, for example `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Path and query as they arrived, for example `/a%20b?c=d`.
    pub fn path_with_query(&self) -> &str {
        &self.path_with_query
    }

    /// The path without its query, not decoded.
    pub fn path(&self) -> &str {
        self.path_with_query.split('?').next().unwrap_or("/")
    }

    /// The first query parameter of this name, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        query::value(&self.path_with_query, name)
    }

    /// The first query parameter of this name as a whole number; `None` when absent or anything else.
    pub fn query_u64(&self, name: &str) -> Option<u64> {
        self.query(name)?.parse().ok()
    }

    /// Checks that each of these query parameters is absent or a whole number.
    ///
    /// # Errors
    /// The 400 to send when one is not.
    pub fn require_numbers(&self, names: &[&str]) -> Result<(), Response> {
        for name in names {
            if let Some(value) = self.query(name)
                && value.parse::<u64>().is_err()
            {
                let help = format!("{name} must be a whole number, not \"{value}\"\n");
                return Err(Response::text(400, help));
            }
        }
        Ok(())
    }

    /// The first header of this name (any case), bytes that are not UTF-8 replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.raw.headers().get(name).into_iter().next()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// All headers, in the order in which the host lists them.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.raw.headers().entries()
    }

    /// The body as a stream. It can be taken once.
    ///
    /// # Errors
    /// [`Error::BodyTaken`] the second time.
    pub fn take_body(&mut self) -> Result<BodyReader, Error> {
        let body = self.raw.consume().map_err(|()| Error::BodyTaken)?;
        BodyReader::new(body)
    }

    /// The whole body, which may have up to `limit_bytes`. It can be taken once.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] beyond the limit (nothing more is read), [`Error::BodyTaken`] the second time,
    /// [`Error::Stream`] when the caller breaks off.
    pub fn read_body(&mut self, limit_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut reader = self.take_body()?;
        let mut body = Vec::new();
        while let Some(chunk) = reader.read(CHUNK_BYTES)? {
            if chunk.len() > limit_bytes - body.len() {
                return Err(Error::BodyTooLarge { limit_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The host's request, for what this type leaves out.
    pub fn raw(&self) -> &IncomingRequest {
        &self.raw
    }
}

/// How much [`Request::read_body`] asks for at once, in bytes.
const CHUNK_BYTES: u64 = 64 * 1024;
