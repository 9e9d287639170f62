//! Counts in a key-value store, asynchronously: `/increment?STORE&KEY` adds one to KEY, `/get?STORE&KEY` answers it.

mod bindings {
    wit_bindgen::generate!({
        path: "../../../runtime/wit/wasi-keyvalue.wit",
        world: "imports",
        generate_all,
    });
}

use bindings::wasi::keyvalue::{atomics, store};
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Counter;

impl Guest for Counter {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        match answer(&target) {
            Ok(Some(value)) => text(200, value),
            Ok(None) => text(404, b"not there".to_vec()),
            Err(error) => text(502, format!("{error:?}").into_bytes()),
        }
    }
}

wasip3::http::service::export!(Counter);

fn answer(target: &str) -> Result<Option<Vec<u8>>, store::Error> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (store, key) = query.split_once('&').unwrap_or((query, ""));
    let bucket = store::open(store)?;
    match path {
        "/increment" => Ok(Some(atomics::increment(&bucket, key, 1)?.to_string().into_bytes())),
        "/get" => bucket.get(key),
        _ => Ok(None),
    }
}

fn text(status: u16, text: Vec<u8>) -> Result<Response, ErrorCode> {
    let (mut body, contents) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
    response.set_status_code(status).map_err(|()| ErrorCode::InternalError(None))?;
    spawn_local(async move { drop(body.write_all(text).await) });
    Ok(response)
}
