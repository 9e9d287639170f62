//! Answers HTTP requests; one instance answers one at a time.

use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    match request.uri().path() {
        "/" => Ok(Response::new("Hello from {{name}}!\n".into())),
        // The request's body is the response's, streamed back as it arrives.
        "/echo" => Ok(Response::new(request.into_body())),
        _ => Ok(Response::builder().status(StatusCode::NOT_FOUND).body("not found\n".into())?),
    }
}
