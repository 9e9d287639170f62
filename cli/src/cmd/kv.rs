//! `wfn kv`: what an app has stored in its key-value stores, to look at and to change.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::{Method, Response};
use wfn_manifest::limits;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, encoded_segment};
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

impl List {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let Some(store) = &self.store else { return stores(client, &self.app, as_json) };
        let prefix = encoded_segment(self.prefix.as_deref().unwrap_or_default());
        let mut after = String::new();
        loop {
            let query = format!("/kv/{}?prefix={prefix}&after={after}", encoded_segment(store));
            let page = client.get(&app_path(&self.app, &query))?;
            let keys = page["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
            // One line each, as they come: there may be a million.
            let line = |key: &Value| match as_json {
                true => format!("{key}\n"),
                false => format!("{}\n", text_of(key)),
            };
            output::write(keys.iter().map(line).collect::<String>().as_bytes())?;
            match page["next"].as_str() {
                Some(next) => after = encoded_segment(next),
                None => return Ok(()),
            }
        }
    }
}

fn stores(client: &Client, app: &AppName, as_json: bool) -> Done {
    let shown = client.get(&app_path(app, "/kv"))?;
    if as_json {
        return output::print_json(&shown);
    }
    let stores = shown["stores"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = stores
        .iter()
        .map(|store| {
            let bytes = store["bytes"].as_u64().unwrap_or_default();
            vec![text_of(&store["store"]), text_of(&store["keys"]), output::bytes(bytes)]
        })
        .collect();
    output::print(&output::table(&["STORE", "KEYS", "SIZE"], &rows))
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
