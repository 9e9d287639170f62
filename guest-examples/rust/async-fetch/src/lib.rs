//! Sends requests of its own, asynchronously: one, or many at the same time, while others run in the same worker.

use futures_util::future::join_all;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::{spawn_local, wit_future, wit_stream};

const HELP: &str = "\
/get?URL         GETs URL and passes the answer on
/post?URL        POSTs the request's body to URL and passes the answer on
/all?N&URL       GETs URL N times at the same time and says how many answered 200
";

struct Fetch;

impl Guest for Fetch {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let answer = match path {
            "/get" => get(query).await,
            "/post" => post(query, request).await,
            "/all" => {
                let (number, url) = query.split_once('&').unwrap_or(("0", query));
                return all(number.parse().unwrap_or(0), url).await;
            }
            _ => return text(404, HELP.to_owned()),
        };
        match answer {
            Ok(answer) => pass_on(answer),
            Err(error) => text(502, format!("{error:?}\n")),
        }
    }
}

wasip3::http::service::export!(Fetch);

/// A request without a body.
fn to(url: &str) -> Result<Request, ErrorCode> {
    let (_, end) = wit_future::new(|| Ok(None));
    // Whether the request went out whole is seen by its answer.
    let (request, _sent) = Request::new(Fields::new(), None, end, None);
    aim(&request, url)?;
    Ok(request)
}

fn aim(request: &Request, url: &str) -> Result<(), ErrorCode> {
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let (scheme, rest) = url.split_once("://").ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let path = rest.find('/').unwrap_or(rest.len());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(&rest[..path])).map_err(invalid)?;
    request.set_path_with_query(Some(&rest[path..])).map_err(invalid)
}

async fn get(url: &str) -> Result<Response, ErrorCode> {
    client::send(to(url)?).await
}

/// Hands the body over: the host streams it from the caller to the other server.
async fn post(url: &str, request: Request) -> Result<Response, ErrorCode> {
    let (_, done) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Request::consume_body(request, done);
    let (outbound, _sent) = Request::new(Fields::new(), Some(contents), trailers, None);
    outbound.set_method(&Method::Post).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    aim(&outbound, url)?;
    client::send(outbound).await
}

fn pass_on(answer: Response) -> Result<Response, ErrorCode> {
    let status = answer.get_status_code();
    let headers = answer.get_headers().clone();
    for name in ["connection", "transfer-encoding"] {
        // Absent most of the time.
        let _ = headers.delete(name);
    }
    let (_, done) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Response::consume_body(answer, done);
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    response.set_status_code(status).map_err(|()| ErrorCode::InternalError(None))?;
    Ok(response)
}

async fn all(count: usize, url: &str) -> Result<Response, ErrorCode> {
    let one = async || {
        let answer = get(url).await.ok()?;
        let status = answer.get_status_code();
        let (_, done) = wit_future::new(|| Ok(()));
        let (contents, _trailers) = Response::consume_body(answer, done);
        contents.collect().await;
        (200..300).contains(&status).then_some(())
    };
    let answers = join_all((0..count).map(|_| one())).await;
    let good = answers.iter().flatten().count();
    text(200, format!("{good} of {count} answered\n"))
}

fn text(status: u16, text: String) -> Result<Response, ErrorCode> {
    let (mut body, contents) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
    response.set_status_code(status).map_err(|()| ErrorCode::InternalError(None))?;
    spawn_local(async move { drop(body.write_all(text.into_bytes()).await) });
    Ok(response)
}
