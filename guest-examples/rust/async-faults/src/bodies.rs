//! Bodies: streamed, echoed, with trailers, endless, cut off, not as long as promised.

use std::borrow::ToOwned;

use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::{FutureWriter, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

use crate::query::Query;
use crate::{compute, time};

/// How much of a request's body is in memory at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

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
    async fn write(&mut self, bytes: Vec<u8>) -> bool {
        self.contents.write_all(bytes).await.is_empty()
    }

    /// Ends the body.
    async fn finish(self, end: End) {
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
fn fields(list: &[(&str, &str)]) -> Result<Fields, ErrorCode> {
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

pub(crate) fn echo(request: Request) -> Result<Response, ErrorCode> {
    let (_, handled) = wit_future::new(|| Ok(()));
    let (mut body, end) = Request::consume_body(request, handled);
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        while let (StreamResult::Complete(_), chunk) = body.read(buffer).await {
            let unwritten = writer.contents.write_all(chunk).await;
            if !unwritten.is_empty() {
                return;
            }
            buffer = unwritten;
            buffer.reserve(CHUNK_BYTES);
        }
        writer.finish(end.await).await;
    });
    Ok(response)
}

pub(crate) fn pass_on(request: Request) -> Result<Response, ErrorCode> {
    let (_, handled) = wit_future::new(|| Ok(()));
    let (body, end) = Request::consume_body(request, handled);
    let (response, _sent) = Response::new(Fields::new(), Some(body), end);
    Ok(response)
}

pub(crate) fn stream(chunks: u64, bytes: u64) -> Result<Response, ErrorCode> {
    let headers = fields(&[("content-type", "application/octet-stream")])?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (response, mut writer) = BodyWriter::start(headers);
    spawn_local(async move {
        for _ in 0..chunks {
            if !writer.write(vec![b'x'; bytes]).await {
                return;
            }
        }
    });
    Ok(response)
}

pub(crate) fn trickle(chunks: u64, ms: u64) -> Result<Response, ErrorCode> {
    let (response, mut writer) = BodyWriter::start(fields(&[("content-type", "text/plain")])?);
    spawn_local(async move {
        for number in 1..=chunks {
            if number > 1 {
                time::wait_ms(ms).await;
            }
            if !writer.write(format!("chunk {number} of {chunks}\n").into_bytes()).await {
                return;
            }
        }
    });
    Ok(response)
}

/// The trailers of both paths that have some.
fn two_trailers() -> Result<Trailers, ErrorCode> {
    fields(&[("x-first", "one"), ("x-second", "two")])
}

pub(crate) fn trailers() -> Result<Response, ErrorCode> {
    let trailers = two_trailers()?;
    let (response, mut writer) = BodyWriter::start(fields(&[("trailer", "x-first, x-second")])?);
    spawn_local(async move {
        writer.write(b"a body, then trailers\n".to_vec()).await;
        writer.finish(Ok(Some(trailers))).await;
    });
    Ok(response)
}

pub(crate) fn trailers_only() -> Result<Response, ErrorCode> {
    let trailers = two_trailers()?;
    let (end, end_reader) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(fields(&[("trailer", "x-first, x-second")])?, None, end_reader);
    spawn_local(async move {
        // Refused only when the caller has gone.
        let _ = end.write(Ok(Some(trailers))).await;
    });
    Ok(response)
}

pub(crate) fn endless() -> Result<Response, ErrorCode> {
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move { while writer.write(vec![b'x'; CHUNK_BYTES]).await {} });
    Ok(response)
}

pub(crate) fn trap_in_body() -> Result<Response, ErrorCode> {
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move {
        writer.write(b"some bytes, then a trap\n".to_vec()).await;
        compute::unreachable()
    });
    Ok(response)
}

pub(crate) fn trap_after_body() -> Result<Response, ErrorCode> {
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move {
        writer.write(b"all of the body\n".to_vec()).await;
        writer.finish(Ok(None)).await;
        compute::unreachable()
    });
    Ok(response)
}

pub(crate) fn trap_when_written() -> Result<Response, ErrorCode> {
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move {
        writer.write(b"all of the body\n".to_vec()).await;
        drop(writer);
        compute::unreachable()
    });
    Ok(response)
}

pub(crate) fn error_in_body() -> Result<Response, ErrorCode> {
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move {
        writer.write(b"some bytes, then an error\n".to_vec()).await;
        writer.finish(Err(ErrorCode::InternalError(Some("this body was asked to fail".into())))).await;
    });
    Ok(response)
}

/// Answers as the query says, whether or not that is right.
pub(crate) fn as_told(query: &Query<'_>) -> Result<Response, ErrorCode> {
    let length: Vec<_> = query.text("length").map(|length| ("content-length", length)).into_iter().collect();
    let (response, writer) = BodyWriter::start(fields(&length)?);
    let status = u16::try_from(query.number("status", 200)).unwrap_or(200);
    response
        .set_status_code(status)
        .map_err(|()| ErrorCode::InternalError(Some(format!("the host refuses status {status}"))))?;
    writer.send(vec![b'x'; usize::try_from(query.number("bytes", 0)).unwrap_or(0)]);
    Ok(response)
}

pub(crate) fn wrong_length() -> Result<Response, ErrorCode> {
    let (response, writer) = BodyWriter::start(fields(&[("content-length", "10")])?);
    writer.send(b"abc".to_vec());
    Ok(response)
}
