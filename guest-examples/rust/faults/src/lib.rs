//! One path for each way a guest can misbehave; `GET /` lists them.

mod bodies;
mod compute;
mod host;
mod memory;
mod raw;

use std::sync::atomic::{AtomicU64, Ordering};

use wfn_sdk::wasip2::exports::http::incoming_handler::Guest;
use wfn_sdk::wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wfn_sdk::{Error, IntoResponse, Request, Response, StatusCode};

/// How a path misbehaves.
type Run = fn(Request) -> Result<Response, Error>;

/// A path, its parameters with what it does, and its code.
const FAULTS: &[(&str, &str, Run)] = &[
    ("/ok", "answers 200", |_| text("ok\n")),
    ("/count", "answers how many invocations this worker has had", |_| {
        text(format!("{}\n", INVOCATIONS.load(Ordering::Relaxed)))
    }),
    ("/trap", "executes the unreachable instruction", compute::trap),
    ("/panic", "panics", compute::panic),
    ("/spin", "computes for ever, or for ?ms=N", compute::spin),
    ("/recurse", "calls itself until the stack is used up", compute::recurse),
    ("/allocate", "takes memory until refused and aborts, or ?mb=N and frees it", memory::allocate),
    ("/leak", "takes ?mb=N (default 1) and keeps them", memory::leak),
    ("/handles", "makes ?n=N (default 1000) resources and keeps them", memory::handles),
    ("/sleep", "waits ?ms=N (default 100) on the clock", host::sleep),
    ("/env", "answers the environment variable ?key=K, 404 if unset", host::env),
    ("/random", "answers 16 random bytes", host::random),
    ("/clock", "answers the wall clock and the monotonic clock", host::clock),
    ("/fs", "reads the directory /, answers what came of it", host::fs),
    ("/connect", "connects to 127.0.0.1 port ?port=N (default 1), answers what came of it", host::connect),
    ("/dns", "resolves ?name=N (default localhost), answers what came of it", host::dns),
    ("/flood", "prints ?lines=N (default 1000) on stdout", host::flood),
    ("/mumble", "prints ?text=T (default mm) on stdout and stderr without a line end", host::mumble),
    ("/mumble-then-trap", "does that, then traps", host::mumble_then_trap),
    ("/stdout-then-trap", "prints a line, then traps", host::stdout_then_trap),
    ("/exit", "calls wasi:cli/exit", host::exit),
    ("/endless-body", "streams for as long as the caller reads", bodies::endless),
    ("/trap-in-body", "traps after the head and some bytes", bodies::trap_in_body),
    ("/short-body", "promises 10 bytes and writes 3", bodies::short),
    ("/long-body", "promises 3 bytes and tries 10", bodies::long),
    ("/read-slow", "reads ?bytes=N (4096) every ?ms=N (10), answers the sum", bodies::read_slow),
    ("/never-read", "answers without reading the request's body", |_| text("answered without reading\n")),
];

/// Invocations of this worker: 1 at each call in a fresh one, growing in a reused one.
static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Faults;

impl Guest for Faults {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        INVOCATIONS.fetch_add(1, Ordering::Relaxed);
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match raw::FAULTS.iter().find(|(known, _, _)| *known == path) {
            Some((_, _, run)) => run(&target, out),
            None => wfn_sdk::p2::serve(request, out, handle),
        }
    }
}

wfn_sdk::wasip2::http::proxy::export!(Faults with_types_in wfn_sdk::wasip2);

fn handle(request: Request) -> Result<Response, Error> {
    match FAULTS.iter().find(|(path, _, _)| *path == request.uri().path()) {
        Some((_, _, run)) => run(request),
        None if request.uri().path() == "/" => text(index()),
        None => Ok((StatusCode::NOT_FOUND, index()).into_response()),
    }
}

/// One line for each path.
fn index() -> String {
    let own = FAULTS.iter().map(|(path, does, _)| (path, does));
    let raw = raw::FAULTS.iter().map(|(path, does, _)| (path, does));
    own.chain(raw).map(|(path, does)| format!("{path:<18} {does}\n")).collect()
}

/// A response of plain text.
fn text(text: impl Into<String>) -> Result<Response, Error> {
    Ok(text.into().into_response())
}
