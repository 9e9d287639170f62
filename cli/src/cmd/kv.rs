//! `wfn kv`: what an app has stored in its key-value stores, to look at and to change.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::{Method, Response};
use wfn_manifest::limits;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, encoded_segment};
use crate::cmd::stores::{Overview, print_pages};
use crate::cmd::{app_name, given_bytes, text_of};
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn kv`.
#[derive(Debug, Args)]
#[command(after_help = "An app has the stores that its wfn.toml names as key_value_stores.")]
pub struct Kv {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the value of a key
    Get(Get),
    /// Set the value of a key
    Put(Put),
    /// List the keys of a store, or the stores of an app
    Ls(List),
    /// Remove a key
    Rm(Remove),
}

/// Which key.
#[derive(Debug, Args)]
struct Place {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// One of its stores
    #[arg(value_name = "STORE")]
    store: String,

    /// The key
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: String,
}

#[derive(Debug, Args)]
#[command(after_help = "The value goes to stdout as it is.")]
struct Get {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Put {
    #[command(flatten)]
    place: Place,

    /// The value: text, @FILE, or - for stdin
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
}

#[derive(Debug, Args)]
struct List {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// One of its stores
    #[arg(value_name = "STORE")]
    store: Option<String>,

    /// Keys that begin with this alone
    #[arg(long, value_name = "TEXT", requires = "store", allow_hyphen_values = true)]
    prefix: Option<String>,
}

#[derive(Debug, Args)]
struct Remove {
    #[command(flatten)]
    place: Place,
}

impl Kv {
    /// Does it.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        match self.action {
            Action::Get(Get { place }) => {
                get(&client, &place, global.json).while_doing(|| format!("get a key of {}", place.app))
            }
            Action::Put(put) => {
                put.run(&client, global.json).while_doing(|| format!("put a key of {}", put.place.app))
            }
            Action::Ls(list) => {
                list.run(&client, global.json).while_doing(|| format!("list what {} has stored", list.app))
            }
            Action::Rm(Remove { place }) => {
                remove(&client, &place, global.json).while_doing(|| format!("remove a key of {}", place.app))
            }
        }
    }
}

impl Place {
    fn path(&self) -> String {
        let (store, key) = (encoded_segment(&self.store), encoded_segment(&self.key));
        app_path(&self.app, &format!("/kv/{store}/{key}"))
    }
}

fn get(client: &Client, place: &Place, as_json: bool) -> Done {
    let response = client.stream(&place.path())?;
    let version = header(&response, "etag").trim_matches('"').parse::<i64>().ok();
    let mut value = Vec::new();
    response
        .into_body()
        .into_reader()
        .read_to_end(&mut value)
        .map_err(|error| Failure::new(format!("the answer was cut: {error}")))?;
    if !as_json {
        return output::write(&value);
    }
    let text = std::str::from_utf8(&value).ok();
    let mut shown = json!({ "key": place.key, "version": version, "bytes": value.len(), "value": text });
    if text.is_none() {
        shown["value_hex"] = value.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    }
    output::print_json(&shown)
}

impl Put {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let value = given_bytes(&self.value, limits::KEY_VALUE_VALUE_BYTES_MAX, "value")?;
        let request = client.request(Method::PUT, &self.place.path()).header("content-length", value.len());
        let body = SendBody::from_owned_reader(io::Cursor::new(value));
        let put = client.json(client.send(request.body(body), None)?)?;
        if as_json {
            return output::print_json(&put);
        }
        let bytes = output::bytes(put["bytes"].as_u64().unwrap_or_default());
        output::print(&format!("put {} in {}: {bytes}", output::line(&self.place.key), self.place.store))
    }
}

const STORES: Overview =
    Overview { path: "/kv", list: "stores", columns: &[("store", "STORE"), ("keys", "KEYS")] };

impl List {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let Some(store) = &self.store else { return STORES.print(client, &self.app, as_json) };
        let (store, prefix) =
            (encoded_segment(store), encoded_segment(self.prefix.as_deref().unwrap_or_default()));
        let path = |next: &Value| {
            let after = encoded_segment(next.as_str().unwrap_or_default());
            app_path(&self.app, &format!("/kv/{store}?prefix={prefix}&after={after}"))
        };
        print_pages(client, "keys", as_json, path, text_of)
    }
}

fn remove(client: &Client, place: &Place, as_json: bool) -> Done {
    let request = client.request(Method::DELETE, &place.path()).body(SendBody::none());
    let removed = client.json(client.send(request, None)?)?;
    if as_json {
        return output::print_json(&removed);
    }
    output::print(&match removed["removed"].as_bool() {
        Some(true) => format!("removed {} from {}", output::line(&place.key), place.store),
        _ => format!("{} is not in {}", output::line(&place.key), place.store),
    })
}

fn header<'a>(response: &'a Response<ureq::Body>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
