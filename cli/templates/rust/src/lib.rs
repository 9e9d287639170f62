//! The function {{name}}: answers every request with a greeting.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path();
    println!("{} {path}", request.method());
    Ok(Response::new(format!("Hello from {{name}}, you asked for {path}\n").into()))
}
