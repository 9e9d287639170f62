//! Stays a core module with a component-type section; the host makes the component at deploy. It prints a line and
//! reads a variable and the clock, so that it needs the adapter for WASI preview 1 where its std is built on that.

use std::time::SystemTime;

use wfn_sdk::{Request, handler};

#[handler]
fn handle(request: Request) -> String {
    println!("asked for {}", request.uri().path());
    let colour = std::env::var("COLOUR").unwrap_or_else(|_| "no colour".to_owned());
    let is_after_1970 = SystemTime::UNIX_EPOCH.elapsed().is_ok_and(|since| !since.is_zero());
    format!("a component by now: {colour}, {is_after_1970}\n")
}
