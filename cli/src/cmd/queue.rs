//! `wfn queue`: the queues of an app, to send to, to look at and to mend.

use std::io;

use clap::{Args, Subcommand};
use serde_json::Value;
use ureq::SendBody;
use ureq::http::Method;
use wfn_manifest::limits;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, encoded_segment};
use crate::cmd::stores::{Overview, print_pages};
use crate::cmd::{app_name, given_bytes, text_of};
use crate::failure::{Done, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn queue`.
#[derive(Debug, Args)]
#[command(after_help = "An app has the queues that its wfn.toml names as queues.")]
pub struct Queues {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a message
    Send(Send),
    /// List the queues of an app
    Ls(List),
    /// Show messages that are to be delivered, or wait for their time
    Peek(Peek),
    /// Show the dead letters
    Dead(Place),
    /// Deliver dead letters again
    Replay(Replay),
    /// Remove all messages
    Purge(Purge),
}

/// Which queue.
#[derive(Debug, Args)]
struct Place {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// One of its queues
    #[arg(value_name = "QUEUE")]
    queue: String,
}

#[derive(Debug, Args)]
struct Send {
    #[command(flatten)]
    place: Place,

    /// The message: text, @FILE, or - for stdin
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    message: String,

    /// Name of the message: a second one of the same name is not stored for ten minutes
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,

    /// Messages of one session are for one another: they carry it as ce-partitionkey
    #[arg(long, value_name = "TEXT")]
    session: Option<String>,

    /// Media type of the message
    #[arg(long, value_name = "TYPE", default_value = "text/plain; charset=utf-8")]
    content_type: String,

    /// Seconds until it is delivered
    #[arg(long, value_name = "SECONDS")]
    delay: Option<f64>,

    /// Seconds after which it is a dead letter if it was not delivered
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<f64>,
}

#[derive(Debug, Args)]
struct List {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,
}

#[derive(Debug, Args)]
struct Peek {
    #[command(flatten)]
    place: Place,

    /// Those that wait for their time instead
    #[arg(long)]
    waiting: bool,
}

#[derive(Debug, Args)]
struct Replay {
    #[command(flatten)]
    place: Place,

    /// The one of this name; all without it
    #[arg(value_name = "ID")]
    id: Option<String>,
}

#[derive(Debug, Args)]
struct Purge {
    #[command(flatten)]
    place: Place,

    /// The dead letters instead
    #[arg(long)]
    dead: bool,
}

impl Queues {
    /// Does it.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let json = global.json;
        match &self.action {
            Action::Send(send) => {
                send.run(&client, json).while_doing(|| format!("send to {}", send.place.queue))
            }
            Action::Ls(List { app }) => {
                QUEUES.print(&client, app, json).while_doing(|| format!("list the queues of {app}"))
            }
            Action::Peek(Peek { place, waiting }) => {
                let state = if *waiting { "waiting" } else { "ready" };
                show(&client, place, state, json).while_doing(|| format!("look into {}", place.queue))
            }
            Action::Dead(place) => {
                show(&client, place, "dead", json).while_doing(|| format!("look into {}", place.queue))
            }
            Action::Replay(replay) => {
                replay.run(&client, json).while_doing(|| format!("replay {}", replay.place.queue))
            }
            Action::Purge(purge) => {
                purge.run(&client, json).while_doing(|| format!("purge {}", purge.place.queue))
            }
        }
    }
}

impl Place {
    fn path(&self, rest: &str) -> String {
        app_path(&self.app, &format!("/queues/{}{rest}", encoded_segment(&self.queue)))
    }
}

impl Send {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let message = given_bytes(&self.message, limits::QUEUE_MESSAGE_BYTES_MAX, "message")?;
        let mut query = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            query.extend(value.map(|value| format!("{name}={}", encoded_segment(&value))));
        };
        add("id", self.id.clone());
        add("session", self.session.clone());
        add("delay", self.delay.map(|seconds| seconds.to_string()));
        add("ttl", self.ttl.map(|seconds| seconds.to_string()));
        let request = client
            .request(Method::POST, &self.place.path(&format!("?{}", query.join("&"))))
            .header("content-type", &self.content_type)
            .header("content-length", message.len());
        let body = SendBody::from_owned_reader(io::Cursor::new(message));
        let sent = client.json(client.send(request.body(body), None)?)?;
        if as_json {
            return output::print_json(&sent);
        }
        let id = text_of(&sent["id"]);
        output::print(&match sent["duplicate"].as_bool() {
            Some(true) => format!("{id} was sent before: nothing was stored"),
            _ => format!("sent {id} to {}", self.place.queue),
        })
    }
}

const QUEUES: Overview = Overview {
    path: "/queues",
    list: "queues",
    columns: &[("queue", "QUEUE"), ("messages", "MESSAGES"), ("dead", "DEAD")],
};

/// All messages in one state.
fn show(client: &Client, place: &Place, state: &str, as_json: bool) -> Done {
    let path = |next: &Value| {
        let after = match (next["order"].as_i64(), next["number"].as_i64()) {
            (Some(order), Some(number)) => format!("&order={order}&number={number}"),
            _ => String::new(),
        };
        place.path(&format!("/messages?state={state}{after}"))
    };
    print_pages(client, "messages", as_json, path, shown_line)
}

/// Characters of a message that are shown.
const SHOWN: usize = 100;

fn shown_line(message: &Value) -> String {
    let body = message["body"].as_str().map_or_else(
        || format!("({} bytes)", text_of(&message["bytes"])),
        |text| text.chars().take(SHOWN).collect::<String>(),
    );
    let mut line = format!("{}  {}", text_of(&message["id"]), body);
    if message["failures"].as_u64().unwrap_or_default() > 0 {
        line += &format!("  ({} failed: {})", text_of(&message["failures"]), text_of(&message["last_error"]));
    } else if let Some(why) = message["last_error"].as_str().filter(|why| !why.is_empty()) {
        line += &format!("  ({why})");
    }
    output::line(&line).into_owned()
}

/// So many of something.
fn counted(count: &Value, one: &str, many: &str) -> String {
    format!("{} {}", text_of(count), if *count == 1 { one } else { many })
}

impl Replay {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let query = self.id.as_ref().map_or(String::new(), |id| format!("?id={}", encoded_segment(id)));
        let request = client.request(Method::POST, &self.place.path(&format!("/replay{query}")));
        let replayed = client.json(client.send(request.body(SendBody::none()), None)?)?;
        match as_json {
            true => output::print_json(&replayed),
            false => {
                let replayed = counted(&replayed["replayed"], "dead letter is", "dead letters are");
                output::print(&format!("{replayed} delivered again"))
            }
        }
    }
}

impl Purge {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let query = if self.dead { "?dead=true" } else { "" };
        let request = client.request(Method::DELETE, &self.place.path(&format!("/messages{query}")));
        let removed = client.json(client.send(request.body(SendBody::none()), None)?)?;
        match as_json {
            true => output::print_json(&removed),
            false => {
                output::print(&format!("removed {}", counted(&removed["removed"], "message", "messages")))
            }
        }
    }
}
