//! Every route of the admin API, as it describes itself, with what nobody should send: no panic, no 5xx, no hang, and every
//! refusal is JSON with a code that is documented.
//!
//! 15 seconds, longer with `WFN_FUZZ_SECONDS`; the same requests in the same order each time, others with `WFN_FUZZ_SEED`.

use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::harness::{Answer, Connection, Host, root};

/// One of `all`.
fn one_of<'a>(dice: &mut Rng, all: &[&'a str]) -> &'a str {
    all[dice.usize(0..all.len())]
}

fn one_in(dice: &mut Rng, count: u32) -> bool {
    dice.u32(0..count) == 0
}

/// Values of paths and queries that fit, or do not.
const TEXTS: [&str; 26] = [
    "hello",
    "nobody",
    "work",
    "default",
    "files",
    "a",
    "",
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "NaN",
    "1e999",
    "true",
    "false",
    "ready",
    "stdout",
    "5xx",
    "%FF",
    "%00",
    "%2F..%2F",
    "..",
    "%F0%9F%92%A9",
    "a%0Ab",
];

/// An operation as the API describes it.
struct Operation {
    method: String,
    path: String,
    query: Vec<String>,
    body: Option<Value>,
    is_open: bool,
}

fn operations(host: &Host) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in host.admin_get("/v1/openapi.json")["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap();
            let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
            let content = operation["requestBody"]["content"].as_object();
            let schema =
                content.and_then(|content| content.values().next()).map(|content| content["schema"].clone());
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                query: in_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
                body: schema,
                is_open: operation["security"].as_array().unwrap().contains(&json!({})),
            });
        }
    }
    found
}

/// A value that the schema of a member may allow.
fn value(dice: &mut Rng, module: &str) -> Value {
    match dice.u32(0..12) {
        0 => Value::Null,
        1 => json!(one_in(dice, 2)),
        2 => json!(-1),
        3 => json!(dice.u32(0..1_200)),
        4 => json!(u64::MAX),
        5 => json!(1.5),
        6 => json!(module),
        7 => json!("x".repeat(dice.usize(0..5_000))),
        8 => json!([null, 1, "a"]),
        9 => json!({ "name": "hello", "scale": { "concurrency": dice.u32(0..20) } }),
        10 => json!({ "name": "hello", "env": { "A=": "\u{0}" }, "hosts": ["*"], "queues": ["a/b/c"] }),
        _ => json!(["dynamic", "30s", "0s", "fresh", "\u{202e}"][dice.usize(0..5)]),
    }
}

/// A body for `schema`: right, nearly right or nonsense.
fn body(dice: &mut Rng, schema: &Value, module: &str) -> Vec<u8> {
    let mut object = serde_json::Map::new();
    for (name, _) in schema["properties"].as_object().into_iter().flatten() {
        if name == "module" && !one_in(dice, 4) {
            object.insert(name.clone(), json!(module));
        } else if name == "manifest" && !one_in(dice, 3) {
            object.insert(name.clone(), json!({ "name": "hello", "queues": ["work"] }));
        } else if !one_in(dice, 3) {
            object.insert(name.clone(), value(dice, module));
        }
    }
    if one_in(dice, 6) || object.is_empty() {
        object.insert(["SECRET", "percentage", "", "1A"][dice.usize(0..4)].to_owned(), value(dice, module));
    }
    let mut bytes = serde_json::to_vec(&object).unwrap();
    match dice.u32(0..12) {
        0 => bytes.truncate(dice.usize(0..=bytes.len())),
        1 => {
            let at = dice.usize(0..bytes.len());
            bytes[at] = dice.u8(..);
        }
        2 => bytes = b"[".repeat(dice.usize(0..200_000)),
        3 => bytes = vec![b' '; 1024 * 1024 + 1],
        4 => bytes = vec![0xff; 64],
        5 => bytes.clear(),
        _ => {}
    }
    bytes
}

/// One request of many kinds, and whether it carries the right token.
fn request(dice: &mut Rng, operation: &Operation, token: &str, module: &str) -> (Vec<u8>, bool) {
    let segment = |segment: &str| match segment.starts_with('{') {
        false => segment.to_owned(),
        true => match (segment, dice.u32(0..8)) {
            ("{app}", 0..=5) => "hello".to_owned(),
            ("{queue}", 0..=5) => "work".to_owned(),
            ("{hash}", 0..=3) => module.to_owned(),
            (_, 7) => "y".repeat(dice.usize(0..9_000)),
            _ => one_of(dice, &TEXTS).to_owned(),
        },
    };
    let mut target: String = operation.path.split('/').map(segment).collect::<Vec<_>>().join("/");
    let mut pairs = Vec::new();
    for name in &operation.query {
        // A log that is followed does not end.
        let values = if name == "follow" { &["false", "0", "", "no"][..] } else { &TEXTS[..] };
        if !one_in(dice, 3) {
            pairs.push(format!("{name}={}", one_of(dice, values)));
        }
    }
    match dice.u32(0..10) {
        0 => pairs.push("unknown=1".to_owned()),
        1 => pairs.push("%FF=%".to_owned()),
        2 => pairs.extend(pairs.first().cloned()),
        3 => pairs.push(format!("x={}", "z".repeat(20_000))),
        _ => {}
    }
    if !pairs.is_empty() && !one_in(dice, 5) {
        target = format!("{target}?{}", pairs.join("&"));
    }
    let method = match one_in(dice, 8) {
        true => one_of(dice, &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"]),
        false => operation.method.as_str(),
    };
    let (credentials, has_token) = match dice.u32(0..10) {
        0 => (String::new(), false),
        1 => ("authorization: Bearer wrong\r\n".to_owned(), false),
        2 => (format!("authorization: Basic {token}\r\n"), false),
        3 => (format!("wfn-token: {token}\r\nauthorization: Basic x\r\n"), true),
        _ => (format!("authorization: Bearer {token}\r\n"), true),
    };
    let body = match &operation.body {
        Some(schema) if !one_in(dice, 6) => body(dice, schema, module),
        None if one_in(dice, 8) => b"nobody asked for this".to_vec(),
        _ => Vec::new(),
    };
    let content = one_of(
        dice,
        &[
            "",
            "content-type: application/json\r\n",
            "content-type: \u{e9};;\r\n",
            "if-match: x\r\n",
            "range: bytes=9-1\r\n",
        ],
    );
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{credentials}{content}"
    )
    .into_bytes();
    match one_in(dice, 6) {
        true if !body.is_empty() => {
            bytes.extend(format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()).bytes());
            bytes.extend(&body);
            bytes.extend(b"\r\n0\r\n\r\n");
        }
        _ => {
            bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(&body);
        }
    }
    (bytes, has_token)
}

/// Sends it and reads the answer; a host that answers before it has all may close while the rest is sent.
fn ask(host: &Host, request: &[u8]) -> std::io::Result<Answer> {
    let mut connection = Connection::try_open(&host.admin)?;
    let written = connection.try_write(request);
    let answer = connection.read_answer_to(if request.starts_with(b"HEAD") { "HEAD" } else { "GET" });
    answer.or_else(|error| written.and(Err(error)))
}

#[test]
fn no_request_breaks_the_admin_api() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = number("WFN_FUZZ_SEED", 18);
    let (mut dice, until) =
        (Rng::with_seed(seed), Instant::now() + Duration::from_secs(number("WFN_FUZZ_SECONDS", 15)));
    let host = Host::start();
    let deploy = || {
        host.deploy_with(
            "hello",
            "hello",
            "queues = [\"work\"]\nkey_value_stores = [\"default\"]\nblob_containers = [\"files\"]",
        )
    };
    deploy();
    let module = host.admin_get("/v1/apps/hello")["module"].as_str().unwrap().to_owned();
    let (operations, token) = (operations(&host), host.token());
    assert!(operations.len() > 50, "{}", operations.len());
    let documented = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let (mut sent, mut refused, mut cut) = (0_u64, 0_u64, 0_u64);
    while Instant::now() < until || sent < 20 * operations.len() as u64 {
        let operation = &operations[sent as usize % operations.len()];
        let (request, has_token) = request(&mut dice, operation, &token, &module);
        let shown = || String::from_utf8_lossy(&request[..request.len().min(600)]).into_owned();
        sent += 1;
        let answer = match ask(&host, &request) {
            Ok(answer) => answer,
            // The rest of a body that was refused is not waited for.
            Err(error) if request.len() > 4_096 && error.kind() != std::io::ErrorKind::WouldBlock => {
                cut += 1;
                continue;
            }
            Err(error) => panic!("seed {seed}, request {sent}: {error}: {}", shown()),
        };
        assert!(answer.status < 500, "seed {seed}, request {sent}: {} {answer:?} {}", shown(), answer.text());
        // Another method of the same path may be open.
        let reads = [&b"GET "[..], b"HEAD "].iter().any(|method| request.starts_with(method));
        let is_open = operation.is_open
            || reads && operations.iter().any(|other| other.is_open && other.path == operation.path);
        if !has_token && !is_open && answer.status != 404 && answer.status != 405 {
            assert!(
                matches!(answer.status, 400..=499),
                "seed {seed}, request {sent}: {answer:?} {}",
                shown()
            );
        }
        if answer.status >= 400 && !request.starts_with(b"HEAD") {
            refused += 1;
            assert_eq!(answer.header("content-type"), Some("application/json"), "{}: {answer:?}", shown());
            let code = answer.code();
            assert!(documented.contains(&format!("`{code}`")), "{code} is not documented: {}", shown());
        }
        // Some of these requests remove the app, or deploy it again without its stores.
        if sent.is_multiple_of(97) {
            deploy();
        }
    }
    assert!(refused > sent / 4 && refused < sent && cut < sent / 10, "{refused} and {cut} of {sent}");
    assert!(!host.own_log().contains("panicked"), "{}", host.own_log());
    deploy();
    assert_eq!(host.get("/hello/").ok(), "Hello from wfn!\n");
    eprintln!("{sent} requests, {refused} refused, {cut} cut");
}
