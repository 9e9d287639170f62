//! Guests in every language: the examples answer, and what `wfn new` makes can be built, deployed and called.
//!
//! Rust, Python and C are always tested. `cargo xtask guests --all` brings JavaScript and Go, too; what was not
//! built is said to be left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Host, Request, page, root, run};
use crate::upstream::Upstream;

/// Whether an optional example was built; says so if not.
fn is_built(example: &str) -> bool {
    let built = root().join("target/guests").join(format!("{example}.wasm")).is_file();
    if !built {
        eprintln!("left out {example}: 'cargo xtask guests --all' builds it");
    }
    built
}

/// POSTs the page of the HTML benchmark and gives elements and links.
fn counts(host: &Host, app: &str) -> (Option<u64>, Option<u64>) {
    let answer = Request::new("POST", &format!("/{app}/")).body(page()).send(&host.functions);
    let counts: serde_json::Value = serde_json::from_str(&answer.ok()).unwrap();
    (counts["elements"].as_u64(), counts["links"].as_u64())
}

#[test]
fn python_answers_in_reused_instances_one_request_at_a_time() {
    let host = Host::start();
    host.deploy("python-html-parse", &["--max-instances", "1"]);
    for _ in 0..3 {
        // One element more than a browser's tree has: guest-examples/python/README.md.
        assert_eq!(counts(&host, "python-html-parse"), (Some(921), Some(30)));
    }
    let group = host.group("python-html-parse");
    assert_eq!((group["concurrency"].as_u64(), group["failed"].as_u64()), (Some(1), Some(0)), "{group}");
    assert_eq!(group["cold"], 1, "{group}");
    assert_eq!(host.get("/python-html-parse/").status, 405);
    // An explicit value stays, and the default comes back from the stored revision.
    host.wfn(&["scale", "python-html-parse", "--concurrency", "4"]).ok();
    assert_eq!(host.number("python-html-parse", "concurrency"), 4);
    host.wfn(&["rollback", "python-html-parse", "1"]).ok();
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(host.number("python-html-parse", "concurrency"), 1);
    assert_eq!(counts(&host, "python-html-parse"), (Some(921), Some(30)));
}

#[test]
fn javascript_answers_each_request_in_a_fresh_instance() {
    if !is_built("js-html-parse") {
        return;
    }
    let host = Host::start();
    host.deploy("js-html-parse", &[]);
    for _ in 0..3 {
        assert_eq!(counts(&host, "js-html-parse"), (Some(920), Some(30)));
    }
    assert_eq!(host.admin_get("/v1/apps/js-html-parse")["isolation"], "fresh");
    assert_eq!(host.number("js-html-parse", "failed"), 0);
}

#[test]
fn c_and_go_answer_as_cgi_programs() {
    let host = Host::start();
    host.deploy("c-form", &[]);
    let form = Request::new("POST", "/c-form/").header("content-type", "application/x-www-form-urlencoded");
    let answer = form.body("a=1&b=x%20y").send(&host.functions);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.ok(), "{\"a\":\"1\",\"b\":\"x y\"}\n");
    if is_built("go-digest") {
        host.deploy("go-digest", &[]);
        let answer = Request::new("POST", "/go-digest/").body(page()).send(&host.functions).ok();
        assert!(
            answer.contains("5238af6facc4afa3c95165e13a680cce431051a03ffc700a963972eea7aef29e"),
            "{answer}"
        );
    }
}

#[test]
fn a_core_module_with_a_component_type_becomes_a_component() {
    let host = Host::start();
    let deployed = host.deploy("core-module", &["-e", "COLOUR=red"]);
    assert_eq!(deployed["kind"], "p2", "{deployed}");
    for _ in 0..2 {
        assert_eq!(host.get("/core-module/x").ok(), "a component by now: red, true\n");
    }
    assert!(host.logs("core-module").contains("asked for /x"));
    assert_eq!(host.number("core-module", "cold"), 1);
    // The component is made again from what was handed in only where its code is gone.
    let host = Host::start_in(&host.kill(), &[]);
    host.get("/core-module/y").ok();
}

#[test]
fn what_a_guest_may_not_do_fails_with_its_own_error() {
    let host = Host::start();
    host.deploy("faults", &["-e", "K=v"]);
    assert_eq!(host.get("/faults/env?key=K").ok().trim(), "v");
    assert_eq!(host.get("/faults/random").status, 200);
    assert_eq!(host.get("/faults/clock").status, 200);
    for path in ["/fs", "/connect?port=1", "/dns?name=localhost"] {
        let answer = host.get(&format!("/faults{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        eprintln!("{path}: {}", answer.text());
        assert!(!answer.text().to_lowercase().starts_with("ok"), "{path}: {}", answer.text());
    }
    assert_eq!(host.number("faults", "failed"), 0);
}

/// `wfn new NAME` in `folder`, with the tools that built the examples.
fn new_project(folder: &Path, template: &str, name: &str) -> PathBuf {
    run(Command::new(env!("CARGO_BIN_EXE_wfn")).args(["new", "-t", template, name]).current_dir(folder)).ok();
    let project = folder.join(name);
    if template == "js" {
        std::os::unix::fs::symlink(js_packages(), project.join("node_modules")).unwrap();
    }
    project
}

/// `wfn new`, `wfn build`, `wfn deploy`, and a call.
fn a_new_project_answers(template: &str, kind: &str, path: &str, expected: &str) {
    let folder = tempfile::TempDir::new().unwrap();
    let name = format!("new-{template}");
    let project = new_project(folder.path(), template, &name);
    build(&project, template);
    let host = Host::start();
    let said = host.wfn(&["deploy", project.to_str().unwrap()]).ok();
    assert!(said.contains(&format!("({kind})")), "{said}");
    for _ in 0..2 {
        let answer = host.get(&format!("/{name}{path}")).ok();
        assert!(answer.contains(expected), "{template}: {answer}");
    }
    assert_eq!(host.number(&name, "failed"), 0);
}

/// Builds in the environment that `cargo xtask guests` left; Rust's dependencies are kept between runs.
fn build(project: &Path, template: &str) {
    let target = root().join("target/templates").join(template);
    let environment = root().join("target/guests/env.sh");
    let script = ". \"$1\"; ln -s \"$2\" target; exec \"$3\" build";
    let mut shell = Command::new("sh");
    shell.args(["-ec", script, "sh"]).arg(environment).arg(&target).arg(env!("CARGO_BIN_EXE_wfn"));
    std::fs::create_dir_all(&target).unwrap();
    // What this test itself was built with is not for the project.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO") || name.starts_with("RUST") {
            shell.env_remove(name);
        }
    }
    run(shell.env("WFN_SDK_PYTHON", root().join("sdk/python")).current_dir(project)).ok();
}

#[test]
fn new_rust() {
    a_new_project_answers("rust", "p2", "/", "Hello from new-rust!");
}

#[test]
fn new_rust_async() {
    a_new_project_answers("rust-async", "p3", "/wait", "waited 100 ms");
}

#[test]
fn new_c() {
    a_new_project_answers("c", "command", "/?name=wfn", "wfn");
}

#[test]
fn new_go() {
    if is_built("go-digest") && root().join("target/tools/go").is_dir() {
        a_new_project_answers("go", "command", "/?name=wfn", "wfn");
    }
}

#[test]
fn new_js() {
    if is_built("js-html-parse") && js_packages().is_dir() {
        a_new_project_answers("js", "p2", "/?name=wfn", "wfn");
    }
}

#[test]
fn javascript_asks_many_at_the_same_time() {
    if !(is_built("js-html-parse") && js_packages().is_dir()) {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let project = new_project(folder.path(), "js", "fan-out");
    let script = "addEventListener('fetch', (event) => event.respondWith(all(event.request)));
        async function all(request) {
          const url = new URL(request.url).searchParams.get('url');
          const texts = await Promise.all(Array.from({ length: 10 }, async () => (await fetch(url)).text()));
          return new Response(texts.join(' '));
        }";
    std::fs::write(project.join("src/index.js"), script).unwrap();
    build(&project, "js");
    let (host, upstream) = (Host::start(), Upstream::start());
    host.wfn(&["deploy", project.to_str().unwrap(), "--allow-outbound", &upstream.url("")]).ok();
    let answer = host.get(&format!("/fan-out?url={}", upstream.url("/wait?500"))).ok();
    assert_eq!(answer, ["waited"; 10].join(" "));
    assert_eq!((upstream.requests(), upstream.most()), (10, 10));
}

/// One project for all, because building and compiling one takes a minute.
#[test]
fn new_python_answers_asks_many_at_the_same_time_and_runs_flask() {
    let folder = tempfile::TempDir::new().unwrap();
    let project = new_project(folder.path(), "python", "new-python");
    std::fs::rename(project.join("app.py"), project.join("hello.py")).unwrap();
    // The application of the package's own tests, which knows nothing of wfn.
    let flask = root().join("sdk/python/tests/apps/flask");
    run(Command::new("cp").arg("-r").arg(flask).arg(project.join("shop"))).ok();
    std::fs::write(project.join("shop/__init__.py"), "").unwrap();
    let manifest = std::fs::read_to_string(project.join("wfn.toml")).unwrap();
    let packages = root().join("target/tools/flask").display().to_string();
    let build_too = manifest.replace("-o build/", &format!("--path {packages} -o build/"));
    std::fs::write(project.join("wfn.toml"), build_too).unwrap();
    let script = r#"
from urllib.parse import parse_qs
from hello import application as hello
from shop.app import app as shop
from wfn.fetch import Request, fetch, fetch_all

def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/shop/"):
        environ["SCRIPT_NAME"] += "/shop"
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/shop")
        return shop(environ, start_response)
    url = parse_qs(environ["QUERY_STRING"]).get("url", [None])[0]
    if url is None:
        return hello(environ, start_response)
    answers = fetch_all([Request(url)] * 10)
    stored = fetch("http://wfn.internal/kv/default/a", "PUT", body=b"x" * 10_000)
    read = fetch("http://wfn.internal/kv/default/a")
    try:
        fetch("http://10.0.0.1/")
    except OSError as error:
        refused = str(error)
    said = f"{[answer.body.decode() for answer in answers]} {stored.status} {len(read.body)} {refused}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"#;
    std::fs::write(project.join("app.py"), script).unwrap();
    build(&project, "python");
    let (host, upstream) = (Host::start(), Upstream::start());
    let flags = ["--allow-outbound", &upstream.url(""), "--key-value-store", "default"];
    host.wfn(&[&["deploy", project.to_str().unwrap()], &flags[..]].concat()).ok();
    for _ in 0..2 {
        assert_eq!(host.get("/new-python/?name=wfn").ok(), "Hello, wfn, from new-python!\n");
        let answer = host.get(&format!("/new-python?url={}", upstream.url("/wait?500"))).ok();
        assert!(answer.starts_with(&format!("{:?}", ["waited"; 10]).replace('"', "'")), "{answer}");
        let refused =
            "http://10.0.0.1: the address of the server needs an entry of its own in allowed_outbound_hosts";
        assert!(answer.contains(" 204 10000 ") && answer.contains(refused), "{answer}");
    }
    assert_eq!((upstream.requests(), upstream.most()), (20, 10));
    let page = host.get("/new-python/shop/page/Eve%20%3Cb%3E").ok();
    assert!(page.contains("<p title=\"a &#34;quoted&#34; text\">Good day, Eve &lt;b&gt;</p>"), "{page}");
    assert!(page.contains("href=\"/new-python/shop/static/style.css\""), "{page}");
    assert_eq!(host.get("/new-python/shop/static/style.css").ok(), "body { color: teal; }\n");
    let visit = host.get("/new-python/shop/visits");
    let cookie = visit.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap().to_owned();
    let again = Request::new("GET", "/new-python/shop/visits").header("cookie", &cookie);
    assert_eq!(
        (visit.ok().trim(), again.send(&host.functions).ok().trim()),
        ("{\"visits\":1}", "{\"visits\":2}")
    );
    let form = Request::new("POST", "/new-python/shop/form").body("name=A%C3%A4");
    let form = form.header("content-type", "application/x-www-form-urlencoded").send(&host.functions);
    assert_eq!(form.ok(), "{\"file\":null,\"name\":\"A\\u00e4\"}\n");
    let error = host.get("/new-python/shop/error");
    assert_eq!(error.status, 500);
    assert!(!error.text().contains("ZeroDivisionError"), "{}", error.text());
    assert!(host.logs("new-python").contains("ZeroDivisionError: division by zero"));
    assert_eq!(host.number("new-python", "failed"), 0);
}

/// What `npm install` brought for the example: the packages of the template, too.
fn js_packages() -> PathBuf {
    root().join("guest-examples/js/html-parse/node_modules")
}
