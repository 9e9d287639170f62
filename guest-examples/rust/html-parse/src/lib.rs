//! Parses the HTML page in a POST body and answers what is in it as JSON.

use html_count::count;
use wfn_sdk::{Error, Request, Responder, Response, json};

/// Largest page that is parsed, in bytes; a larger one is answered 413.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

wfn_sdk::handler!(handle);

fn handle(mut request: Request, responder: Responder) -> Result<(), Error> {
    if request.method() != "POST" {
        let help = "POST an HTML page here: curl --data-binary @page.html URL\n";
        return responder.send(Response::text(405, help).header("allow", "POST"));
    }
    let page = match request.read_body(PAGE_BYTES_MAX) {
        Ok(page) => page,
        Err(Error::BodyTooLarge { limit_bytes }) => {
            let help = format!("the page is larger than {limit_bytes} bytes\n");
            return responder.send(Response::text(413, help));
        }
        Err(error) => {
            let help = format!("failed to read the page: {error}\n");
            return responder.send(Response::text(400, help));
        }
    };
    let counts = count(&String::from_utf8_lossy(&page));
    responder.send(Response::json(
        200,
        format!(
            "{{\"elements\":{},\"links\":{},\"text_bytes\":{},\"title\":{}}}\n",
            counts.elements,
            counts.links,
            counts.text_bytes,
            json::quote(&counts.title)
        ),
    ))
}
