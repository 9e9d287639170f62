//! One path for each way an asynchronous guest can behave and misbehave; `GET /` lists them.
//!
//! Written with `wasip3` alone, because a test of the host wants every handle in its own hands.

mod bodies;
mod compute;
mod query;
mod response;
mod time;

use std::fs;
use std::io::Write;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};

use crate::query::Query;
use crate::response::{BodyWriter, text};

const HELP: &str = "\
/ok                         answers 200
/count                      answers the worker's counters as JSON
/wait?ms=N                  waits N ms (100) on the clock, then answers as /count does
/never                      waits for ever
/deadlock                   waits for ever for a byte that only it could send
/after?ms=N                 answers at once and works on for N ms (100)
/spin?ms=N                  computes N ms without a break, or for ever
/trap                       executes the unreachable instruction
/panic                      panics
/exit                       exits with code 1
/allocate?mb=N              takes memory until refused and aborts, or N MB and frees them
/recurse                    calls itself until the stack is used up
/print?text=T               prints T on stdout and on stderr, one line each
/mumble?text=T              prints T on stdout and on stderr without a line end
/no-response                returns an error code instead of a response
/echo                       streams the request's body and trailers back as they arrive
/pass-on                    hands the request's body over to the host as the response's
/stream?chunks=N&bytes=M    N chunks (10) of M bytes (1024)
/trickle?chunks=N&ms=T      N lines (10), one every T ms (100)
/trailers                   a body and two trailers
/trailers-only              no body, two trailers
/endless-body               streams for as long as the caller reads
/trap-in-body               traps after the first chunk
/trap-after-body            writes and ends its body, then traps
/trap-when-written          writes its body and drops its end, then traps at once
/error-in-body              ends with an error after the first chunk
/wrong-length               promises 10 bytes and writes 3
/scratch                    writes a file in /tmp and reads it
/many-headers?n=N           answers with N headers (10000)
/answer?status=N            answers with status N (200), ?bytes=N (0) of body, ?length=N as content-length
/target                     answers scheme, authority and cookies of the request, a line each
";

struct Faults;

impl Guest for Faults {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let _in_flight = time::InFlight::enter();
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        answer(request, path, &Query::new(query)).await
    }
}

wasip3::http::service::export!(Faults);

async fn answer(request: Request, path: &str, query: &Query<'_>) -> Result<Response, ErrorCode> {
    match path {
        "/" => text(200, HELP),
        "/ok" => text(200, "ok\n"),
        "/scratch" => {
            match fs::write("/tmp/note", "kept for now").and_then(|()| fs::read_to_string("/tmp/note")) {
                Ok(note) => text(200, &note),
                Err(error) => text(500, &error.to_string()),
            }
        }
        "/count" => time::count(),
        "/wait" => time::wait(query.number("ms", 100)).await,
        "/never" => time::never().await,
        "/deadlock" => time::deadlock().await,
        "/after" => time::after(query.number("ms", 100)),
        "/spin" => compute::spin(query.optional_number("ms")),
        "/trap" => compute::unreachable(),
        "/panic" => panic!("this guest was asked to panic"),
        "/exit" => std::process::exit(1),
        "/allocate" => compute::allocate(query.optional_number("mb")),
        "/recurse" => compute::recurse(),
        "/print" => print(query.text("text").unwrap_or("hello")),
        "/mumble" => mumble(query.text("text").unwrap_or("mm")),
        "/no-response" => Err(ErrorCode::InternalError(Some("this guest was asked for no response".into()))),
        "/echo" => bodies::echo(request),
        "/pass-on" => bodies::pass_on(request),
        "/stream" => bodies::stream(query.number("chunks", 10), query.number("bytes", 1024)),
        "/trickle" => bodies::trickle(query.number("chunks", 10), query.number("ms", 100)),
        "/trailers" => bodies::trailers(),
        "/trailers-only" => bodies::trailers_only(),
        "/endless-body" => bodies::endless(),
        "/trap-in-body" => bodies::trap_in_body(),
        "/trap-after-body" => bodies::trap_after_body(),
        "/trap-when-written" => bodies::trap_when_written(),
        "/error-in-body" => bodies::error_in_body(),
        "/wrong-length" => bodies::wrong_length(),
        "/many-headers" => many_headers(query.number("n", 10_000)),
        "/answer" => bodies::as_told(query),
        "/target" => target_of(&request),
        _ => text(404, HELP),
    }
}

fn print(words: &str) -> Result<Response, ErrorCode> {
    println!("stdout: {words}");
    eprintln!("stderr: {words}");
    text(200, "printed one line on stdout and one on stderr\n")
}

/// What the host says of the request's target, and its cookies, a line for each field.
fn target_of(request: &Request) -> Result<Response, ErrorCode> {
    let cookies = request.get_headers().get("cookie").into_iter();
    let cookies: String =
        cookies.map(|cookie| format!("cookie {}\n", String::from_utf8_lossy(&cookie))).collect();
    let (scheme, authority) = (request.get_scheme(), request.get_authority());
    text(200, &format!("scheme {scheme:?}\nauthority {authority:?}\n{cookies}"))
}

fn mumble(words: &str) -> Result<Response, ErrorCode> {
    print!("{words}");
    eprint!("{words}");
    // A stream that fails is the host's affair.
    let _ = std::io::stdout().flush();
    text(200, "printed without a line end\n")
}

/// Adds headers until all are in or the host refuses one, then answers, saying how far that was.
fn many_headers(n: u64) -> Result<Response, ErrorCode> {
    let headers = Fields::new();
    for added in 0..n {
        if let Err(error) = headers.append(&format!("x-header-{added}"), b"0123456789") {
            let said = format!("added {added} of {n} headers; the host refused the next: {error}\n");
            return text(200, &said);
        }
    }
    let said = format!("added {n} of {n} headers; all were taken\n");
    let (response, writer) = BodyWriter::start(headers);
    writer.send(said.into_bytes());
    Ok(response)
}
