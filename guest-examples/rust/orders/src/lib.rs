//! Order intake: an order is answered as soon as it is durable in a queue; a function books it, once.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use wfn_sdk::kv::Store;
use wfn_sdk::queue::Queue;
use wfn_sdk::{
    Error, Event, IntoResponse, Json, Request, RequestExt, Response, Router, StatusCode, handler, send_all,
};

/// Most bytes of an order as JSON.
const ORDER_BYTES_MAX: usize = 16 * 1024;

#[derive(Serialize, Deserialize)]
struct Order {
    article: String,
    quantity: u32,
}

static ROUTER: LazyLock<Router> =
    LazyLock::new(|| Router::new().post("/orders", take).post("/book", book).get("/sold/{article}", sold));

#[handler]
fn handle(request: Request) -> Response {
    ROUTER.handle(request)
}

/// Takes an order. Whoever gets the answer may rely on it.
fn take(mut request: Request) -> Result<Response, Error> {
    let Json(order) = Json::<Order>::read(&mut request, ORDER_BYTES_MAX)?;
    let is_name = (1..=100).contains(&order.article.len()) && !order.article.contains('/');
    if order.quantity == 0 || !is_name {
        let message = "name an article, in 1 to 100 bytes without '/', and a quantity of 1 or more";
        return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    let sent = Queue::new("orders").send_json(&order).send()?;
    Ok((StatusCode::ACCEPTED, Json(sent.id)).into_response())
}

/// Books an order that the queue delivers. It may come twice, if the host is killed before it has noted that it was
/// booked: the second time makes no difference, because it writes the same under the same key.
fn book(mut request: Request) -> Result<StatusCode, Error> {
    let Some(event) = Event::of(&request) else {
        return Err(Error::new(StatusCode::FORBIDDEN, "orders are booked from the queue alone"));
    };
    let Json(order) = Json::<Order>::read(&mut request, ORDER_BYTES_MAX)?;
    let key = format!("{}{}", prefix(&order.article), event.id);
    books().put(&key, order.quantity.to_string()).send()?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many of an article were sold.
fn sold(request: Request) -> Result<String, Error> {
    let prefix = prefix(&request.param::<String>("article")?);
    let (mut sum, mut after) = (0, Some(String::new()));
    while let Some(from) = after {
        let page = books().keys(&prefix, &from).send()?;
        for value in send_all(page.keys.iter().map(|key| books().get(key).json::<u64>())) {
            sum += value?.unwrap_or_default();
        }
        after = page.next;
    }
    Ok(format!("{sum}\n"))
}

fn books() -> Store {
    Store::new("books")
}

/// What the keys of all orders of an article begin with.
fn prefix(article: &str) -> String {
    format!("sold/{article}/")
}
