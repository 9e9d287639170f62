//! The larger examples do what they say, deployed by their own manifests.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Answer, Host, Request, root, until};
use crate::upstream::Upstream;

/// Deploys an example by its `wfn.toml`.
#[track_caller]
fn deploy(host: &Host, folder: &str, flags: &[&str]) {
    let manifest = root().join("guest-examples").join(folder).join("wfn.toml");
    host.wfn(&[&["deploy", manifest.to_str().unwrap()], flags].concat()).ok();
}

/// Whether the tools for an example were there when the guests were built.
fn is_built(name: &str) -> bool {
    let is_built = root().join("target/guests").join(format!("{name}.wasm")).is_file();
    if !is_built {
        eprintln!("left out {name}: 'cargo xtask guests --all' builds it");
    }
    is_built
}

/// No call has failed, whoever called.
#[track_caller]
fn assert_nothing_failed(host: &Host, app: &str) {
    let log = host.logs(app);
    assert_eq!((host.number(app, "failed"), log.contains("failed")), (0, false), "{log}");
}

fn send(host: &Host, method: &str, path: &str, body: &str) -> Answer {
    Request::new(method, path).header("content-type", "application/json").body(body).send(&host.functions)
}

fn json_of(answer: Answer) -> Value {
    serde_json::from_str(&answer.ok()).unwrap()
}

/// What both the Rust and the JavaScript example answer.
fn notes(host: &Host, app: &str) {
    let path = |rest: &str| format!("/{app}/notes{rest}");
    assert_eq!(json_of(host.get(&path(""))), json!({ "notes": [], "next": null }));
    let made = send(host, "POST", &path(""), r#"{"text": "first"}"#);
    assert_eq!((made.status, made.header("location")), (201, Some("/notes/1")));
    assert_eq!(serde_json::from_str::<Value>(&made.text()).unwrap(), json!({ "id": 1, "text": "first" }));
    let large = json!({ "text": "x".repeat(70_000) }).to_string();
    for (body, status) in [("[", 400), (r#"{"words": 1}"#, 400), (large.as_str(), 413)] {
        assert_eq!(send(host, "POST", &path(""), body).status, status, "{:.20}", body);
    }

    // Made at the same time, each is one of its own.
    thread::scope(|scope| {
        for client in 0..8 {
            let path = path("");
            scope.spawn(move || {
                for number in 0..5 {
                    let body = json!({ "text": format!("{client}/{number}") }).to_string();
                    assert_eq!(send(host, "POST", &path, &body).status, 201);
                }
            });
        }
    });
    let listed = json_of(host.get(&path("")));
    let listed = listed["notes"].as_array().unwrap();
    let ids: Vec<u64> = listed.iter().map(|note| note["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=41).collect::<Vec<_>>());
    let texts: BTreeSet<&str> = listed.iter().map(|note| note["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 41);
    let rest = json_of(host.get(&path("?after=39")));
    assert_eq!(rest["notes"].as_array().unwrap().len(), 2);

    let read = host.get(&path("/1"));
    let state = read.header("etag").unwrap().to_owned();
    assert_eq!(json_of(read), json!({ "id": 1, "text": "first" }));
    let change = |state: &str, text: &str| {
        let body = json!({ "text": text }).to_string();
        let request = Request::new("PUT", &path("/1")).header("content-type", "application/json");
        request.header("if-match", state).body(body).send(&host.functions).status
    };
    assert_eq!(change(&state, "second"), 204);
    assert_eq!(change(&state, "third"), 412);
    assert_eq!(json_of(host.get(&path("/1"))), json!({ "id": 1, "text": "second" }));
    assert_eq!(send(host, "DELETE", &path("/1"), "").status, 204);
    assert_eq!(host.get(&path("/1")).status, 404);
    assert_eq!(change(&state, "gone"), 404);
    assert_eq!(host.number(app, "failed"), 0);
}

#[test]
fn notes_are_kept_in_rust() {
    let host = Host::start();
    deploy(&host, "rust/notes", &[]);
    notes(&host, "notes");
    // A number is never given twice, and what was kept stays.
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(
        send(&host, "POST", "/notes/notes", r#"{"text": "later"}"#).header("location"),
        Some("/notes/42")
    );
    assert_eq!(json_of(host.get("/notes/notes"))["notes"].as_array().unwrap().len(), 41);
}

#[test]
fn notes_are_kept_in_javascript() {
    if is_built("js-notes") {
        let host = Host::start();
        deploy(&host, "js/notes", &[]);
        notes(&host, "js-notes");
    }
}

#[test]
fn proxy_keeps_what_may_be_kept() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "rust/proxy", &["--env", &format!("UPSTREAM={}", upstream.url(""))]);
    let get = |path: &str| {
        let answer = host.get(&format!("/proxy{path}"));
        let cache = answer.header("x-cache").unwrap_or_default().to_owned();
        (answer.status, cache, answer.text())
    };
    let kept = |status: u16, cache: &str, text: &str| (status, cache.to_owned(), text.to_owned());
    for (path, body, second) in [
        ("/ok", "ok from upstream", "hit"),
        ("/lasting?max-age=600", "how long it lasts is in the query", "hit"),
        ("/lasting?max-age=0", "how long it lasts is in the query", "miss"),
        ("/lasting?private", "how long it lasts is in the query", "pass"),
    ] {
        let before = upstream.requests();
        assert_eq!(get(path), kept(200, if second == "pass" { "pass" } else { "miss" }, body), "{path}");
        assert_eq!(get(path), kept(200, second, body), "{path}");
        assert_eq!(upstream.requests() - before, if second == "hit" { 1 } else { 2 }, "{path}");
    }
    let answer = host.get("/proxy/lasting?max-age=600");
    assert_eq!(answer.header("content-type"), Some("text/x-lasting"));
    assert_eq!(get("/once"), kept(200, "miss", "once"));
    assert_eq!(get("/once"), kept(200, "stale", "once"));
    assert_eq!(get("/redirect?http://10.0.0.1/").0, 302);
    let posted = send(&host, "POST", "/proxy/echo", "as it is");
    assert_eq!((posted.header("x-cache"), posted.text()), (Some("pass"), "as it is".to_owned()));
    let headers = get("/headers").2;
    assert!(headers.contains(&format!("\"host\": \"{}\"", upstream.address)), "{headers}");
    assert!(!headers.contains("transfer-encoding"), "{headers}");
    assert_eq!(host.number("proxy", "failed"), 0);
}

#[test]
fn text_is_extracted_from_one_container_into_another() {
    let host = Host::start();
    deploy(&host, "rust/extract", &[]);
    let page = root().join("tests/data/page-73k.html");
    let put = |name: &str, content_type: &str| {
        let file = page.to_str().unwrap();
        host.wfn(&["blob", "put", "extract", "pages", name, file, "--content-type", content_type]).ok()
    };
    let text_of = |page: &str| host.wfn(&["blob", "get", "extract", "texts", &format!("{page}.txt")]);
    put("a b/page.html", "text/html; charset=utf-8");
    put("picture", "image/png");
    // Read before it is removed, or not: neither is a failure.
    put("gone.html", "text/html");
    host.wfn(&["blob", "rm", "extract", "pages", "gone.html"]).ok();
    let text = until("the text is there by itself", || {
        let got = text_of("a b/page.html");
        (got.code == Some(0)).then_some(got.stdout)
    });
    assert!(text.contains("The Rust Programming Language\n"), "{text:.400}");
    assert!(!text.contains("</") && !text.contains("localStorage"), "{text}");

    // While a long version is read, a short one is put: the text is the newest one's in the end.
    let long = fs::read_to_string(&page).unwrap().repeat(20);
    for body in [&long, "<title>not shown</title><p>short"] {
        let answer = Request::new("PUT", "/v1/apps/extract/blobs/pages/changed.html")
            .header("authorization", &format!("Bearer {}", host.token()))
            .header("content-type", "text/html")
            .body(body)
            .send(&host.admin);
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }
    until("every page is dealt with", || {
        let listed = host.wfn(&["queue", "ls", "extract", "--json"]).json();
        assert_eq!(listed["queues"][0]["dead"], 0, "{listed}");
        (listed["queues"][0]["messages"] == 0).then_some(())
    });
    assert_eq!(text_of("changed.html").ok(), "short\n");
    assert_eq!(text_of("picture").code, Some(1));

    let post = |name: &str| Request::new("POST", &format!("/extract/{name}")).body("").send(&host.functions);
    let written = json_of(post("a%20b/page.html"));
    assert_eq!((&written["blob"], &written["bytes"]), (&"a b/page.html.txt".into(), &text.len().into()));
    assert_eq!(text_of("a b/page.html").ok(), text);
    // Again it is another version of the same.
    assert_ne!(json_of(post("a%20b/page.html"))["etag"], written["etag"]);
    for (name, status) in [("absent", 404), ("picture", 415), ("..", 400), ("", 403)] {
        assert_eq!(post(name).status, status, "{name}");
    }
    assert_nothing_failed(&host, "extract");
}

/// What both the Rust and the JavaScript example report.
fn reports(host: &Host, app: &str) {
    let visit = |page: &str| send(host, "POST", &format!("/{app}/visits/{page}"), "");
    for (page, count) in [("home", "1\n"), ("gr%C3%B6%C3%9Fe%201", "1\n"), ("home", "2\n"), ("about", "1\n")]
    {
        assert_eq!(visit(page).ok(), count, "{page}");
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).for_each(|_| drop(visit("home").ok())));
        }
    });
    for page in ["two%0Alines", &"x".repeat(101)] {
        assert_eq!(visit(page).status, 422, "{page}");
    }
    let forged = Request::new("POST", &format!("/{app}/nightly")).header("wfn-trigger", "nightly");
    let forged = forged.header("content-type", "application/json").body("{}").send(&host.functions);
    assert_eq!(forged.status, 403, "{}", forged.text());

    let fired = host.wfn(&["trigger", "fire", app, "nightly"]).ok();
    assert!(fired.starts_with("nightly has run in ") && fired.contains(" ms, invocation "), "{fired}");
    let listed = host.wfn(&["blob", "ls", app, "reports"]).ok();
    let blob = listed.split_whitespace().last().unwrap();
    let path = format!("/{app}/reports/{}", blob.strip_suffix(".txt").unwrap());
    let report = host.get(&path);
    assert_eq!(report.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(report.ok(), "about 1\ngröße 1 1\nhome 14\n");
    // The day's first report stays.
    visit("home").ok();
    host.wfn(&["trigger", "fire", app, "nightly"]).ok();
    assert_eq!(host.get(&path).ok(), "about 1\ngröße 1 1\nhome 14\n");
    for absent in ["1999-12-31", "home"] {
        assert_eq!(host.get(&format!("/{app}/reports/{absent}")).status, 404, "{absent}");
    }
    assert_nothing_failed(host, app);
}

#[test]
fn visits_are_reported_in_rust() {
    let host = Host::start();
    deploy(&host, "rust/report", &[]);
    reports(&host, "report");
}

#[test]
fn visits_are_reported_in_javascript() {
    if is_built("js-report") {
        let host = Host::start();
        deploy(&host, "js/report", &[]);
        reports(&host, "js-report");
    }
}
