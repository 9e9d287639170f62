//! The response: built whole, or begun and then streamed.

use wasip2::http::types::{ErrorCode, Fields, OutgoingResponse, ResponseOutparam};

use crate::{BodyWriter, Error};

/// A response's status, headers and (first) bytes.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Response {
    /// A response without headers and body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A response of plain text in UTF-8.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status).header("content-type", "text/plain; charset=utf-8").body(text.into().into_bytes())
    }

    /// A response of JSON, given as text.
    pub fn json(status: u16, json: impl Into<String>) -> Self {
        Self::new(status).header("content-type", "application/json").body(json.into().into_bytes())
    }

    /// Adds a header; the same name twice makes two headers.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether a header of this name (any case) is set.
    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(present, _)| present.eq_ignore_ascii_case(name))
    }

    /// Status and headers as the host wants them.
    fn to_head(&self) -> Result<OutgoingResponse, Error> {
        let fields =
            Fields::from_list(&self.headers).map_err(|error| Error::InvalidHead(error.to_string()))?;
        let head = OutgoingResponse::new(fields);
        head.set_status_code(self.status)
            .map_err(|()| Error::InvalidHead(format!("status {}", self.status)))?;
        Ok(head)
    }
}

/// The right to answer a request, once. Dropping it unused leaves the caller to the host.
#[derive(Debug)]
pub struct Responder {
    out: ResponseOutparam,
}

impl Responder {
    /// Wraps the host's response slot; [`handler!`](crate::handler) calls it.
    pub fn new(out: ResponseOutparam) -> Self {
        Self { out }
    }

    /// Sends a whole response; sets `content-length` unless it is there already.
    ///
    /// # Errors
    /// [`Error::InvalidHead`] if the host refuses the head (it then answers the caller itself), else as
    /// [`BodyWriter::write_all`].
    pub fn send(self, mut response: Response) -> Result<(), Error> {
        if !response.has_header("content-length") {
            let length = response.body.len().to_string();
            response = response.header("content-length", length);
        }
        self.start(response)?.finish()
    }

    /// Sends the head and what body the response has, and hands back the stream for the rest.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn start(self, response: Response) -> Result<BodyWriter, Error> {
        let head = match response.to_head() {
            Ok(head) => head,
            Err(error) => {
                let told = ErrorCode::InternalError(Some(error.to_string()));
                ResponseOutparam::set(self.out, Err(told));
                return Err(error);
            }
        };
        let body = head.body().map_err(|()| Error::BodyTaken)?;
        let mut writer = BodyWriter::new(body)?;
        // What the host takes before it has the head leaves in one piece with the head; waiting for more room
        // before the head is out could last for ever.
        let early = writer.write_without_waiting(&response.body);
        ResponseOutparam::set(self.out, Ok(head));
        writer.write_all(&response.body[early..])?;
        Ok(writer)
    }

    /// The host's response slot, for what this type leaves out.
    pub fn into_raw(self) -> ResponseOutparam {
        self.out
    }
}
