//! Faults of holding: memory and resource handles, up to the limit or for ever.

use std::hint::black_box;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use wfn_sdk::wasip2::http::types::Fields;
use wfn_sdk::{Error, Request, RequestExt as _, Response};

use crate::text;

/// Bytes in one block; `mb` counts these.
const BLOCK_BYTES: usize = 1024 * 1024;

/// What [`leak`] has kept so far in this worker.
static LEAKED_MB: AtomicU64 = AtomicU64::new(0);

/// Takes one block and touches each page of it; a refusal aborts, as it does in most guests.
fn touched_block() -> Vec<u8> {
    // Without the black box the optimizer sees that nobody reads the block, and takes none.
    black_box(vec![1; BLOCK_BYTES])
}

pub(crate) fn allocate(request: Request) -> Result<Response, Error> {
    let Some(mb) = request.query::<u64>("mb")? else {
        loop {
            mem::forget(touched_block());
        }
    };
    let blocks: Vec<Vec<u8>> = (0..mb).map(|_| touched_block()).collect();
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    drop(blocks);
    text(format!("allocated and freed {bytes} bytes\n"))
}

pub(crate) fn leak(request: Request) -> Result<Response, Error> {
    let mb = request.query("mb")?.unwrap_or(1u64);
    for _ in 0..mb {
        mem::forget(touched_block());
    }
    let kept = LEAKED_MB.fetch_add(mb, Ordering::Relaxed) + mb;
    text(format!("holding {kept} MB\n"))
}

pub(crate) fn handles(request: Request) -> Result<Response, Error> {
    let n = request.query("n")?.unwrap_or(1000u64);
    for _ in 0..n {
        mem::forget(Fields::new());
    }
    text(format!("left {n} resources behind\n"))
}
