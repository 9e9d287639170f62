//! Serves the files that came with it, and tries what it may not do with them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::{LazyLock, Mutex};

use wfn_sdk::http::header::CONTENT_TYPE;
use wfn_sdk::{Error, IntoResponse, Request, RequestExt, Response, Router, StatusCode, handler};

const HELP: &str = "\
GET /pages/NAME        the page NAME.html of /assets/pages
GET /read?path=P       the file P
GET /list?path=P       the names in the folder P, one a line
GET /write?path=P      tries to write to P
GET /remove?path=P     tries to remove P
GET /link?path=P       tries to make a link P to /etc
GET /fill?path=P&bytes=N   writes up to N bytes to P and says how many
GET /hide?path=P&bytes=N   the same with a file that is removed at once and stays open
GET /many?path=P&count=N   makes up to N files in the folder P and says how many
";

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    Router::new()
        .get("/", |_| HELP)
        .get("/pages/{name}", page)
        .get("/read", |request| told(&request, |path| fs::read_to_string(path)))
        .get("/list", |request| told(&request, list))
        .get("/write", |request| told(&request, |path| fs::write(path, "x").map(|()| "written".to_owned())))
        .get("/remove", |request| told(&request, |path| fs::remove_file(path).map(|()| "removed".to_owned())))
        .get("/link", |request| told(&request, link))
        .get("/fill", |request| {
            counted(&request, "bytes", |path, bytes| fill(&mut File::create(path)?, bytes))
        })
        .get("/hide", |request| counted(&request, "bytes", hide))
        .get("/many", |request| counted(&request, "count", many))
});

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

fn page(request: Request) -> Result<Response, Error> {
    let name: String = request.param("name")?;
    let path = format!("/assets/pages/{name}.html");
    match File::open(path).and_then(io::read_to_string) {
        Ok(page) => {
            Ok(Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8").body(page.into())?)
        }
        Err(error) => Err(Error::new(StatusCode::NOT_FOUND, error.to_string())),
    }
}

fn list(path: &str) -> io::Result<String> {
    let mut names: Vec<String> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names.join("\n"))
}

#[expect(deprecated, reason = "the one portable function that makes a symbolic link")]
fn link(path: &str) -> io::Result<String> {
    fs::soft_link("/etc", path).map(|()| "linked".to_owned())
}

/// How many bytes the file took.
fn fill(file: &mut File, bytes: u64) -> io::Result<u64> {
    let chunk = [b'x'; 4096];
    let mut written = 0;
    while written < bytes {
        let wanted = chunk.len().min(usize::try_from(bytes - written).unwrap_or(usize::MAX));
        match file.write(&chunk[..wanted]) {
            Ok(count) => written += count as u64,
            Err(error) => {
                eprintln!("after {written} bytes: {error}");
                break;
            }
        }
    }
    Ok(written)
}

static HIDDEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn hide(path: &str, bytes: u64) -> io::Result<u64> {
    let mut file = File::create(path)?;
    fs::remove_file(path)?;
    let written = fill(&mut file, bytes)?;
    if let Ok(mut hidden) = HIDDEN.lock() {
        hidden.push(file);
    }
    Ok(written)
}

fn many(folder: &str, count: u64) -> io::Result<u64> {
    Ok((0..count).take_while(|number| File::create(format!("{folder}/{number}")).is_ok()).count() as u64)
}

fn counted(
    request: &Request,
    name: &str,
    what: impl Fn(&str, u64) -> io::Result<u64>,
) -> Result<Response, Error> {
    let most: u64 = request.query(name)?.unwrap_or_default();
    told(request, |path| what(path, most).map(|count| count.to_string()))
}

/// What came of it, or 403 with the error.
fn told(request: &Request, what: impl Fn(&str) -> io::Result<String>) -> Result<Response, Error> {
    let path: String = request.query("path")?.unwrap_or_default();
    match what(&path) {
        Ok(text) => Ok(text.into_response()),
        Err(error) => Err(Error::new(StatusCode::FORBIDDEN, error.to_string())),
    }
}
