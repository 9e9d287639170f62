//! Bodies: streamed, echoed, with trailers, endless, cut off, not as long as promised.

use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{spawn_local, wit_future};

use crate::query::Query;
use crate::response::{BodyWriter, fields};
use crate::{compute, time};

/// How much of a request's body is in memory at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

pub(crate) fn echo(request: Request) -> Result<Response, ErrorCode> {
    let (_, handled) = wit_future::new(|| Ok(()));
    let (mut body, end) = Request::consume_body(request, handled);
    let (response, mut writer) = BodyWriter::start(Fields::new());
    spawn_local(async move {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        while let (StreamResult::Complete(_), chunk) = body.read(buffer).await {
            let unwritten = writer.write_some(chunk).await;
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
