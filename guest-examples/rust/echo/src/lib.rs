//! Streams request bodies back as they arrive, and answers with streams, headers and printed lines.

use wfn_sdk::wasip2::clocks::monotonic_clock;
use wfn_sdk::{Error, Request, Responder, Response, json};

/// How much of a request's body is in memory at once, in bytes.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Largest chunk that `/stream` makes, in bytes.
const STREAM_CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;

const HELP: &str = "\
POST a body to any path           the same body, streamed back as it arrives
GET  /headers                     method, path and headers of the request as JSON
GET  /stream?chunks=N&bytes=M     N chunks of M bytes
GET  /trickle?chunks=N&ms=T       N chunks, one every T milliseconds
GET  /print?text=TEXT             TEXT once on stdout and once on stderr
";

wfn_sdk::handler!(handle);

fn handle(request: Request, responder: Responder) -> Result<(), Error> {
    if let Err(refusal) = request.require_numbers(&["chunks", "bytes", "ms"]) {
        return responder.send(refusal);
    }
    match (request.method(), request.path()) {
        ("POST" | "PUT" | "PATCH", _) => echo(request, responder),
        ("GET", "/headers") => responder.send(headers(&request)),
        ("GET", "/stream") => stream(&request, responder),
        ("GET", "/trickle") => trickle(&request, responder),
        ("GET", "/print") => responder.send(print(&request)),
        ("GET", "/") => responder.send(Response::text(200, HELP)),
        ("GET", _) => responder.send(Response::text(404, HELP)),
        _ => responder.send(Response::text(405, HELP).header("allow", "GET, POST, PUT, PATCH")),
    }
}

/// Sends the request's body back, chunk by chunk: reading waits for the caller to take what was written.
fn echo(mut request: Request, responder: Responder) -> Result<(), Error> {
    let mut head = Response::new(200);
    if let Some(content_type) = request.header("content-type") {
        head = head.header("content-type", content_type);
    }
    let mut reader = request.take_body()?;
    let mut writer = responder.start(head)?;
    while let Some(chunk) = reader.read(CHUNK_BYTES)? {
        writer.write_all(&chunk)?;
    }
    writer.finish()
}

/// The request's head as JSON.
fn headers(request: &Request) -> Response {
    let headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value);
            format!("[{},{}]", json::quote(name), json::quote(&value))
        })
        .collect();
    Response::json(
        200,
        format!(
            "{{\"method\":{},\"path\":{},\"headers\":[{}]}}\n",
            json::quote(request.method()),
            json::quote(request.path_with_query()),
            headers.join(",")
        ),
    )
}

/// N chunks of M bytes, each made when the one before is taken.
fn stream(request: &Request, responder: Responder) -> Result<(), Error> {
    let chunks = request.query_u64("chunks").unwrap_or(10);
    let bytes = request.query_u64("bytes").unwrap_or(1024);
    if bytes > STREAM_CHUNK_BYTES_MAX {
        let help = format!("bytes may be up to {STREAM_CHUNK_BYTES_MAX}\n");
        return responder.send(Response::text(400, help));
    }
    // At most STREAM_CHUNK_BYTES_MAX, so the cast loses nothing.
    let chunk = vec![b'x'; bytes as usize];
    let head = Response::new(200).header("content-type", "application/octet-stream");
    let mut writer = responder.start(head)?;
    for _ in 0..chunks {
        writer.write_all(&chunk)?;
    }
    writer.finish()
}

/// N lines, one every T milliseconds, each sent at once.
fn trickle(request: &Request, responder: Responder) -> Result<(), Error> {
    let chunks = request.query_u64("chunks").unwrap_or(10);
    let ms = request.query_u64("ms").unwrap_or(100);
    let mut writer = responder.start(Response::text(200, ""))?;
    for number in 1..=chunks {
        writer.write_all(format!("chunk {number} of {chunks}\n").as_bytes())?;
        writer.flush()?;
        if number < chunks {
            monotonic_clock::subscribe_duration(ms.saturating_mul(1_000_000)).block();
        }
    }
    writer.finish()
}

/// Prints the text on both outputs, one line each.
fn print(request: &Request) -> Response {
    let text = request.query("text").unwrap_or_else(|| "hello".to_owned());
    println!("stdout: {text}");
    eprintln!("stderr: {text}");
    Response::text(200, "printed one line on stdout and one on stderr\n")
}
