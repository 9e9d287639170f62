//! `wfn secret`: settings whose values are encrypted on the host, read from standard input and never shown again.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Map, Value, json};
use ureq::http::Method;
use wfn_manifest::limits;
use wfn_manifest::names::AppName;
use wfn_runtime::capability::secrets::SecretName;

use crate::client::app_path;
use crate::cmd::split::beside;
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn secret`.
#[derive(Debug, Args)]
#[command(after_help = "\
The functions of the app read a secret as an environment variable. A change is served at once, as a new revision.
Values are never arguments, because everybody on a machine sees those: put reads the value from standard input.")]
pub struct Secret {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set a secret; its value comes from standard input
    Put {
        /// Name of the app
        #[arg(value_name = "APP", value_parser = app_name)]
        app: AppName,
        /// Name of the secret
        #[arg(value_name = "NAME", value_parser = secret_name)]
        name: SecretName,
    },
    /// List the names of an app's secrets
    #[command(visible_alias = "ls")]
    List {
        /// Name of the app
        #[arg(value_name = "APP", value_parser = app_name)]
        app: AppName,
    },
    /// Remove secrets
    Rm {
        /// Name of the app
        #[arg(value_name = "APP", value_parser = app_name)]
        app: AppName,
        /// Names of the secrets
        #[arg(value_name = "NAME", value_parser = secret_name, required = true)]
        names: Vec<SecretName>,
    },
    /// Set many secrets at once from lines NAME=VALUE, in one new revision
    Import {
        /// Name of the app
        #[arg(value_name = "APP", value_parser = app_name)]
        app: AppName,
        /// The file; standard input if there is none
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

impl Secret {
    /// Does what is asked.
    pub fn run(self, global: &Global) -> Done {
        match self.what {
            What::Put { app, name } => {
                let value = read_value(&name)?;
                let doing = format!("set secret {name} of {app}");
                change(global, &app, Map::from_iter([(name.to_string(), value.into())]), &doing)
            }
            What::Rm { app, names } => {
                let doing = format!("remove secrets of {app}");
                let changes = names.iter().map(|name| (name.to_string(), Value::Null)).collect();
                change(global, &app, changes, &doing)
            }
            What::Import { app, file } => {
                let doing = format!("import secrets of {app}");
                let changes = read_lines(file).while_doing(|| doing.clone())?;
                change(global, &app, changes, &doing)
            }
            What::List { app } => list(global, &app),
        }
    }
}

fn change(global: &Global, app: &AppName, changes: Map<String, Value>, doing: &str) -> Done {
    let client = global.client()?;
    let changed = client
        .change(Method::PATCH, &app_path(app, "/secrets"), &json!(changes))
        .while_doing(|| doing.to_owned())?;
    if global.json {
        return output::print_json(&changed);
    }
    let names: Vec<&str> = changes.keys().map(String::as_str).collect();
    let what = if changes.values().all(Value::is_null) { "removed" } else { "set" };
    output::print(&match changed["revision"].is_null() {
        true => format!("{what} {}; {app} has them when it is deployed", names.join(", ")),
        false => {
            let revision = text_of(&changed["revision"]);
            format!("{what} {}: {app} revision {revision}{}", names.join(", "), beside(&changed))
        }
    })
}

fn list(global: &Global, app: &AppName) -> Done {
    let path = app_path(app, "/secrets");
    let listed = global.client()?.get(&path).while_doing(|| format!("list secrets of {app}"))?;
    if global.json {
        return output::print_json(&listed);
    }
    let secrets = listed["secrets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if secrets.is_empty() {
        return output::print(&format!("{app} has no secrets"));
    }
    let rows = secrets.iter().map(|secret| {
        vec![text_of(&secret["name"]), secret["updated_ms"].as_u64().map_or("-".into(), output::time)]
    });
    output::print(output::table(&["NAME", "SET"], &rows.collect::<Vec<_>>()).trim_end())
}

/// The value from standard input: at a terminal one line that is not shown, else everything up to a final line end.
fn read_value(name: &SecretName) -> Done<String> {
    let stdin = io::stdin();
    let mut value = String::new();
    if stdin.is_terminal() {
        // Where stderr is closed nobody sees the question; the value is read all the same.
        let _ = write!(io::stderr(), "Value of {name}: ");
        let _hidden = Hidden::new();
        stdin.lock().read_line(&mut value).map_err(Failure::new)?;
        let _ = writeln!(io::stderr());
    } else {
        let most = limits::SECRET_BYTES_MAX as u64 + 2;
        stdin
            .lock()
            .take(most)
            .read_to_string(&mut value)
            .map_err(|error| Failure::new(format!("read the value of {name}: {error}")))?;
    }
    let value =
        value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if value.is_empty() {
        return Err(Failure::usage(format!("no value of {name} on standard input"))
            .remedy(format!("printf %s \"$VALUE\" | wfn secret put APP {name}")));
    }
    Ok(value.to_owned())
}

/// Keeps a terminal from showing what is typed, until dropped.
struct Hidden(Option<rustix::termios::Termios>);

impl Hidden {
    fn new() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut hidden) = before.clone() {
            hidden.local_modes.remove(LocalModes::ECHO);
            // Where it cannot be hidden it is shown to whoever types it.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &hidden);
        }
        Self(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Lines `NAME=VALUE`; empty ones and those that begin with `#` are left out, and so are quotes around a value.
fn read_lines(file: Option<PathBuf>) -> Done<Map<String, Value>> {
    let mut text = String::new();
    let most = limits::ADMIN_BODY_BYTES_MAX as u64;
    let read = match &file {
        Some(path) => File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)),
        None => io::stdin().lock().take(most).read_to_string(&mut text),
    };
    let from = file.map_or("standard input".to_owned(), |path| path.display().to_string());
    read.map_err(|error| Failure::new(format!("{from}: {error}")))?;
    let mut secrets = Map::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let wrong = |why: &str| Failure::usage(format!("{from}, line {}: {why}", index + 1));
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("use NAME=VALUE"))?;
        let name = SecretName::new(name.trim()).map_err(|error| wrong(&error.to_string()))?;
        secrets.insert(name.to_string(), unquoted(value.trim()).into());
    }
    if secrets.is_empty() {
        return Err(Failure::usage(format!("{from} has no line NAME=VALUE")));
    }
    Ok(secrets)
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value)
}

fn secret_name(text: &str) -> Result<SecretName, String> {
    SecretName::new(text).map_err(|error| error.to_string())
}
