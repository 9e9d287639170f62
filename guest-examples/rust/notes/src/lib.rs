//! A JSON API over a key-value store: notes that are made, listed, read, changed and removed.
//!
//! A change says by `if-match` which state of the note it was made from; one that comes too late is refused with 412.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use wfn_sdk::kv::{Entry, Store};
use wfn_sdk::{
    Error, IntoResponse, Json, Request, RequestExt, Response, Router, StatusCode, handler, send_all,
};

/// Most bytes of a note as JSON.
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Counts the notes that were ever made; no note has this key, theirs begin with `note/`.
const LAST: &str = "last";

#[derive(Serialize, Deserialize)]
struct Note {
    text: String,
}

#[derive(Serialize)]
struct Numbered {
    id: u64,
    #[serde(flatten)]
    note: Note,
}

#[derive(Serialize)]
struct Page {
    notes: Vec<Numbered>,
    /// What the next page comes after.
    next: Option<u64>,
}

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    Router::new()
        .get("/notes", list)
        .post("/notes", make)
        .get("/notes/{id}", read)
        .put("/notes/{id}", change)
        .delete("/notes/{id}", remove)
});

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

fn store() -> Store {
    Store::new("notes")
}

/// Keys are in the order of their bytes, which with leading zeros is that of the numbers.
fn key(id: u64) -> String {
    format!("note/{id:020}")
}

fn make(mut request: Request) -> Result<Response, Error> {
    let Json(note) = Json::<Note>::read(&mut request, NOTE_BYTES_MAX)?;
    // Two that are made at the same time have two numbers, whichever instances make them.
    let id = store().increment(LAST, 1).send()?.unsigned_abs();
    store().put_json(&key(id), &note).send()?;
    let mut response = (StatusCode::CREATED, Json(Numbered { id, note })).into_response();
    response.headers_mut().insert("location", format!("/notes/{id}").parse()?);
    Ok(response)
}

fn list(request: Request) -> Result<Json<Page>, Error> {
    let after = request.query("after")?.map_or_else(String::new, key);
    let page = store().keys("note/", &after).send()?;
    let ids: Vec<u64> = page.keys.iter().filter_map(|key| key.strip_prefix("note/")?.parse().ok()).collect();
    // Asked for at the same time: together they take as long as one.
    let notes = send_all(ids.iter().map(|id| store().get(&key(*id)).json::<Note>()));
    let mut page = Page { notes: Vec::new(), next: page.next.and(ids.last().copied()) };
    for (id, note) in ids.into_iter().zip(notes) {
        // Gone since the keys were read.
        let Some(note) = note? else { continue };
        page.notes.push(Numbered { id, note });
    }
    Ok(Json(page))
}

/// The note of the request's path as it is stored.
fn find(request: &Request) -> Result<(u64, Entry), Error> {
    let id = request.param("id")?;
    let entry = store().entry(&key(id)).send()?;
    Ok((id, entry.ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "there is no such note"))?))
}

fn read(request: Request) -> Result<Response, Error> {
    let (id, entry) = find(&request)?;
    let note = serde_json::from_slice(&entry.value)?;
    let mut response = Json(Numbered { id, note }).into_response();
    response.headers_mut().insert("etag", entry.version.as_str().parse()?);
    Ok(response)
}

fn change(mut request: Request) -> Result<StatusCode, Error> {
    let (id, entry) = find(&request)?;
    let late = || Error::new(StatusCode::PRECONDITION_FAILED, "the note has changed: read it again");
    if request.headers().get("if-match").is_some_and(|state| state != entry.version.as_str()) {
        return Err(late());
    }
    let Json(note) = Json::<Note>::read(&mut request, NOTE_BYTES_MAX)?;
    let replaced = store().replace(&key(id), serde_json::to_vec(&note)?, &entry.version).send()?;
    if replaced { Ok(StatusCode::NO_CONTENT) } else { Err(late()) }
}

fn remove(request: Request) -> Result<StatusCode, Error> {
    store().delete(&key(request.param("id")?)).send()?;
    Ok(StatusCode::NO_CONTENT)
}
