//! Reads an HTML page out of one container and writes the text that a reader sees into another: `POST /NAME`.

use std::sync::LazyLock;

use scraper::{Html, Node};
use serde::Serialize;
use wfn_sdk::blob::Container;
use wfn_sdk::{CallError, Error, Json, Request, RequestExt, Response, Router, StatusCode, handler};

/// Largest page whose text is taken, in bytes; a larger one is answered 413.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a browser does not show.
const HIDDEN: &[&str] = &["script", "style", "template", "noscript", "head"];

#[derive(Serialize)]
struct Written {
    blob: String,
    bytes: usize,
    etag: String,
}

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new().post("/{*name}", extract));

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

fn extract(request: Request) -> Result<Json<Written>, Error> {
    let name: String = request.param("name")?;
    let page = match Container::new("pages").get(&name).send() {
        // The caller chose the name.
        Err(CallError::Refused { code, message, .. }) if code == "invalid-blob-name" => {
            return Err(Error::new(StatusCode::BAD_REQUEST, message));
        }
        page => page?,
    };
    let mut page = page.ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "there is no such page"))?;
    if !page.content_type.starts_with("text/html") {
        return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the blob is not text/html"));
    }
    let html = page.body.read_bytes(PAGE_BYTES_MAX)?;
    let text = text_of(&String::from_utf8_lossy(&html));
    let (blob, bytes) = (format!("{name}.txt"), text.len());
    let etag = Container::new("texts").put(&blob, "text/plain; charset=utf-8", text).send()?;
    Ok(Json(Written { blob, bytes, etag }))
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
