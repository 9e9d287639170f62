//! Faults of computing: traps, panics, endless loops, endless recursion.

use std::hint::black_box;

use wfn_sdk::wasip2::clocks::monotonic_clock;
use wfn_sdk::{Error, Request, RequestExt as _, Response};

use crate::text;

/// Executes the `unreachable` instruction (natively: aborts).
pub(crate) fn unreachable() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

pub(crate) fn trap(_: Request) -> Result<Response, Error> {
    unreachable()
}

pub(crate) fn panic(_: Request) -> Result<Response, Error> {
    panic!("this guest was asked to panic")
}

pub(crate) fn spin(request: Request) -> Result<Response, Error> {
    let Some(ms) = request.query::<u64>("ms")? else {
        loop {
            black_box(0);
        }
    };
    let until = monotonic_clock::now().saturating_add(ms.saturating_mul(1_000_000));
    while monotonic_clock::now() < until {
        // Mostly computing: the clock is a call to the host.
        for turn in 0..10_000 {
            black_box(turn);
        }
    }
    text(format!("spun for {ms} ms\n"))
}

pub(crate) fn recurse(_: Request) -> Result<Response, Error> {
    let depth = descend(1);
    text(format!("came back from {depth}\n"))
}

/// Calls itself with a frame that cannot be optimized away.
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    if black_box(depth) == 0 {
        return frame[0];
    }
    descend(frame[0] + 1) + frame[31]
}
