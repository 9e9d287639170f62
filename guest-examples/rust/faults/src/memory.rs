//! Faults of holding: memory and resource handles, up to the limit or for ever.

use std::hint::black_box;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use wfn_sdk::wasip2::http::types::Fields;
use wfn_sdk::{Error, Request, Responder, Response};

/// Bytes in one block; `mb` counts these.
const BLOCK_BYTES: usize = 1024 * 1024;

/// What [`leak`] has kept so far in this worker.
static LEAKED_MB: AtomicU64 = AtomicU64::new(0);

/// Takes one block and touches each page of it; a refusal aborts, as it does in most guests.
fn touched_block() -> Vec<u8> {
    // Without the black box the optimizer sees that nobody reads the block, and takes none.
    black_box(vec![1; BLOCK_BYTES])
}

pub(crate) fn allocate(request: Request, responder: Responder) -> Result<(), Error> {
    let Some(mb) = request.query_u64("mb") else {
        loop {
            mem::forget(touched_block());
        }
    };
    let blocks: Vec<Vec<u8>> = (0..mb).map(|_| touched_block()).collect();
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    drop(blocks);
    responder.send(Response::text(200, format!("allocated and freed {bytes} bytes\n")))
}

pub(crate) fn leak(request: Request, responder: Responder) -> Result<(), Error> {
    let mb = request.query_u64("mb").unwrap_or(1);
    for _ in 0..mb {
        mem::forget(touched_block());
    }
    let kept = LEAKED_MB.fetch_add(mb, Ordering::Relaxed) + mb;
    responder.send(Response::text(200, format!("holding {kept} MB\n")))
}

pub(crate) fn handles(request: Request, responder: Responder) -> Result<(), Error> {
    let n = request.query_u64("n").unwrap_or(1000);
    for _ in 0..n {
        mem::forget(Fields::new());
    }
    responder.send(Response::text(200, format!("left {n} resources behind\n")))
}
