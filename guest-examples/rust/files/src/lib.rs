//! Serves the files that came with it, and tries what it may not do with them.

use std::fs::{self, File};
use std::io;
use std::sync::LazyLock;

use wfn_sdk::http::header::CONTENT_TYPE;
use wfn_sdk::{Error, IntoResponse, Request, RequestExt, Response, Router, StatusCode, handler};

const HELP: &str = "\
GET /pages/NAME        the page NAME.html of /assets/pages
GET /read?path=P       the file P
GET /list?path=P       the names in the folder P, one a line
GET /write?path=P      tries to write to P
GET /remove?path=P     tries to remove P
GET /link?path=P       tries to make a link P to /etc
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

/// What came of it, or 403 with the error.
fn told(request: &Request, what: impl Fn(&str) -> io::Result<String>) -> Result<Response, Error> {
    let path: String = request.query("path")?.unwrap_or_default();
    match what(&path) {
        Ok(text) => Ok(text.into_response()),
        Err(error) => Err(Error::new(StatusCode::FORBIDDEN, error.to_string())),
    }
}
