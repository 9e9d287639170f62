//! What the command line and the admin API say, word for word, as `tests/snapshots/` keeps it.
//!
//! Where it has changed, the test shows the difference, and how to make what is said now the expected answer.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::commands::program;
use crate::harness::snapshot::{self, expect};
use crate::harness::{Host, Output, Request, root, run, until};

/// A host, and a folder with what is deployed there. Commands run in that folder.
struct Stage {
    host: Host,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
        let plain = "Content-Type: text/plain\n\nHello\n";
        write("hello.wasm", &program(plain, "(call $text)"));
        let writes_and_traps = "(call $say (i32.const 2) (i32.const 1024) (i32.const 13)) unreachable";
        write("faulty.wasm", &program("out of paper\n", writes_and_traps));
        write("no.wasm", b"not a module");
        std::fs::create_dir(folder.path().join("shop")).unwrap();
        write("shop/shop.wasm", &program(plain, "(call $text)"));
        write("shop/wfn.toml", SHOP.as_bytes());
        write("image.png", b"no real image");
        Self { host: Host::start(), folder }
    }

    /// With the apps `hello`, `shop` and `faulty`, each of which was called once.
    fn with_apps() -> Self {
        let stage = Self::new();
        for command in [
            "deploy hello.wasm --always-ready 1 --concurrency 8",
            "deploy shop",
            "deploy faulty.wasm --idle-timeout 1h",
        ] {
            stage.command(command).ok();
        }
        for app in ["hello", "shop", "faulty"] {
            stage.host.get(&format!("/{app}/a/path?secret=1"));
            until("the call is listed", || {
                let listed = stage.host.admin_get(&format!("/v1/apps/{app}/invocations"));
                (listed["invocations"].as_array().unwrap().len() == 1).then_some(())
            });
            until("its instance has a new worker", || {
                (stage.host.number(app, "memory_bytes") > 0).then_some(())
            });
        }
        stage
    }

    /// Runs `wfn` with nothing in its environment but where the host is.
    fn command(&self, arguments: &str) -> Output {
        run(Command::new(env!("CARGO_BIN_EXE_wfn"))
            .env_clear()
            .env("WFN_SERVER", format!("http://{}", self.host.admin))
            .env("WFN_DATA_DIR", self.host.data.path())
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path()))
    }

    /// What commands say: output as it is, JSON on several lines, a mark before what went to stderr.
    fn transcript(&self, commands: &[&str]) -> String {
        let mut text = String::new();
        for command in commands {
            let output = self.command(command);
            text += &format!("$ wfn {command}\n");
            output.stderr.lines().for_each(|line| text += &format!("stderr: {line}\n"));
            for line in output.stdout.lines() {
                let json = serde_json::from_str(line).ok().filter(|_| command.contains("--json"));
                text += &json.map_or(line.to_owned(), |json: Value| pretty(&json));
                text += "\n";
            }
            if output.code != Some(0) {
                text += &format!("exit code {}\n", output.code.unwrap());
            }
            text += "\n";
        }
        self.redacted(&text)
    }

    /// What the admin API answers to requests `METHOD PATH [BODY]`.
    fn answers(&self, requests: &[&str]) -> String {
        let token = format!("Bearer {}", self.host.token());
        let mut text = String::new();
        for request in requests {
            let mut words = request.splitn(3, ' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let asked = Request::new(method, path).header("authorization", &token);
            let answer = asked.body(words.next().unwrap_or_default()).send(&self.host.admin);
            text += &format!("{request}\n{}\n", answer.status);
            for line in answer.text().lines() {
                text += &serde_json::from_str(line).map_or(line.to_owned(), |json: Value| pretty(&json));
                text += "\n";
            }
            text += "\n";
        }
        self.redacted(&text)
    }

    fn redacted(&self, text: &str) -> String {
        let places = [
            (self.host.functions.as_str(), "127.0.0.1:8080"),
            (&self.host.admin, "127.0.0.1:8081"),
            (self.host.data.path().to_str().unwrap(), "[data directory]"),
            (self.folder.path().to_str().unwrap(), "[folder]"),
        ];
        let text = places.iter().fold(text.to_owned(), |text, (place, name)| text.replace(place, name));
        snapshot::redacted(&text)
    }
}

fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap()
}

const SHOP: &str = r#"name = "shop"
module = "shop.wasm"
hosts = ["shop.example"]
allowed_outbound_hosts = ["https://api.example"]
key_value_stores = ["sessions"]
blob_containers = ["images"]
queues = ["orders"]

[share.key_value_stores]
sessions = ["hello"]

[[trigger.queue]]
name = "orders"

[[trigger.blob]]
name = "thumbs"
container = "images"
prefix = "in/"

# A night that is far away.
[[trigger.timer]]
name = "nightly"
schedule = "0 0 0 29 2 *"
time_zone = "Europe/Berlin"

[env]
GREETING = "good day"

[scale]
concurrency = 4
idle_timeout = "1h"
"#;

/// The help of a command (`"kv put "`) and of those below it; `everywhere` is what all of them end with.
fn help_of(stage: &Stage, command: &str, everywhere: &str) -> String {
    let text = stage.command(&format!("{command}--help")).ok();
    let mut all = format!("$ wfn {command}--help\n{}\n", text.replace(everywhere, "(global options)\n"));
    let listed = text.split_once("\nCommands:\n").and_then(|(_, rest)| rest.split("\n\n").next());
    for line in listed.unwrap_or_default().lines().filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            all += &help_of(stage, &format!("{command}{name} "), everywhere);
        }
    }
    all
}

#[test]
fn every_command_has_its_help() {
    let stage = Stage::new();
    let text = stage.command("ls --help").ok();
    let (_, everywhere) = text.split_once("Global options:").unwrap();
    let everywhere = format!("Global options:{everywhere}");
    expect("help", &format!("{everywhere}\n{}", help_of(&stage, "", &everywhere)));
}

#[test]
fn commands_say_what_they_did_and_found() {
    let stage = Stage::with_apps();
    for (name, commands) in [
        ("cli-ls", &["ls"][..]),
        ("cli-status", &["status hello", "status shop", "status faulty --json"]),
        ("cli-logs", &["logs faulty", "logs faulty --json -n 1", "logs hello"]),
        ("cli-invocations", &["invocations hello", "invocations faulty --failed", "invocations shop --json"]),
        ("cli-usage", &["usage --since 1h", "usage hello --since 1h --json", "usage nobody"]),
        ("cli-invoke", &["invoke hello", "invoke faulty -i"]),
        ("cli-trigger", &["trigger ls shop", "trigger ls shop --json", "trigger fire shop nightly"]),
        (
            "cli-kv",
            &[
                "kv put shop sessions greeting good-day",
                "kv get shop sessions greeting",
                "kv ls shop sessions",
                "kv ls shop",
                "kv ls shop --json",
                "kv rm shop sessions greeting",
                "kv get shop sessions greeting",
            ],
        ),
        (
            "cli-blob",
            &[
                "blob put shop images cat.png image.png --content-type image/png",
                "blob ls shop images",
                "blob ls shop images --json",
                "blob ls shop",
                "blob rm shop images cat.png",
                "blob get shop images cat.png",
            ],
        ),
        (
            "cli-queue",
            &[
                "queue send shop orders lamp --id order-7 --delay 3600",
                "queue ls shop",
                "queue ls shop --json",
                "queue peek shop orders --waiting",
                "queue peek shop orders --waiting --json",
                "queue dead shop orders",
                "queue purge shop orders",
            ],
        ),
        ("cli-secret", &["secret list shop", "secret rm shop TOKEN"]),
        (
            "cli-deploy",
            &[
                "deploy shop --concurrency 8",
                "deploy shop --dry-run",
                "deploy hello.wasm --canary 10",
                "split hello 50 --json",
                "scale shop --memory 4096",
                "versions shop",
                "versions hello --json",
                "rollback shop",
                "deploy hello.wasm --json",
                "rm hello",
                "rm hello -y",
                "ls",
            ],
        ),
    ] {
        expect(name, &stage.transcript(commands));
    }
}

#[test]
fn commands_say_why_they_failed() {
    let stage = Stage::new();
    for (name, text) in [
        ("unknown", "name = \"shop\"\ncolour = \"red\"\n"),
        ("unit", "name = \"shop\"\n[scale]\ntimeout = \"30\"\n"),
        ("module", "name = \"shop\"\nmodule = \"nowhere.wasm\"\n"),
        ("toml", "name = \n"),
    ] {
        std::fs::write(stage.folder.path().join(name).with_extension("toml"), text).unwrap();
    }
    for (name, commands) in [
        (
            "errors-app",
            &[
                "status nobody",
                "logs nobody",
                "rollback nobody",
                "kv ls nobody",
                "blob ls nobody",
                "queue ls nobody",
                "trigger ls nobody",
                "rm nobody -y",
                "status Not_A_Name",
            ][..],
        ),
        (
            "errors-deploy",
            &[
                "deploy nowhere.wasm",
                "deploy no.wasm",
                "deploy hello.wasm --always-ready 300",
                "deploy hello.wasm --timeout 9h",
                "deploy hello.wasm --memory 100",
                "deploy unknown.toml",
                "deploy unit.toml",
                "deploy module.toml",
                "deploy toml.toml",
            ],
        ),
        (
            "errors-usage",
            &["", "dance", "deploy", "ls --loud", "scale hello", "logs hello --since yesterday"],
        ),
        (
            "errors-host",
            &["--token wrong kv ls shop", "--data-dir nowhere kv ls shop", "--server http://127.0.0.1:1 ls"],
        ),
    ] {
        expect(name, &stage.transcript(commands));
    }
}

#[test]
fn the_admin_api_answers() {
    let stage = Stage::with_apps();
    for command in [
        "kv put shop sessions greeting good-day",
        "blob put shop images cat.png image.png",
        "queue send shop orders lamp --delay 3600",
    ] {
        stage.command(command).ok();
    }
    for (name, requests) in [
        ("api-host", &["GET /v1/host"][..]),
        ("api-apps", &["GET /v1/apps"]),
        ("api-app", &["GET /v1/apps/hello"]),
        ("api-revisions", &["GET /v1/apps/shop/revisions"]),
        (
            "api-invocations",
            &["GET /v1/apps/hello/invocations", "GET /v1/apps/faulty/invocations?failed=true"],
        ),
        ("api-scaling", &["GET /v1/apps/faulty/scaling"]),
        ("api-logs", &["GET /v1/apps/faulty/logs"]),
        ("api-usage", &["GET /v1/usage?since_ms=0", "GET /v1/apps/hello/usage?since_ms=0"]),
        ("api-triggers", &["GET /v1/apps/shop/triggers"]),
        (
            "api-stored",
            &[
                "GET /v1/apps/shop/kv",
                "GET /v1/apps/shop/kv/sessions",
                "GET /v1/apps/shop/blobs",
                "GET /v1/apps/shop/blobs/images",
                "GET /v1/apps/shop/queues",
                "GET /v1/apps/shop/queues/orders/messages?state=waiting",
                "GET /v1/apps/shop/secrets",
            ],
        ),
        (
            "api-errors",
            &[
                "GET /v1/nothing",
                "PUT /v1/apps",
                "GET /v1/apps/nobody",
                "GET /v1/apps/Not_A_Name",
                "GET /v1/apps/shop/invocations?colour=red",
                "GET /v1/apps/shop/invocations?status=red",
                "POST /v1/apps/shop/revisions {",
                "POST /v1/apps/shop/revisions {\"module\":\"abc\",\"manifest\":{}}",
                "POST /v1/apps/shop/rollback {\"revision\":9}",
                "POST /v1/apps/shop/split {\"percent\":10}",
                "PATCH /v1/apps/shop/scale {}",
                "GET /v1/apps/shop/kv/nothing",
                "GET /v1/apps/shop/kv/sessions/nothing",
                "GET /v1/apps/shop/blobs/images/nothing",
                "POST /v1/apps/shop/queues/nothing lamp",
                "POST /v1/apps/shop/triggers/nothing/fire",
            ],
        ),
    ] {
        expect(name, &stage.answers(requests));
    }
}

#[test]
fn no_snapshot_is_left_over() {
    for entry in std::fs::read_dir(root().join("tests/snapshots")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        // Where a comparison failed, insta leaves what was said in a file `.snap.new`.
        let is_used = |name: &str| include_str!("snapshots.rs").contains(&format!("\"{name}\""));
        assert!(file.strip_suffix(".snap").is_none_or(is_used), "{file} is not used");
    }
}
