//! Answers HTTP requests; one instance answers many at a time, going on with others while one waits.

use http::{Response, StatusCode};
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{self, ErrorCode};
use wasip3::http_compat::{Request, http_from_wasi_request, http_into_wasi_response};

struct Function;

wasip3::http::service::export!(Function);

impl wasip3::exports::http::handler::Guest for Function {
    async fn handle(request: types::Request) -> Result<types::Response, ErrorCode> {
        let request = http_from_wasi_request(request)?;
        match request.uri().path() {
            // The request's body is the response's, streamed back as it arrives.
            "/echo" => http_into_wasi_response(Response::new(request.into_body())),
            _ => http_into_wasi_response(answer(request).await),
        }
    }
}

async fn answer(request: Request) -> Response<String> {
    let mut response = Response::new(String::new());
    match request.uri().path() {
        "/" => *response.body_mut() = "Hello from {{name}}!\n".to_owned(),
        "/wait" => {
            // Other requests are answered meanwhile.
            monotonic_clock::wait_for(100_000_000).await;
            *response.body_mut() = "waited 100 ms\n".to_owned();
        }
        _ => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            *response.body_mut() = "not found\n".to_owned();
        }
    }
    response
}
