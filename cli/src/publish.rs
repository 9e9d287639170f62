//! A module's way to the host: hashed, uploaded if it is not there, deployed, its events followed.

use std::io::{BufRead, BufReader, Read, Seek};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::http::Method;
use wfn_manifest::limits;
use wfn_manifest::manifest::Manifest;
use wfn_manifest::names::ModuleHash;
use wfn_runtime::app::share::Percent;

use crate::bundle::Bundle;
use crate::client::{self, Client};
use crate::failure::{Done, Failure};
use crate::output::{self, Progress};

/// How a deploy is meant. By default the new revision takes over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// It takes this many percent of the HTTP requests beside the active one.
    pub canary: Option<Percent>,
    /// Everything but the switch is done.
    pub dry_run: bool,
}

/// Deploys `module` with `manifest` and the `bundles` that it mounts, and answers what the host says of the new revision.
pub fn publish(
    client: &Client,
    manifest: &Manifest,
    bundles: Vec<Bundle>,
    mut module: impl Read + Seek,
    manner: Manner,
) -> Done<Value> {
    let (hash, length) = digest(&mut module)?;
    upload(client, &format!("/v1/modules/{hash}"), length, module)?;
    for Bundle { hash, length, archive } in bundles {
        upload(client, &format!("/v1/bundles/{hash}"), length, archive)?;
    }
    deploy(client, manifest, hash, manner)
}

/// Reads the module once, in pieces: it may be as large as 256 MB.
fn digest(module: &mut (impl Read + Seek)) -> Done<(ModuleHash, u64)> {
    let unreadable = |error| Failure::new(format!("the module cannot be read: {error}"));
    let mut digest = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let count = module.read(&mut piece).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > limits::MODULE_BYTES_MAX {
            let megabytes = limits::MODULE_BYTES_MAX / limits::MEBIBYTE;
            let message = format!("the module is larger than {megabytes} MB");
            return Err(Failure::new(message)
                .with_code("module-too-large")
                .remedy("strip debug information: 'wasm-tools strip', or strip = true in Cargo.toml"));
        }
        digest.update(&piece[..count]);
    }
    module.rewind().map_err(unreadable)?;
    Ok((ModuleHash::new(digest.finalize().into()), length))
}

/// Sends what the host does not have yet.
fn upload(client: &Client, path: &str, length: u64, content: impl Read) -> Done {
    if client.exists(path)? {
        return Ok(());
    }
    client.put(path, Counted { inner: content, sent: 0, length, progress: Progress::new() }, length)
}

/// A reader that shows how much of it has been read.
struct Counted<R> {
    inner: R,
    sent: u64,
    length: u64,
    progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(piece)?;
        self.sent += count as u64;
        let (sent, length) = (self.sent, self.length);
        self.progress.update(|| format!("uploading, {} of {}", output::bytes(sent), output::bytes(length)));
        Ok(count)
    }
}

fn deploy(client: &Client, manifest: &Manifest, module: ModuleHash, manner: Manner) -> Done<Value> {
    let Manner { canary, dry_run } = manner;
    let order = json!({ "module": module, "manifest": manifest, "canary": canary, "dry_run": dry_run });
    let path = client::app_path(&manifest.name, "/revisions");
    let events = client.change_with_events(Method::POST, &path, &order, client::NDJSON)?;
    let cut = |why: String| {
        Failure::new(format!("the host closed the connection before the end{why}"))
            .remedy(format!("'wfn status {}' shows what serves now", manifest.name))
    };
    let mut progress = Progress::new();
    for line in BufReader::new(events.into_body().into_reader()).lines() {
        let line = line.map_err(|error| cut(format!(": {error}")))?;
        let mut event: Value = serde_json::from_str(&line).map_err(|_| cut(" of an event".to_owned()))?;
        match event["event"].as_str() {
            Some("compiling") => {
                let elapsed = Duration::from_millis(event["elapsed_ms"].as_u64().unwrap_or_default());
                let done = event["done"].as_f64().unwrap_or_default();
                progress.update(|| compiling(elapsed, done));
            }
            Some("done") => return Ok(event["deployed"].take()),
            Some("error") => {
                let unnamed = || Failure::new("the host does not say why");
                return Err(client::refusal(&event["error"]).unwrap_or_else(unnamed));
            }
            // A newer host may tell more than this client knows.
            _ => {}
        }
    }
    Err(cut(String::new()))
}

/// What is shown while `done`, a share from 0 to 1, of a module is compiled.
fn compiling(elapsed: Duration, done: f64) -> String {
    let seconds = elapsed.as_secs_f64();
    // Of so little done, nothing follows.
    if done < 0.05 {
        return format!("compiling, {seconds:.0} s…");
    }
    format!(
        "compiling, {:.0} %, {seconds:.0} s of about {:.0} s…",
        done * 100.0,
        (seconds / done).max(seconds)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_follows_from_what_is_done() {
        let after = |seconds, done| compiling(Duration::from_secs(seconds), done);
        assert_eq!(after(2, 0.0), "compiling, 2 s…");
        assert_eq!(after(10, 0.25), "compiling, 25 %, 10 s of about 40 s…");
        assert_eq!(after(40, 1.0), "compiling, 100 %, 40 s of about 40 s…");
    }
}
