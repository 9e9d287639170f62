//! One path for each way a guest can misbehave; `GET /` lists them.

mod bodies;
mod compute;
mod host;
mod memory;

use std::sync::atomic::{AtomicU64, Ordering};

use wfn_sdk::{Error, Request, Responder, Response};

wfn_sdk::handler!(handle);

/// How a path misbehaves.
type Run = fn(Request, Responder) -> Result<(), Error>;

/// A path, its parameters with what it does, and its code.
const FAULTS: &[(&str, &str, Run)] = &[
    ("/ok", "answers 200", |_, responder| responder.send(Response::text(200, "ok\n"))),
    ("/count", "answers how many invocations this worker has had", count),
    ("/trap", "executes the unreachable instruction", compute::trap),
    ("/panic", "panics", compute::panic),
    ("/spin", "computes for ever, or for ?ms=N", compute::spin),
    ("/recurse", "calls itself until the stack is used up", compute::recurse),
    ("/allocate", "takes memory until refused and aborts, or ?mb=N and frees it", memory::allocate),
    ("/leak", "takes ?mb=N (default 1) and keeps them", memory::leak),
    ("/handles", "makes ?n=N (default 1000) resources and keeps them", memory::handles),
    ("/sleep", "waits ?ms=N (default 100) on the clock", host::sleep),
    ("/env", "answers the environment variable ?key=K, 404 if unset", host::env),
    ("/flood", "prints ?lines=N (default 1000) on stdout", host::flood),
    ("/stdout-then-trap", "prints a line, then traps", host::stdout_then_trap),
    ("/exit", "calls wasi:cli/exit", host::exit),
    ("/no-response", "returns without a response", bodies::no_response),
    ("/many-headers", "answers with ?n=N (default 10000) headers", bodies::many_headers),
    ("/endless-body", "streams for as long as the caller reads", bodies::endless),
    ("/trap-in-body", "traps after the head and some bytes", bodies::trap_in_body),
    ("/short-body", "promises 10 bytes and writes 3", bodies::short),
    ("/long-body", "promises 3 bytes and tries 10", bodies::long),
    ("/read-slow", "reads ?bytes=N (4096) every ?ms=N (10), answers the sum", bodies::read_slow),
    ("/never-read", "answers without reading the request's body", bodies::never_read),
];

/// Invocations of this worker: 1 at each call in a fresh one, growing in a reused one.
static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

fn handle(request: Request, responder: Responder) -> Result<(), Error> {
    INVOCATIONS.fetch_add(1, Ordering::Relaxed);
    if let Err(refusal) = request.require_numbers(&["ms", "mb", "n", "lines", "bytes"]) {
        return responder.send(refusal);
    }
    let fault = FAULTS.iter().find(|(path, _, _)| *path == request.path());
    match fault {
        Some((_, _, run)) => run(request, responder),
        None => {
            let status = if request.path() == "/" { 200 } else { 404 };
            responder.send(Response::text(status, index()))
        }
    }
}

/// One line for each path.
fn index() -> String {
    FAULTS.iter().map(|(path, does, _)| format!("{path:<18} {does}\n")).collect()
}

fn count(_: Request, responder: Responder) -> Result<(), Error> {
    let count = INVOCATIONS.load(Ordering::Relaxed);
    responder.send(Response::text(200, format!("{count}\n")))
}
