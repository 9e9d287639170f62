//! `cargo xtask demo`: the whole way from sources to an answer, each step shown.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::host::Host;
use crate::{guests, process};

const APP: &str = "html-parse";
const MODULE: &str = "target/guests/html-parse.wasm";
const PAGE: &str = "tests/data/page-73k.html";

/// How long the plain HTTP request may wait for more of its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is built besides the host: the guest of the demo, and one for whoever goes on by hand.
const GUESTS: [&str; 2] = [APP, "hello"];

const FIRST: &str = "\
This builds wfn and two example functions, starts a host, deploys a function, calls it in two ways and stops the host.
The first time it compiles some 350 crates: about ten minutes of processor time, half of that on two cores. Later it takes seconds.
";

const NEXT: &str = "
That was a build, a deploy, two calls and a stop. Next, by hand:

  target/demo/wfn up                                             (in one terminal)
  target/demo/wfn deploy target/guests/hello.wasm                (in another)
  curl http://127.0.0.1:8080/hello/
  target/demo/wfn status hello

This wfn was built to be ready soon, not to be fast. For real use: cargo xtask release
";

/// Builds guests and host, deploys html-parse, calls it in two ways and stops the host.
pub(crate) fn run(root: &Path) -> Result<()> {
    eprintln!("{FIRST}");
    step("[1/7] build the example functions");
    for component in guests::build_only(root, &GUESTS)? {
        guests::print_size(root, &component)?;
    }
    step("[2/7] cargo build --package wfn --profile demo");
    process::run(
        process::cargo().args(["build", "--package", "wfn", "--profile", "demo"]).current_dir(root),
    )?;
    let wfn = wfn_binary(root);

    let data_dir = root.join("target/demo-data").join(std::process::id().to_string());
    fs::create_dir_all(&data_dir).with_context(|| format!("failed to create {}", data_dir.display()))?;
    let shown = call(root, &wfn, &data_dir);
    // Removed in either case: a failed demo leaves its lines on the screen.
    fs::remove_dir_all(&data_dir).with_context(|| format!("failed to remove {}", data_dir.display()))?;
    shown?;
    print!("{NEXT}");
    Ok(())
}

/// Starts the host, shows each step, stops the host.
fn call(root: &Path, wfn: &Path, data_dir: &Path) -> Result<()> {
    step("[3/7] wfn up --listen 127.0.0.1:0 --admin 127.0.0.1:0");
    let host = Host::start(wfn, data_dir)?;
    let token_file = data_dir.join("token");
    let token = fs::read_to_string(&token_file)
        .with_context(|| format!("failed to read {}", token_file.display()))?;
    let client = |number: u32, arguments: &[&str]| -> Result<()> {
        step(&format!("[{number}/7] wfn {}", arguments.join(" ")));
        let mut command = Command::new(wfn);
        command
            .args(arguments)
            .args(["--server", &host.admin_url, "--token", token.trim()])
            .current_dir(root);
        process::run(&mut command)?;
        println!();
        Ok(())
    };
    client(4, &["deploy", MODULE, "--name", APP])?;
    client(5, &["invoke", APP, "/", "-X", "POST", "-d", &format!("@{PAGE}")])?;

    step(&format!("[6/7] curl --data-binary @{PAGE} {}/{APP}/", host.functions_url));
    let page = root.join(PAGE);
    let page = fs::read(&page).with_context(|| format!("failed to read {}", page.display()))?;
    println!("{}", post(&host.functions_url, &format!("/{APP}/"), &page)?);

    step("[7/7] kill -TERM (the host drains and stops)");
    let status = host.stop()?;
    if !status.success() {
        bail!("the host did not stop in order: {status}");
    }
    println!("the host has stopped");
    Ok(())
}

/// The binary that `cargo build` has just made.
fn wfn_binary(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root.join(target).join("demo/wfn")
}

/// One POST over plain HTTP/1.1; the whole answer as text.
fn post(url: &str, path: &str, body: &[u8]) -> Result<String> {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let sent = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: text/html\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = sent().with_context(|| format!("failed to post to {url}{path}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn step(what: &str) {
    eprintln!("\n{what}");
}
