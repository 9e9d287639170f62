//! Bad modules, manifests, names and uploads: a 4xx with a stable code and a message that names the thing;
//! nothing stored changes.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Answer, Connection, DataDir, Host, Request, guest, hex_sha256, wfn};

pub fn put(host: &Host, bytes: &[u8]) -> Answer {
    Request::new("PUT", &format!("/v1/modules/{}", hex_sha256(bytes)))
        .header("wfn-token", &host.token())
        .body(bytes)
        .send(&host.admin)
}

pub fn post(host: &Host, path: &str, body: &str) -> Answer {
    Request::new("POST", path).header("wfn-token", &host.token()).body(body).send(&host.admin)
}

/// Uploads `bytes` and tries to deploy them as `app`.
pub fn deploy_bytes(host: &Host, app: &str, bytes: &[u8]) -> Answer {
    assert_eq!(put(host, bytes).status, 201);
    let body = json!({ "module": hex_sha256(bytes), "manifest": { "name": app } });
    post(host, &format!("/v1/apps/{app}/revisions"), &body.to_string())
}

pub fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn modules_that_cannot_run_are_refused_by_name() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let good = fs::read(guest("hello")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0xff;
    let cases: Vec<(&str, Vec<u8>, &[&str], &str)> = vec![
        ("text", b"hello".to_vec(), &["not-wasm"], "WebAssembly"),
        ("an ELF file", b"\x7fELF\x02\x01\x01".to_vec(), &["not-wasm"], "native"),
        ("a zip file", b"PK\x03\x04".to_vec(), &["not-wasm"], "zip"),
        ("half a module", good[..good.len() / 2].to_vec(), &["malformed-module"], "damaged"),
        ("a few bytes", good[..6].to_vec(), &["malformed-module"], "damaged"),
        ("a core module", wat("(module)"), &["no-entry"], "wasi:http/incoming-handler"),
        ("a reactor", wat("(module (func (export \"_initialize\")))"), &["no-entry"], "reactor"),
        (
            "a command that wants more",
            wat("(module
                   (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32)))
                   (import \"wasi_snapshot_preview1\" \"fd_fly\" (func)) (import \"env\" \"emscripten_x\" (func))
                   (func (export \"_start\")))"),
            &["unknown-imports"],
            "wasi_snapshot_preview1/fd_fly, env/emscripten_x",
        ),
        (
            "a command for another function type",
            wat("(module
                   (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i64))) (func (export \"_start\")))"),
            &["link-failed"],
            "fd_write",
        ),
        (
            "a command that traps at start",
            wat("(module (func $s unreachable) (start $s) (func (export \"_start\")))"),
            &["start-failed"],
            "unreachable",
        ),
        (
            "a component type that is none",
            wat("(module (@custom \"component-type:x\" \"nonsense\"))"),
            &["not-a-component"],
            "component",
        ),
        (
            "a draft of WASI 0.3",
            wat("(component (instance $i) (export \"wasi:http/handler@0.3.0-rc-2025-09-16\" (instance $i)))"),
            &["no-entry"],
            "draft",
        ),
        (
            "unknown imports of an asynchronous guest",
            wat("(component
                   (import \"acme:db/query@1.0.0\" (instance)) (import \"wasi:http/types@0.2.3\" (instance))
                   (import \"wasi:clocks/timezone@0.3.0\" (instance))
                   (instance $i) (export \"wasi:http/handler@0.3.0\" (instance $i)))"),
            &["unknown-imports"],
            "acme:db/query@1.0.0, wasi:clocks/timezone@0.3.0; ",
        ),
        ("an empty component", wat("(component)"), &["no-entry"], "wasi:http/incoming-handler"),
        (
            "threads",
            wat("(component (core module (memory 1 2 shared)))"),
            &["unsupported-feature"],
            "threads",
        ),
        (
            "unknown imports",
            wat("(component
                   (import \"acme:db/query@1.0.0\" (instance))
                   (import \"wasi:http/types@0.3.0\" (instance))
                   (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))"),
            &["unknown-imports"],
            "acme:db/query@1.0.0, wasi:http/types@0.3.0",
        ),
        (
            "a handler that is none",
            wat("(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))"),
            &["link-failed"],
            "handle",
        ),
        (
            "a guest that traps at start",
            wat("(component
                   (core module $m (func $s unreachable) (start $s)) (core instance (instantiate $m))
                   (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))"),
            &["link-failed", "start-failed"],
            "",
        ),
        (
            "a component of an old encoding",
            b"\0asm\x0c\0\x01\0".to_vec(),
            &["unsupported-feature"],
            "encoding 12, from before WASI 0.2",
        ),
        (
            "a program as a component",
            wat("(component (instance $i) (export \"wasi:cli/run@0.2.3\" (instance $i)))"),
            &["no-entry"],
            "wasm32-wasip1",
        ),
        (
            "a draft of WASI 0.2",
            wat("(component (instance $i)
                   (export \"wasi:http/incoming-handler@0.2.0-rc-2023-11-10\" (instance $i)))"),
            &["no-entry"],
            "a draft of WASI 0.2",
        ),
        (
            "imports from a draft of WASI 0.2",
            wat("(component
                   (import \"wasi:io/streams@0.2.0-rc-2023-11-10\" (instance))
                   (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))"),
            &["unknown-imports"],
            "drafts of WASI",
        ),
        (
            "a module for Spin 1",
            wat("(module (func (export \"_start\")) (func (export \"handle-http-request\")))"),
            &["no-entry"],
            "Spin 1",
        ),
        (
            "exceptions in their old encoding",
            wat("(module (func (export \"_start\") try catch_all end))"),
            &["unsupported-feature"],
            "exceptions in their old encoding ('wasm-opt --translate-to-exnref'",
        ),
        (
            "the same in a component",
            wat("(component
                   (core module (func try catch_all end))
                   (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))"),
            &["unsupported-feature"],
            "exceptions in their old encoding",
        ),
        (
            "two at once",
            wat("(module (memory 1 (pagesize 1)) (func (export \"_start\") try catch_all end))"),
            &["unsupported-feature"],
            " and custom page sizes",
        ),
        ("a flipped byte", flipped, &["malformed-module", "invalid-module", "link-failed", "no-entry"], ""),
    ];
    for (name, bytes, codes, part) in cases {
        let answer = deploy_bytes(&host, "hello", &bytes);
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert!(codes.contains(&answer.code().as_str()), "{name}: {}", answer.text());
        assert!(answer.text().contains(part), "{name}: {}", answer.text());
    }
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 1);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
}

#[test]
fn every_truncation_is_refused() {
    let host = Host::start();
    let good = fs::read(guest("hello")).unwrap();
    for i in 1..60 {
        let bytes = &good[..good.len() * i / 60];
        let answer = deploy_bytes(&host, "cut", bytes);
        assert_eq!(answer.status, 422, "{} bytes: {}", bytes.len(), answer.text());
    }
    assert_eq!(host.admin_get("/v1/apps")["apps"], json!([]));
}

#[test]
fn a_module_that_takes_too_much_to_compile_costs_only_its_own_child() {
    let host = Host::start();
    host.deploy("hello", &[]);
    // Every block carries a thousand values on: 20 KB to upload, and the compiler needs gigabytes for it.
    let values = "i32 ".repeat(1_000);
    let bytes = wat(&format!(
        "(module (type (func (param {values}) (result {values}))) (func (export \"_start\"))
           (func (param {values}) (result {values}) {} {}))",
        "i32.const 1 ".repeat(1_000),
        "block (type 0) end ".repeat(5_000),
    ));
    let load = crate::harness::Load::start(&host, "/hello", 1, "Hello from wfn!\n");
    let answer = deploy_bytes(&host, "bomb", &bytes);
    assert_eq!((answer.status, answer.code().as_str()), (422, "module-too-costly"), "{}", answer.text());
    load.end();
}

#[test]
fn uploads_are_stored_whole_or_not_at_all() {
    let host = Host::start();
    let count = || fs::read_dir(host.data.path().join("modules")).unwrap().count();
    let hash = "0".repeat(64);
    let wrong = Request::new("PUT", &format!("/v1/modules/{hash}"))
        .header("wfn-token", &host.token())
        .body("something else")
        .send(&host.admin);
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "hash-mismatch"));

    let mut huge = Connection::open(&host.admin);
    let token = host.token();
    let head = |length: u64| {
        format!(
            "PUT /v1/modules/{hash} HTTP/1.1\r\nhost: a\r\nwfn-token: {token}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    huge.write(head(4 << 30).as_bytes());
    let refused = huge.read_answer().unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (413, "module-too-large"));

    let mut cut = Connection::open(&host.admin);
    cut.write(head(1_000_000).as_bytes());
    cut.write(&[0; 5_000]);
    crate::harness::until("the upload has begun", || (count() == 1).then_some(()));
    drop(cut);
    crate::harness::until("it is removed", || (count() == 0).then_some(()));

    let name = Request::new("PUT", "/v1/modules/..%2f..%2fetc").header("wfn-token", &host.token()).body("x");
    let answer = name.send(&host.admin);
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-name"));
    assert_eq!(count(), 0);
}

#[test]
fn bad_admin_requests_name_what_is_wrong() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let module = host.admin_get("/v1/apps/hello")["module"].as_str().unwrap().to_owned();
    let revision = |app: &str, manifest: Value| {
        let body = json!({ "module": module, "manifest": manifest });
        post(&host, &format!("/v1/apps/{app}/revisions"), &body.to_string())
    };
    let absent = "1".repeat(64);
    let cases = [
        ("a slash", revision("a%2fb", json!({ "name": "a/b" })), 400, "invalid app name"),
        ("dots", revision("..%2f", json!({ "name": ".." })), 400, "invalid app name"),
        ("two names", revision("hello", json!({ "name": "other" })), 400, "other"),
        ("unknown key", revision("hello", json!({ "name": "hello", "colour": 1 })), 400, "colour"),
        (
            "a wrong class",
            revision("hello", json!({ "name": "hello", "scale": { "memory_mb": 1024 } })),
            400,
            "2048 or 4096",
        ),
        (
            "a wrong unit",
            revision("hello", json!({ "name": "hello", "scale": { "timeout": 5 } })),
            400,
            "duration",
        ),
        ("too long", revision("hello", json!({ "name": "hello", "scale": { "timeout": "2h" } })), 400, "1h"),
        ("a bad env", revision("hello", json!({ "name": "hello", "env": { "A=B": "" } })), 422, "A=B"),
        ("no json", post(&host, "/v1/apps/hello/revisions", "{"), 400, "line 1"),
        (
            "no module",
            post(
                &host,
                "/v1/apps/hello/revisions",
                &json!({ "module": absent, "manifest": { "name": "hello" } }).to_string(),
            ),
            409,
            "upload it first",
        ),
        ("no app", post(&host, "/v1/apps/nobody/rollback", "{}"), 404, "nobody"),
        ("no path", post(&host, "/v2/nothing", "{}"), 404, "nothing at this path"),
        ("no method", post(&host, "/v1/host", "{}"), 405, "other methods"),
        ("a large body", post(&host, "/v1/apps/hello/revisions", &" ".repeat(2 << 20)), 413, ""),
    ];
    for (name, answer, status, part) in cases {
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(answer.text().contains(part), "{name}: {}", answer.text());
    }
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 1);
}

#[test]
fn the_command_line_says_what_is_wrong_and_where() {
    let folder = DataDir::new();
    let write = |text: &str| fs::write(folder.path().join("wfn.toml"), text).unwrap();
    let host = Host::start();
    let deploy = || host.wfn(&["deploy", folder.path().to_str().unwrap()]).refused();
    for (text, parts) in [
        ("name = \"a\"\nmodul = \"x\"\n", &["wfn.toml", "line 2", "modul", "module"][..]),
        ("name = \"a\"\n[scale]\ntimeout = 30\n", &["wfn.toml", "line 3", "duration"]),
        ("name = \"A B\"\n", &["wfn.toml", "line 1", "a-z"]),
        ("name = \"a\"\nmodule = \"gone.wasm\"\n", &["gone.wasm"]),
    ] {
        write(text);
        let said = deploy();
        assert!(parts.iter().all(|part| said.contains(part)), "{text:?}: {said}");
    }
    for (arguments, code, part) in [
        (&["deploy", "/no/such.wasm"][..], 1, "/no/such.wasm"),
        (&["frobnicate"], 2, "frobnicate"),
        (&["deploy"], 2, "MODULE"),
        (&["status", "../x"], 2, "invalid app name"),
        (&["scale", "hello", "--memory", "3000"], 2, "2048"),
    ] {
        let output = host.wfn(arguments);
        assert_eq!(output.code, Some(code), "{output:#?}");
        assert!(output.stderr.contains(part), "{output:#?}");
    }
    let nobody = wfn(&["--server", "http://127.0.0.1:9", "--token", "x", "ls"]).refused();
    assert!(nobody.contains("127.0.0.1:9") && nobody.contains("wfn up"), "{nobody}");
}
