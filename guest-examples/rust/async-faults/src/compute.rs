//! Faults of computing and holding: traps, loops that never yield, memory, the stack.

use std::hint::black_box;
use std::mem;

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Response};

use crate::response::text;

/// Bytes in one block; `mb` counts these.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Executes the `unreachable` instruction (natively: aborts).
pub(crate) fn unreachable() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

pub(crate) fn spin(ms: Option<u64>) -> Result<Response, ErrorCode> {
    let Some(ms) = ms else {
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
    text(200, &format!("spun for {ms} ms\n"))
}

pub(crate) fn allocate(mb: Option<u64>) -> Result<Response, ErrorCode> {
    let Some(mb) = mb else {
        loop {
            mem::forget(touched_block());
        }
    };
    let blocks: Vec<Vec<u8>> = (0..mb).map(|_| touched_block()).collect();
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    drop(blocks);
    text(200, &format!("allocated and freed {bytes} bytes\n"))
}

/// Takes one block and touches each page of it; a refusal aborts, as it does in most guests.
fn touched_block() -> Vec<u8> {
    // Without the black box the optimizer sees that nobody reads the block, and takes none.
    black_box(vec![1; BLOCK_BYTES])
}

pub(crate) fn recurse() -> Result<Response, ErrorCode> {
    let depth = descend(1);
    text(200, &format!("came back from {depth}\n"))
}

/// Calls itself with a frame that cannot be optimized away.
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    if black_box(depth) == 0 {
        return frame[0];
    }
    descend(frame[0] + 1) + frame[31]
}
