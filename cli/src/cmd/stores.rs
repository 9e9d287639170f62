//! What `wfn kv`, `wfn blob` and `wfn queue` have in common: the table of what an app has, and lists that come in pages.

use serde_json::Value;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path};
use crate::cmd::text_of;
use crate::failure::Done;
use crate::output;

/// The tables of one kind of store.
pub struct Overview {
    /// Below the app's path in the admin API.
    pub path: &'static str,
    /// The list in the answer.
    pub list: &'static str,
    /// The fields of an entry that are shown, each with the head of its column; its size comes last.
    pub columns: &'static [(&'static str, &'static str)],
}

impl Overview {
    /// Prints the stores that `app` has, with their sizes.
    pub fn print(&self, client: &Client, app: &AppName, as_json: bool) -> Done {
        let shown = client.get(&app_path(app, self.path))?;
        if as_json {
            return output::print_json(&shown);
        }
        let heads: Vec<&str> = self.columns.iter().map(|(_, head)| *head).chain(["SIZE"]).collect();
        let row = |store: &Value| {
            let size = output::bytes(store["bytes"].as_u64().unwrap_or_default());
            self.columns.iter().map(|(field, _)| text_of(&store[field])).chain([size]).collect()
        };
        let rows: Vec<Vec<String>> = entries(&shown, self.list).iter().map(row).collect();
        output::print(&output::table(&heads, &rows))
    }
}

/// Prints the entries of `list`, one line each, as they come: there may be millions. `path_of` makes the path of the page after
/// what the last one says comes `next`, which is null at first; `line` is how people see an entry.
pub fn print_pages(
    client: &Client,
    list: &str,
    as_json: bool,
    path_of: impl Fn(&Value) -> String,
    line: impl Fn(&Value) -> String,
) -> Done {
    let mut next = Value::Null;
    loop {
        let mut page = client.get(&path_of(&next))?;
        let line = |entry: &Value| (if as_json { entry.to_string() } else { line(entry) }) + "\n";
        output::write(entries(&page, list).iter().map(line).collect::<String>().as_bytes())?;
        next = page["next"].take();
        if next.is_null() {
            return Ok(());
        }
    }
}

fn entries<'a>(answer: &'a Value, list: &str) -> &'a [Value] {
    answer[list].as_array().map(Vec::as_slice).unwrap_or_default()
}
