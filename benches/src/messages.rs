//! Sends messages to queues through the admin API, over many connections, and deploys the app that takes them.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::client::{Connection, Request};
use crate::wfn::Host;
use crate::workspace::Workspace;

/// The name of the app and of its queue.
pub const NAME: &str = "drain";
/// Index of the function's scale group in the app. The first group is that of its HTTP clients.
pub const GROUP: usize = 1;
/// Connections that send: their messages share commits.
const SENDERS: usize = 64;

/// Sends `message` to the queue [`NAME`], `count` times. Returns how long each took.
pub fn send(host: &Host, message: &[u8], count: usize) -> Result<Vec<Duration>> {
    let (address, token) = host.admin_access()?;
    let send_share = |share: usize| -> Result<Vec<Duration>> {
        let mut connection = Connection::open_when_ready(address)?;
        let request = Request {
            path: format!("/v1/apps/{NAME}/queues/{NAME}"),
            body: Some(message.to_vec()),
            token: Some(token.clone()),
        };
        let mut times = Vec::with_capacity(share);
        for _ in 0..share {
            let (answer, time) = connection.call(&request)?;
            answer.ok()?;
            times.push(time);
        }
        Ok(times)
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let share = count / SENDERS + usize::from(sender < count % SENDERS);
                let send_share = &send_share;
                scope.spawn(move || send_share(share))
            })
            .collect();
        let mut times = Vec::with_capacity(count);
        for sender in senders {
            match sender.join() {
                Ok(sent) => times.extend(sent?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(times)
    })
}

/// Deploys `guest` as the app [`NAME`]. With a `trigger`, its function takes the messages.
pub fn deploy(workspace: &Workspace, host: &Host, guest: &str, trigger: &str, instances: u32) -> Result<()> {
    let path: PathBuf = workspace.results()?.join(format!("{NAME}.toml"));
    let module = workspace.guest(guest)?;
    let text = format!(
        "name = {NAME:?}\nmodule = {:?}\nqueues = [{NAME:?}]\n{trigger}[scale]\nmax_instances = {instances}\n",
        module.display().to_string(),
    );
    std::fs::write(&path, text).context("failed to write the manifest")?;
    host.deploy(&path, NAME, &[]).map(drop)
}
