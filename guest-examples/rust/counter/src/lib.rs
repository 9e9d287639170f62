//! Keeps what it is told in key-value stores: every call of wasi:keyvalue. Which stores it may use, `key_value_stores`
//! says.

mod bindings {
    wit_bindgen::generate!({
        path: "../../../runtime/wit/wasi-keyvalue.wit",
        world: "imports",
        generate_all,
    });
}

use bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use bindings::wasi::keyvalue::batch;
use bindings::wasi::keyvalue::store::{self, Error};
use wstd::http::{Body, Request, Response, StatusCode};

const HELP: &str = "\
/get?STORE&KEY          the value of KEY
/exists?STORE&KEY       whether there is KEY
/put?STORE&KEY          sets KEY to the request's body
/delete?STORE&KEY       removes KEY
/list?STORE[&CURSOR]    a page of keys, one a line, and the next page's cursor
/increment?STORE&KEY&N  adds N to KEY
/add?STORE&KEY&N        the same by compare-and-swap, again until nobody was faster
/create?STORE&KEY       sets KEY to the request's body unless it is there
/batch?STORE&N          sets, gets and deletes N keys at once
/fill?STORE&N           sets N bytes at once, in keys of a kilobyte
";

/// What a path is answered with.
type Answer = Result<(StatusCode, Vec<u8>), Error>;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, wstd::http::Error> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut body = request.into_body();
    let value = body.contents().await?.to_vec();
    let mut parts = query.split('&').map(decoded);
    let mut part = || parts.next().unwrap_or_default();
    let (store, key, number) = (part(), part(), part().parse().unwrap_or(1));
    let (status, body) = match answer(&path, &store, &key, number, &value) {
        Ok(answer) => answer,
        Err(Error::NoSuchStore) => (StatusCode::NOT_FOUND, b"no such store\n".to_vec()),
        Err(Error::AccessDenied) => (StatusCode::FORBIDDEN, b"access denied\n".to_vec()),
        Err(Error::Other(why)) => (StatusCode::BAD_GATEWAY, format!("{why}\n").into_bytes()),
    };
    Ok(Response::builder().status(status).body(body.into())?)
}

fn answer(path: &str, store: &str, key: &str, number: i64, value: &[u8]) -> Answer {
    if path == "/" {
        return text(HELP);
    }
    let bucket = store::open(store)?;
    match path {
        "/get" => match bucket.get(key)? {
            Some(value) => Ok((StatusCode::OK, value)),
            None => Ok((StatusCode::NOT_FOUND, b"no such key\n".to_vec())),
        },
        "/exists" => text(bucket.exists(key)?),
        "/put" => bucket.set(key, value).and_then(|()| text("done")),
        "/delete" => bucket.delete(key).and_then(|()| text("done")),
        "/list" => {
            let page = bucket.list_keys(Some(key).filter(|cursor| !cursor.is_empty()))?;
            text(format!("{}\nnext {}", page.keys.join("\n"), page.cursor.unwrap_or_default()))
        }
        "/increment" => text(atomics::increment(&bucket, key, number)?),
        "/add" => add(Cas::new(&bucket, key)?, number),
        "/create" => {
            let cas = Cas::new(&bucket, key)?;
            match cas.current()? {
                Some(_) => text("it is there"),
                None => match atomics::swap(cas, value) {
                    Ok(()) => text("done"),
                    Err(CasError::CasFailed(_)) => text("somebody was faster"),
                    Err(CasError::StoreError(error)) => Err(error),
                },
            }
        }
        "/batch" => {
            let names: Vec<String> = (0..key.parse().unwrap_or(0)).map(|n| format!("batch-{n}")).collect();
            let entries: Vec<_> =
                names.iter().map(|name| (name.clone(), name.clone().into_bytes())).collect();
            batch::set_many(&bucket, &entries)?;
            let got: Vec<_> = batch::get_many(&bucket, &names)?.into_iter().flatten().collect();
            let is_whole = got == entries;
            batch::delete_many(&bucket, &names)?;
            let left = batch::get_many(&bucket, &names)?.into_iter().flatten().count();
            text(format!("{} set, got them {is_whole}, {left} left", names.len()))
        }
        "/fill" => {
            let entries: Vec<_> = (0..key.parse().unwrap_or(0_usize).div_ceil(1024))
                .map(|n| (format!("fill-{n}"), vec![b'x'; 1024]))
                .collect();
            batch::set_many(&bucket, &entries).and_then(|()| text("done"))
        }
        _ => Ok((StatusCode::NOT_FOUND, HELP.into())),
    }
}

fn add(mut cas: Cas, number: i64) -> Answer {
    loop {
        let current = cas.current()?.unwrap_or_else(|| b"0".to_vec());
        let current: i64 = String::from_utf8_lossy(&current).parse().unwrap_or(0);
        let sum = (current + number).to_string();
        match atomics::swap(cas, sum.as_bytes()) {
            Ok(()) => return text(sum),
            Err(CasError::CasFailed(newer)) => cas = newer,
            Err(CasError::StoreError(error)) => return Err(error),
        }
    }
}

fn text(text: impl ToString) -> Answer {
    Ok((StatusCode::OK, format!("{}\n", text.to_string().trim_end()).into_bytes()))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
