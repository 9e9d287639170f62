//! Streams request bodies back as they arrive, and answers with streams, headers and printed lines.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use wfn_sdk::http::header::{ALLOW, CONTENT_TYPE};
use wfn_sdk::{
    Body, Error, IntoResponse, Json, Method, Request, RequestExt, Response, Router, StatusCode, handler,
};

/// Largest chunk that `/stream` makes, in bytes.
const STREAM_CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;

const HELP: &str = "\
POST a body to any path           the same body, streamed back as it arrives
GET  /headers                     method, path and headers of the request as JSON
GET  /stream?chunks=N&bytes=M     N chunks of M bytes
GET  /trickle?chunks=N&ms=T       N chunks, one every T milliseconds
GET  /print?text=TEXT             TEXT once on stdout and once on stderr
";

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    Router::new()
        .get("/", |_| HELP)
        .get("/headers", headers)
        .get("/stream", stream)
        .get("/trickle", trickle)
        .get("/print", print)
        .get("/{*other}", |_| (StatusCode::NOT_FOUND, HELP))
});

#[handler]
fn handle(request: Request) -> Result<Response, Error> {
    match *request.method() {
        Method::POST | Method::PUT | Method::PATCH => Ok(echo(request)),
        Method::GET | Method::HEAD => Ok(ROUTER.handle(request)),
        _ => Ok(Response::builder()
            .status(StatusCode::METHOD_NOT_ALLOWED)
            .header(ALLOW, "GET, HEAD, POST, PUT, PATCH")
            .body(HELP.into())?),
    }
}

/// Sends the request's body back, chunk by chunk: reading waits for the caller to take what was written.
fn echo(mut request: Request) -> Response {
    let content_type = request.headers_mut().remove(CONTENT_TYPE);
    let mut response = Response::new(request.into_body());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// A request's head.
#[derive(Serialize)]
struct Head {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

fn headers(request: Request) -> Json<Head> {
    let headers = request.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Json(Head {
        method: request.method().to_string(),
        path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.collect(),
    })
}

/// N chunks of M bytes, each made when the one before is taken.
fn stream(request: Request) -> Result<Response, Error> {
    let chunks = request.query("chunks")?.unwrap_or(10u64);
    let bytes = request.query("bytes")?.unwrap_or(1024);
    if bytes > STREAM_CHUNK_BYTES_MAX {
        let help = format!("bytes may be up to {STREAM_CHUNK_BYTES_MAX}");
        return Err(Error::new(StatusCode::BAD_REQUEST, help));
    }
    let chunk = vec![b'x'; bytes];
    Ok(Body::from_writer(move |writer| (0..chunks).try_for_each(|_| writer.write_all(&chunk)))
        .into_response())
}

/// N lines, one every T milliseconds, each sent at once.
fn trickle(request: Request) -> Result<Response, Error> {
    let chunks = request.query("chunks")?.unwrap_or(10u64);
    let pause = Duration::from_millis(request.query("ms")?.unwrap_or(100));
    let body = Body::from_writer(move |writer| {
        for number in 1..=chunks {
            if number > 1 {
                thread::sleep(pause);
            }
            writeln!(writer, "chunk {number} of {chunks}")?;
            writer.flush()?;
        }
        Ok(())
    });
    Ok(Response::builder().header(CONTENT_TYPE, "text/plain; charset=utf-8").body(body)?)
}

/// Prints the text on both outputs, one line each.
fn print(request: Request) -> Result<&'static str, Error> {
    let text = request.query("text")?.unwrap_or_else(|| "hello".to_owned());
    println!("stdout: {text}");
    eprintln!("stderr: {text}");
    Ok("printed one line on stdout and one on stderr\n")
}
