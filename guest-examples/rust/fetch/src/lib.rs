//! Sends requests of its own: one, or many at the same time. Where it may, `allowed_outbound_hosts` says.

use futures_util::future::join_all;
use wstd::http::{Body, Client, Error, HeaderName, Request, Response, StatusCode};
use wstd::time::Duration;

const HELP: &str = "\
/get?URL         GETs URL and passes the answer on
/post?URL        POSTs the request's body to URL and passes the answer on
/as?METHOD&URL   sends the request's body, its type, range, conditions and event to URL with METHOD
/flood?N&URL     POSTs N zeros to URL
/copy?URL&URL    GETs the first and PUTs what it answers to the second
/wait?MS&URL     as /get, but waits no longer than MS milliseconds for the answer's first byte
/all?N&URL       GETs URL N times at the same time and says how many answered 200
";

/// Headers that are passed on, besides those of an event.
const PASSED: [&str; 5] = ["content-type", "range", "if-match", "if-none-match", "if-range"];

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (first, url) = query.split_once('&').unwrap_or(("", &query));
    let number = first.parse().unwrap_or(0);
    let mut client = Client::new();
    let answer = match path.as_str() {
        "/get" => client.send(Request::get(&query).body(Body::empty())?).await,
        "/post" => client.send(Request::post(&query).body(request.into_body())?).await,
        "/flood" => client.send(Request::post(url).body(vec![b'0'; number as usize])?).await,
        "/as" => {
            let (head, body) = request.into_parts();
            let mut request = Request::builder().method(first).uri(url);
            let is_passed =
                |name: &HeaderName| PASSED.contains(&name.as_str()) || name.as_str().starts_with("ce-");
            for (name, value) in head.headers.iter().filter(|(name, _)| is_passed(name)) {
                request = request.header(name, value);
            }
            client.send(request.body(body)?).await
        }
        "/copy" => {
            let read = client.send(Request::get(first).body(Body::empty())?).await;
            match read {
                Ok(answer) if answer.status().is_success() => {
                    client.send(Request::put(url).body(answer.into_body())?).await
                }
                other => other,
            }
        }
        "/wait" => {
            client.set_first_byte_timeout(Duration::from_millis(number));
            client.set_connect_timeout(Duration::from_millis(number));
            client.send(Request::get(url).body(Body::empty())?).await
        }
        "/all" => return all(&client, number, url).await,
        _ => return Ok(Response::builder().status(StatusCode::NOT_FOUND).body(HELP.into())?),
    };
    Ok(match answer {
        Ok(answer) => passed_on(answer, first == "HEAD"),
        Err(error) => refused(&error)?,
    })
}

/// The answer without the headers that are about the connection to its server. One to HEAD says its `length` so, because
/// it has no body of it.
fn passed_on(answer: Response<Body>, is_head: bool) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    let length = if is_head { head.headers.remove("content-length") } else { None };
    head.headers.extend(length.map(|length| (HeaderName::from_static("length"), length)));
    head.headers.remove("connection");
    head.headers.remove("transfer-encoding");
    Response::from_parts(head, body)
}

fn refused(error: &Error) -> Result<Response<Body>, Error> {
    Ok(Response::builder().status(StatusCode::BAD_GATEWAY).body(format!("{error:?}\n").into())?)
}

async fn all(client: &Client, count: u64, url: &str) -> Result<Response<Body>, Error> {
    let one = async || -> Result<bool, Error> {
        let mut answer = client.send(Request::get(url).body(Body::empty())?).await?;
        answer.body_mut().contents().await?;
        Ok(answer.status().is_success())
    };
    let answers = join_all((0..count).map(|_| one())).await;
    let good = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
    Ok(Response::new(format!("{good} of {count} answered\n").into()))
}
