//! Passes requests on to the server that the setting `UPSTREAM` names, and keeps its answers to GET in a key-value store:
//! `x-cache` says `hit`, `miss`, `pass` (not one to keep) or `stale` (the server does not answer, but did once).

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wfn_sdk::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use wfn_sdk::kv::Store;
use wfn_sdk::{Body, Bytes, CallError, Error, Method, Request, Response, StatusCode, fetch, handler};

/// Largest answer that is kept, in bytes: with its head, it has to fit into a value of the store.
const KEPT_BYTES_MAX: usize = 512 * 1024;

/// What is kept before the bytes of the body, in one line of JSON.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Seconds since 1970 until which it is as good as new.
    until: u64,
    content_type: String,
}

#[handler]
async fn handle(request: Request) -> Result<Response, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let of_one_caller =
        ["authorization", "cookie", "range"].iter().any(|name| request.headers().contains_key(*name));
    if request.method() != Method::GET || of_one_caller {
        return marked(ask(request, &path).await?, "pass");
    }
    let answers = Store::new("answers");
    let known = answers.get(&path).await?.and_then(parsed);
    if let Some((kept, body)) = &known
        && now() < kept.until
    {
        return marked(answer(kept, body)?, "hit");
    }
    let mut fresh = match (ask(request, &path).await, &known) {
        (Ok(fresh), _) if !fresh.status().is_server_error() => fresh,
        (_, Some((kept, body))) => return marked(answer(kept, body)?, "stale"),
        (fresh, None) => fresh?,
    };
    let Some(lifetime) = lifetime(&fresh) else { return marked(fresh, "pass") };
    let content_type = fresh.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kept =
        Kept { until: now() + lifetime.as_secs(), content_type: content_type.unwrap_or_default().to_owned() };
    let body = fresh.body_mut().collect_bytes(KEPT_BYTES_MAX).await?;
    let mut value = serde_json::to_vec(&kept)?;
    value.push(b'\n');
    value.extend_from_slice(&body);
    answers.put(&path, value).await?;
    marked(answer(&kept, &body)?, "miss")
}

/// Asks the server the same.
async fn ask(request: Request, path: &str) -> Result<Response, CallError> {
    let (mut head, body) = request.into_parts();
    let body = if head.method == Method::GET { Body::empty() } else { body };
    let upstream = env::var("UPSTREAM").unwrap_or_default();
    let uri = format!("{}{path}", upstream.trim_end_matches('/')).parse();
    head.uri = uri.map_err(|error| CallError::Invalid(format!("UPSTREAM is no URL: {error}")))?;
    // It is about this server's name, not the other's; the rest of the head means the same there.
    head.headers.remove(HOST);
    let mut response = fetch(Request::from_parts(head, body)).await?;
    // These are about the connection to the other server.
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

/// How long an answer is as good as new; none if it is not one to keep.
fn lifetime(response: &Response) -> Option<Duration> {
    let length = response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse::<usize>().ok()?;
    let control =
        response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut directives = control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let mut seconds = env::var("SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(60);
    // What depends on more than the path would have to be kept more than once.
    let depends =
        ["vary", "content-encoding", "set-cookie"].iter().any(|name| response.headers().contains_key(*name));
    if response.status() != StatusCode::OK || length > KEPT_BYTES_MAX || depends {
        return None;
    }
    for directive in &mut directives {
        match directive.split_once('=') {
            Some(("max-age", age)) => seconds = age.parse().ok()?,
            _ if ["no-store", "no-cache", "private"].contains(&directive.as_str()) => return None,
            _ => {}
        }
    }
    Some(Duration::from_secs(seconds))
}

/// A kept answer and its body; none of what is not one.
fn parsed(value: Bytes) -> Option<(Kept, Bytes)> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    Some((serde_json::from_slice(&value[..end]).ok()?, value.slice(end + 1..)))
}

fn answer(kept: &Kept, body: &Bytes) -> Result<Response, Error> {
    let mut response = Response::builder();
    if !kept.content_type.is_empty() {
        response = response.header(CONTENT_TYPE, &kept.content_type);
    }
    Ok(response.body(body.clone().into())?)
}

fn marked(mut response: Response, how: &'static str) -> Result<Response, Error> {
    response.headers_mut().insert("x-cache", how.parse()?);
    Ok(response)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
