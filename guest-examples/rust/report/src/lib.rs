//! Counts the visits of pages, and writes a report of them every night: a line for each page.

use std::sync::LazyLock;

use wfn_sdk::blob::Container;
use wfn_sdk::http::header::CONTENT_TYPE;
use wfn_sdk::kv::Store;
use wfn_sdk::timer::Due;
use wfn_sdk::{Error, Event, Json, Request, RequestExt, Response, Router, StatusCode, handler, send_all};

/// Longest name of a page, in bytes.
const PAGE_NAME_BYTES_MAX: usize = 100;
/// Most bytes of an event: times and a schedule are short.
const EVENT_BYTES_MAX: usize = 16 * 1024;

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    Router::new().post("/visits/{page}", visit).post("/nightly", nightly).get("/reports/{date}", report)
});

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

fn visits() -> Store {
    Store::new("visits")
}

fn reports() -> Container {
    Container::new("reports")
}

/// Counts a visit. Two at the same time are both counted, whichever instances count them.
fn visit(request: Request) -> Result<String, Error> {
    let page: String = request.param("page")?;
    if page.len() > PAGE_NAME_BYTES_MAX || page.contains(char::is_control) {
        let message = format!("name a page, in at most {PAGE_NAME_BYTES_MAX} bytes of one line");
        return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    Ok(format!("{}\n", visits().increment(&page, 1).send()?))
}

/// Writes the report of the day that the run is for, in UTC. A run comes again if the host is killed in the middle of it, and
/// another may be fired by hand: the day's first report stays.
fn nightly(mut request: Request) -> Result<StatusCode, Error> {
    if Event::of(&request).is_none() {
        return Err(Error::new(StatusCode::FORBIDDEN, "reports are written by the timer alone"));
    }
    let Json(run) = Json::<Due>::read(&mut request, EVENT_BYTES_MAX)?;
    let date = run.due.split('T').next().unwrap_or_default();
    let written = reports().create(&blob(date), "text/plain; charset=utf-8", counts()?).send()?;
    if written.is_none() {
        println!("the report of {date} is there already");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// All pages in the order of their names, which is that of the store.
fn counts() -> Result<String, Error> {
    let (mut lines, mut after) = (String::new(), Some(String::new()));
    while let Some(from) = after {
        let page = visits().keys("", &from).send()?;
        let counts = send_all(page.keys.iter().map(|key| visits().get(key).json::<u64>()));
        for (name, count) in page.keys.iter().zip(counts) {
            lines += &format!("{name} {}\n", count?.unwrap_or_default());
        }
        after = page.next;
    }
    Ok(lines)
}

fn report(request: Request) -> Result<Response, Error> {
    let date: String = request.param("date")?;
    let is_date = date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let report = if is_date { reports().get(&blob(&date)).send()? } else { None };
    let report =
        report.ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "there is no report of that date"))?;
    let mut response = Response::new(report.body);
    response.headers_mut().insert(CONTENT_TYPE, report.content_type.parse()?);
    Ok(response)
}

/// What the report of a day is called.
fn blob(date: &str) -> String {
    format!("{date}.txt")
}
