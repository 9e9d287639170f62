//! Parses the HTML page in a POST body and answers what is in it as JSON.

use std::sync::LazyLock;

use html_count::{Counts, count};
use wfn_sdk::{Error, Json, Request, Response, Router, handler};

/// Largest page that is parsed, in bytes; a larger one is answered 413.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new().post("/", parse));

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

fn parse(mut request: Request) -> Result<Json<Counts>, Error> {
    let page = request.body_mut().read_bytes(PAGE_BYTES_MAX)?;
    Ok(Json(count(&String::from_utf8_lossy(&page))))
}
