//! What a guest asks of its host besides HTTP: the clock, its environment, its output, its exit.

use wfn_sdk::wasip2::cli::{environment, exit};
use wfn_sdk::wasip2::clocks::monotonic_clock;
use wfn_sdk::{Error, Request, Responder, Response};

use crate::compute;

/// Waits on the host's clock.
pub(crate) fn wait_ms(ms: u64) {
    monotonic_clock::subscribe_duration(ms.saturating_mul(1_000_000)).block();
}

pub(crate) fn sleep(request: Request, responder: Responder) -> Result<(), Error> {
    wait_ms(request.query_u64("ms").unwrap_or(100));
    responder.send(Response::text(200, "slept\n"))
}

pub(crate) fn env(request: Request, responder: Responder) -> Result<(), Error> {
    let key = request.query("key").unwrap_or_default();
    let value = environment::get_environment().into_iter().find(|(name, _)| *name == key);
    responder.send(match value {
        Some((_, value)) => Response::text(200, value),
        None => Response::text(404, format!("no environment variable \"{key}\"\n")),
    })
}

pub(crate) fn flood(request: Request, responder: Responder) -> Result<(), Error> {
    let lines = request.query_u64("lines").unwrap_or(1000);
    for line in 1..=lines {
        println!("line {line} of {lines}");
    }
    responder.send(Response::text(200, format!("printed {lines} lines\n")))
}

pub(crate) fn stdout_then_trap(_: Request, _: Responder) -> Result<(), Error> {
    println!("the last words of this guest");
    compute::unreachable()
}

pub(crate) fn exit(_: Request, responder: Responder) -> Result<(), Error> {
    exit::exit(Err(()));
    responder.send(Response::text(200, "the host lets guests go on after exit\n"))
}
