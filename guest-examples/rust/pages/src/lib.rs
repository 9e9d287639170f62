//! Declares 24 MB of memory, as the image of an interpreter does, and writes `?mb=N` of them. Then it waits for the request's body.

use std::sync::atomic::{AtomicU8, Ordering};

use wfn_sdk::{Error, Request, RequestExt as _, handler};

const MEGABYTE: usize = 1024 * 1024;
const PAGE_BYTES: usize = 4096;

/// Nobody writes it unless asked to.
static BLOCK: [AtomicU8; 24 * MEGABYTE] = [const { AtomicU8::new(0) }; 24 * MEGABYTE];

/// Answers with how many pages it wrote.
#[handler]
fn main(mut request: Request) -> Result<String, Error> {
    let megabytes: usize = request.query("mb")?.unwrap_or(0);
    let pages = BLOCK.iter().step_by(PAGE_BYTES).take(megabytes.min(24) * MEGABYTE / PAGE_BYTES);
    let mut written = 0;
    for byte in pages {
        byte.fetch_add(1, Ordering::Relaxed);
        written += 1;
    }
    request.body_mut().read_bytes(1_000_000)?;
    Ok(format!("{written} pages\n"))
}
