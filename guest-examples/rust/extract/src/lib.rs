//! Keeps beside each HTML page the text that a reader sees: a page that is put into one container has its text written into
//! another by itself. `POST /NAME` does it for one page and says what it has written.

use std::sync::LazyLock;

use scraper::{Html, Node};
use serde::Serialize;
use wfn_sdk::blob::{Blob, Container, Written};
use wfn_sdk::{CallError, Error, Event, Json, Request, RequestExt, Response, Router, StatusCode, handler};

/// Largest page whose text is taken, in bytes; a larger one is answered 413.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of an event: names and types are short.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// What a browser does not show.
const HIDDEN: &[&str] = &["script", "style", "template", "noscript", "head"];

#[derive(Serialize)]
struct Text {
    blob: String,
    bytes: usize,
    etag: String,
}

// No page has an empty name: `/` is free for the events.
static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new().post("/", arrived).post("/{*name}", asked));

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

/// A page was put. It may come twice: the second time writes the same text under the same name.
fn arrived(mut request: Request) -> Result<StatusCode, Error> {
    if Event::of(&request).is_none() {
        return Err(Error::new(StatusCode::FORBIDDEN, "name a page: POST /NAME"));
    }
    let Json(page) = Json::<Written>::read(&mut request, EVENT_BYTES_MAX)?;
    match extract(&page.name) {
        // Removed since, or not HTML: nothing is to be done, now or later.
        Err(error)
            if matches!(error.status(), StatusCode::NOT_FOUND | StatusCode::UNSUPPORTED_MEDIA_TYPE) =>
        {
            Ok(StatusCode::NO_CONTENT)
        }
        extracted => extracted.map(|_| StatusCode::NO_CONTENT),
    }
}

fn asked(request: Request) -> Result<Json<Text>, Error> {
    extract(&request.param::<String>("name")?).map(Json)
}

/// Writes the text of the page of this name. Two versions of it may be read at the same time, and the text of the older be
/// written last: whoever finds another version than it has read begins again.
fn extract(name: &str) -> Result<Text, Error> {
    let mut page = find(name)?;
    loop {
        if !page.content_type.starts_with("text/html") {
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the blob is not text/html"));
        }
        let html = page.body.read_bytes(PAGE_BYTES_MAX)?;
        let text = text_of(&String::from_utf8_lossy(&html));
        let (blob, bytes) = (format!("{name}.txt"), text.len());
        let etag = Container::new("texts").put(&blob, "text/plain; charset=utf-8", text).send()?;
        let newest = find(name)?;
        if newest.etag == page.etag {
            return Ok(Text { blob, bytes, etag });
        }
        page = newest;
    }
}

fn find(name: &str) -> Result<Blob, Error> {
    let page = match Container::new("pages").get(name).send() {
        // The caller chose the name.
        Err(CallError::Refused { code, message, .. }) if code == "invalid-blob-name" => {
            return Err(Error::new(StatusCode::BAD_REQUEST, message));
        }
        page => page?,
    };
    page.ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "there is no such page"))
}

/// The page's text, a line for each piece, without what is not shown.
fn text_of(html: &str) -> String {
    let document = Html::parse_document(html);
    let mut text = String::new();
    for node in document.tree.nodes() {
        let Node::Text(piece) = node.value() else { continue };
        let is_hidden =
            |node: &Node| node.as_element().is_some_and(|element| HIDDEN.contains(&element.name()));
        let words: Vec<&str> = piece.split_whitespace().collect();
        if !words.is_empty() && !node.ancestors().any(|ancestor| is_hidden(ancestor.value())) {
            text += &words.join(" ");
            text.push('\n');
        }
    }
    text
}
