//! Responses: whole ones, and what a body is written to.

use std::borrow::ToOwned;

use wasip3::http::types::{ErrorCode, Fields, Response, Trailers};
use wasip3::wit_bindgen::{FutureWriter, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// How a body ends: with trailers, without, or not as it should.
type End = Result<Option<Trailers>, ErrorCode>;

/// The guest's ends of a response's body. Dropped, it ends the body without trailers.
pub(crate) struct BodyWriter {
    contents: StreamWriter<u8>,
    end: FutureWriter<End>,
}

impl BodyWriter {
    /// A response with these headers, and what its body is to be written to after it is returned.
    pub(crate) fn start(headers: Fields) -> (Response, Self) {
        let (contents, contents_reader) = wit_stream::new();
        let (end, end_reader) = wit_future::new(|| Ok(None));
        // Whether the response reached the caller is of no interest here.
        let (response, _sent) = Response::new(headers, Some(contents_reader), end_reader);
        (response, Self { contents, end })
    }

    /// Writes all of `bytes`; says whether somebody still reads.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> bool {
        self.write_some(bytes).await.is_empty()
    }

    /// Writes `bytes`, and hands the buffer back: empty, unless nobody reads any more.
    pub(crate) async fn write_some(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.contents.write_all(bytes).await
    }

    /// Ends the body.
    pub(crate) async fn finish(self, end: End) {
        drop(self.contents);
        // Refused only when the caller has gone.
        let _ = self.end.write(end).await;
    }

    /// Writes `bytes` as the whole body, in the background.
    pub(crate) fn send(mut self, bytes: Vec<u8>) {
        spawn_local(async move {
            self.write(bytes).await;
        });
    }
}

/// Headers from names and values that the host takes.
pub(crate) fn fields(list: &[(&str, &str)]) -> Result<Fields, ErrorCode> {
    let list: Vec<_> =
        list.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_owned())).collect();
    Fields::from_list(&list).map_err(|error| ErrorCode::InternalError(Some(error.to_string())))
}

/// A whole response with this type of body.
fn whole(status: u16, content_type: &str, body: &str) -> Result<Response, ErrorCode> {
    let (response, writer) = BodyWriter::start(fields(&[("content-type", content_type)])?);
    response
        .set_status_code(status)
        .map_err(|()| ErrorCode::InternalError(Some(format!("the host refuses status {status}"))))?;
    writer.send(body.as_bytes().to_owned());
    Ok(response)
}

pub(crate) fn text(status: u16, body: &str) -> Result<Response, ErrorCode> {
    whole(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn json(body: &str) -> Result<Response, ErrorCode> {
    whole(200, "application/json", body)
}
