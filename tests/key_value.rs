//! Key-value stores: what is acknowledged stays, increments are exact, and nobody reaches what was not granted.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Answer, Connection, DataDir, Host, Request, guest, until};

/// Clients that ask at the same time.
const CLIENTS: usize = 64;
/// Flags of an app that has the store `default`, with one call an instance: as many writers as calls.
const STORE: [&str; 6] = ["--key-value-store", "default", "--concurrency", "1", "--max-instances", "64"];

/// How many increments the tests about them make: `WFN_TEST_INCREMENTS=100000` for the long form.
fn increments() -> u64 {
    std::env::var("WFN_TEST_INCREMENTS").map_or(3_000, |count| count.parse().unwrap())
}

/// Deploys a guest with a manifest of its own.
#[track_caller]
fn deploy_with(host: &Host, app: &str, name: &str, manifest: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wfn.toml");
    fs::write(&file, format!("name = {app:?}\nmodule = {:?}\n{manifest}", guest(name))).unwrap();
    host.wfn(&["deploy", file.to_str().unwrap()]).ok();
}

fn send(host: &Host, method: &str, path: &str, body: &[u8]) -> Answer {
    Request::new(method, path).body(body).send(&host.functions)
}

/// Calls the `fetch` guest, which calls `http://wfn.internal/kv/…` with `method`.
fn by_http(host: &Host, method: &str, path: &str, condition: Option<(&str, &str)>, body: &[u8]) -> Answer {
    let url = format!("/fetch/as?{method}&http://wfn.internal/kv/{path}");
    let mut request = Request::new("POST", &url).body(body);
    if let Some((name, value)) = condition {
        request = request.header(name, value);
    }
    request.send(&host.functions)
}

/// Each of the clients asks for `path` again and again, as long as `goes_on` says. How many requests were answered, and
/// how many clients were cut off from an answer.
fn ask(address: &str, path: &str, goes_on: impl Fn() -> bool + Sync) -> (u64, u64) {
    let (answered, cut) = (AtomicU64::new(0), AtomicU64::new(0));
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while goes_on() {
                    let sent = connection.try_write(request.as_bytes());
                    match sent.and_then(|()| connection.read_answer()) {
                        Ok(answer) => {
                            assert_eq!(answer.status, 200, "{answer:?}: {}", answer.text());
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => {
                            cut.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                    }
                }
            });
        }
    });
    (answered.into_inner(), cut.into_inner())
}

/// As [`ask`], `count` times in all.
fn ask_times(host: &Host, path: &str, count: u64) {
    let left = AtomicU64::new(count);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let begun = Instant::now();
    assert_eq!(ask(&host.functions, path, take), (count, 0));
    eprintln!("{path}: {:.0} a second from {CLIENTS} clients", count as f64 / begun.elapsed().as_secs_f64());
}

#[test]
fn a_key_makes_no_line_of_its_own_in_what_the_command_line_shows() {
    let host = Host::start();
    let manifest = "key_value_stores = [\"default\"]\nblob_containers = [\"files\"]\nqueues = [\"work\"]";
    host.deploy_with("shop", "hello", manifest);
    let name = "a\nforged\u{202e}line\u{1b}[2J";
    host.wfn(&["kv", "put", "shop", "default", name, "x"]).ok();
    host.wfn(&["queue", "send", "shop", "work", "one\ntwo\u{2066}"]).ok();
    let shown = host.wfn(&["kv", "ls", "shop", "default"]).ok();
    assert_eq!(shown, "a\\nforged\\u{202e}line\\u{1b}[2J\n");
    let shown = host.wfn(&["queue", "peek", "shop", "work"]).ok();
    assert!(shown.lines().count() == 1 && shown.ends_with("one\\ntwo\\u{2066}\n"), "{shown}");
    // As JSON they are what they are.
    let shown = host.wfn(&["kv", "ls", "shop", "default", "--json"]).ok();
    assert_eq!(serde_json::from_str::<String>(shown.trim()).unwrap(), name);
    let blob = host.wfn(&["blob", "put", "shop", "files", "b\u{2028}\u{200f}c"]).ok();
    assert!(blob.contains("b\\u{2028}\\u{200f}c"), "{blob}");
    let shown = host.wfn(&["blob", "ls", "shop", "files"]).ok();
    assert!(shown.lines().count() == 1 && shown.ends_with("b\\u{2028}\\u{200f}c\n"), "{shown}");
}

#[test]
fn what_is_put_is_got_and_listed_until_it_is_deleted() {
    let host = Host::start();
    host.deploy("counter", &STORE);
    let get = |path: &str| host.get(&format!("/counter{path}"));
    assert_eq!(get("/get?default&a").status, 404);
    let binary: Vec<u8> = (0..=255).collect();
    for (key, value) in [("a", &binary[..]), ("a%2Fb%20%00", b"with all kinds"), ("c", b"")] {
        assert_eq!(send(&host, "PUT", &format!("/counter/put?default&{key}"), value).status, 200);
        assert_eq!(get(&format!("/get?default&{key}")).body, value);
    }
    assert_eq!(get("/exists?default&c").ok(), "true\n");
    assert_eq!(get("/list?default").ok(), "a\na/b \0\nc\nnext\n");
    assert_eq!(get("/list?default&a").ok(), "a/b \0\nc\nnext\n", "a cursor is the key to go on after");
    get("/delete?default&a").ok();
    get("/delete?default&a").ok();
    assert_eq!(get("/get?default&a").status, 404);
    assert_eq!(get("/increment?default&n&-3").ok(), "-3\n");
    assert_eq!(get("/add?default&n&5").ok(), "2\n");
    assert_eq!(get("/get?default&n").ok(), "2");
    assert_eq!(send(&host, "POST", "/counter/create?default&new", b"1").ok(), "done\n");
    assert_eq!(send(&host, "POST", "/counter/create?default&new", b"2").ok(), "it is there\n");
    assert_eq!(get("/get?default&new").ok(), "1");
    assert_eq!(get("/batch?default&256").ok(), "256 set, got them true, 0 left\n");
}

#[test]
fn every_language_has_the_same_by_http() {
    let host = Host::start();
    host.deploy("fetch", &STORE);
    let put = by_http(&host, "PUT", "default/a%2Fb", None, b"one");
    assert_eq!((put.status, put.body.len()), (204, 0));
    let got = by_http(&host, "GET", "default/a/b", None, b"");
    assert_eq!((got.status, got.text().as_str()), (200, "one"));
    let tag = got.header("etag").unwrap().to_owned();
    assert_eq!(put.header("etag"), Some(tag.as_str()));
    let head = by_http(&host, "HEAD", "default/a%2Fb", None, b"");
    assert_eq!((head.status, head.header("etag")), (200, Some(tag.as_str())));

    // Compare-and-swap: the second to come with the same tag is late.
    let absent = Some(("if-none-match", "*"));
    assert_eq!(by_http(&host, "PUT", "default/a/b", absent, b"two").status, 412);
    assert_eq!(by_http(&host, "PUT", "default/a/b", Some(("if-match", &tag)), b"two").status, 204);
    let late = by_http(&host, "PUT", "default/a/b", Some(("if-match", &tag)), b"three");
    assert_eq!((late.status, late.code().as_str()), (412, "key-changed"));
    assert_eq!(by_http(&host, "DELETE", "default/a/b", Some(("if-match", &tag)), b"").status, 412);
    assert_eq!(by_http(&host, "GET", "default/a/b", None, b"").ok(), "two");

    assert_eq!(by_http(&host, "POST", "default/n/increment", None, b"").ok(), "1");
    assert_eq!(host.get("/fetch/as?POST&http://wfn.internal/kv/default/n/increment?by=41").ok(), "42");
    let list = |query: &str| -> Value {
        let text = host.get(&format!("/fetch/get?http://wfn.internal/kv/default{query}")).ok();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(list(""), serde_json::json!({ "keys": ["a/b", "n"], "next": null }));
    assert_eq!(list("?limit=1"), serde_json::json!({ "keys": ["a/b"], "next": "a/b" }));
    assert_eq!(list("?limit=1&after=a%2Fb"), serde_json::json!({ "keys": ["n"], "next": null }));
    assert_eq!(list("?prefix=a/"), serde_json::json!({ "keys": ["a/b"], "next": null }));

    assert_eq!(by_http(&host, "DELETE", "default/a/b", None, b"").status, 204);
    assert_eq!(by_http(&host, "DELETE", "default/a/b", None, b"").status, 204);
    for (method, path, status, code) in [
        ("GET", "default/a/b", 404, "no-such-key"),
        ("GET", "Default/a", 404, "no-such-store"),
        ("GET", "other/a", 403, "access-denied"),
        ("PUT", "default/%ff", 400, "bad-request"),
        ("PATCH", "default/a", 405, "method-not-allowed"),
        ("POST", "default/a", 400, "bad-request"),
    ] {
        let answer = by_http(&host, method, path, None, b"");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    let module = guest("async-fetch");
    host.wfn(&["deploy", &module, "--key-value-store", "default"]).ok();
    assert_eq!(
        host.get("/async-fetch/get?http://wfn.internal/kv/default").ok(),
        "{\"keys\":[],\"next\":null}\n"
    );
}

#[test]
fn nothing_is_granted_by_default_and_the_log_says_what_would_grant_it() {
    let host = Host::start();
    host.deploy("counter", &[]);
    host.deploy("async-counter", &[]);
    host.deploy("fetch", &[]);
    assert_eq!(host.get("/counter/get?default&a").status, 403);
    assert_eq!(host.get("/counter/get?..&a").status, 404);
    assert!(host.get("/async-counter/increment?default&a").text().contains("AccessDenied"));
    let line = "key_value_stores = [\"default\"]";
    let answer = by_http(&host, "GET", "default/a", None, b"");
    assert_eq!((answer.status, answer.code().as_str()), (403, "access-denied"));
    let message: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(message["error"]["message"].as_str().unwrap().contains(line), "{message}");
    for app in ["counter", "async-counter", "fetch"] {
        assert!(host.logs(app).contains(line), "{app}: {}", host.logs(app));
    }
}

#[test]
fn two_apps_have_two_stores_of_the_same_name() {
    let host = Host::start();
    for app in ["one", "other"] {
        host.deploy_as(app, "counter", &STORE);
        assert_eq!(
            host.get(&format!("/{app}/increment?default&n&{}", app.len())).ok().trim(),
            app.len().to_string()
        );
    }
    assert_eq!(host.get("/one/get?default&n").ok(), "3");
    assert_eq!(host.get("/other/get?default&n").ok(), "5");
    // Another's name before the store's is no way in.
    assert_eq!(host.get("/one/get?other/default&n").status, 403);
    assert_eq!(host.get("/one/get?one/default&n").status, 403);
}

#[test]
fn sharing_needs_both_sides_at_every_call() {
    let host = Host::start();
    let own = "key_value_stores = [\"sessions\"]\n";
    let shares = |app: &str| format!("{own}[share.key_value_stores]\nsessions = [\"{app}\"]\n");
    let wants = "key_value_stores = [\"owner/sessions\"]\n";
    let ask = || host.get("/report/increment?owner/sessions&n&1");

    deploy_with(&host, "report", "counter", wants);
    assert_eq!(ask().status, 403, "there is no owner yet");
    deploy_with(&host, "owner", "counter", own);
    assert_eq!(ask().status, 403, "the owner does not share it");
    let log = host.logs("report");
    assert!(log.contains("[share.key_value_stores]: sessions = [\"report\"]"), "{log}");
    deploy_with(&host, "owner", "counter", &shares("somebody"));
    assert_eq!(ask().status, 403, "it is shared with another app");
    deploy_with(&host, "owner", "counter", &shares("report"));
    assert_eq!(ask().ok(), "1\n");
    assert_eq!(host.get("/owner/increment?sessions&n&1").ok(), "2\n", "it is the same store");
    deploy_with(&host, "fetch", "fetch", wants);
    assert_eq!(by_http(&host, "GET", "owner%2Fsessions/n", None, b"").status, 403, "fetch is not report");
    deploy_with(&host, "report", "counter", "");
    assert_eq!(ask().status, 403, "report does not name it");
    deploy_with(&host, "report", "counter", wants);
    assert_eq!(ask().ok(), "3\n");
    host.wfn(&["rollback", "owner", "1"]).ok();
    assert_eq!(ask().status, 403, "what serves does not share it");
    host.wfn(&["rollback", "owner", "3"]).ok();
    assert_eq!(ask().ok(), "4\n");
    host.wfn(&["rm", "owner", "-y"]).ok();
    assert_eq!(ask().status, 403, "the owner is gone");
}

#[test]
fn increments_are_exact_across_instances() {
    let host = Host::start();
    host.deploy("counter", &STORE);
    host.deploy("async-counter", &STORE);
    let count = increments();
    ask_times(&host, "/counter/increment?default&n&1", count);
    assert_eq!(host.get("/counter/get?default&n").ok(), count.to_string());
    assert!(host.number("counter", "instances_peak") > 8);
    ask_times(&host, "/counter/get?default&n", count);
    ask_times(&host, "/async-counter/increment?default&n", count);
    assert_eq!(host.get("/async-counter/get?default&n").ok(), count.to_string());
    ask_times(&host, "/counter/add?default&swapped&1", 300);
    assert_eq!(host.get("/counter/get?default&swapped").ok(), "300");
}

#[test]
fn bounds_are_refused_and_lose_nothing() {
    let host = Host::start();
    host.deploy("counter", &STORE);
    host.deploy("fetch", &STORE);
    let (longest, larger) = ("k".repeat(512), vec![b'x'; 1024 * 1024 + 1]);
    let largest = &larger[1..];
    let put = |key: &str, value: &[u8]| send(&host, "PUT", &format!("/counter/put?default&{key}"), value);
    assert_eq!(put(&longest, largest).status, 200);
    for (answer, why) in [
        (put(&format!("{longest}k"), b""), "513 bytes"),
        (put("", b""), "0 bytes"),
        (put(&longest, &larger), "1048576 bytes"),
        (host.get("/counter/batch?default&257"), "256 keys"),
        (host.get("/counter/fill?default&9000000"), "256 keys or 8388608 bytes"),
        (host.get(&format!("/counter/increment?default&{longest}&1")), "whole number"),
    ] {
        assert!(
            answer.status == 502 && answer.text().contains(why),
            "{why}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert_eq!(host.get(&format!("/counter/get?default&{longest}")).body, largest);
    assert_eq!(host.get("/counter/list?default").ok(), format!("{longest}\nnext\n"));

    assert_eq!(by_http(&host, "PUT", "default/a", None, largest).status, 204);
    // More than the host holds for one app at a time: they wait for one another.
    let all = host.get("/fetch/all?100&http://wfn.internal/kv/default/a").ok();
    assert_eq!(all, "100 of 100 answered\n");
    let refused = by_http(&host, "PUT", "default/a", None, &larger);
    assert_eq!((refused.status, refused.code().as_str()), (413, "value-too-large"));
    assert_eq!(by_http(&host, "GET", "default/a", None, b"").body, largest);
    let refused = by_http(&host, "POST", "default/a/increment", None, b"");
    assert_eq!((refused.status, refused.code().as_str()), (409, "not-a-number"));
    assert_eq!(by_http(&host, "PUT", &format!("default/{longest}k"), None, b"").code(), "invalid-key");

    let many: String = (0..33).map(|n| format!("s{n},")).collect();
    let refused = host.wfn(&["deploy", &guest("counter"), "--key-value-store", many.trim_end_matches(',')]);
    assert!(refused.code != Some(0) && refused.stderr.contains("at most 32"), "{refused:?}");
}

/// Kills the host while every client increments: what was acknowledged is there, and no more than was under way besides.
#[test]
fn kill_9_loses_no_acknowledged_increment_and_invents_none() {
    const ROUNDS: u64 = 5;
    let data = DataDir::new();
    let mut host = Host::start_in(&data, &[]);
    host.deploy("counter", &STORE);
    let value = |host: &Host| host.get("/counter/increment?default&n&0").ok().trim().parse::<u64>().unwrap();
    let (mut before, mut under_way) = (0, 0);
    for round in 0..ROUNDS {
        let (address, killed) = (host.functions.clone(), AtomicU64::new(0));
        let (answered, cut) = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                ask(&address, "/counter/increment?default&n&1", || killed.load(Ordering::Relaxed) == 0)
            });
            // Some number of them; those that were under way at the end are counted as cut.
            let wanted = before + increments() / ROUNDS;
            until("enough are acknowledged", || (value(&host) >= wanted).then_some(()));
            host.kill();
            killed.store(1, Ordering::Relaxed);
            asking.join().unwrap()
        });
        host = Host::start_in(&data, &[]);
        let now = value(&host);
        assert!(
            (before + answered..=before + answered + cut).contains(&now),
            "round {round}: {now} after {before}, {answered} acknowledged and {cut} under way"
        );
        before = now;
        under_way += cut;
    }
    assert!(under_way > 0, "nothing was under way at any kill");
}

#[test]
fn what_is_stored_outlives_revisions_restarts_and_the_app() {
    let host = Host::start();
    host.deploy("counter", &STORE);
    host.get("/counter/increment?default&n&7").ok();
    host.deploy("counter", &["--key-value-store", "other"]);
    assert_eq!(host.get("/counter/get?default&n").status, 403);
    host.deploy("counter", &STORE);
    let data = host.kill();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/counter/get?default&n").ok(), "7");

    let removed = host.wfn(&["rm", "counter", "-y"]);
    assert!(removed.stderr.contains("1 keys, 2 B") && removed.stderr.contains("--with-data"), "{removed:?}");
    assert_eq!(host.wfn(&["kv", "get", "counter", "default", "n"]).ok(), "7", "it is still to be had");
    host.deploy("counter", &STORE);
    assert_eq!(host.get("/counter/get?default&n").ok(), "7");

    host.wfn(&["rm", "counter", "-y"]).ok();
    let removed = host.wfn(&["rm", "counter", "-y", "--with-data", "--json"]).json();
    assert_eq!(removed["kept"]["keys"], 0);
    assert!(host.wfn(&["rm", "counter", "-y", "--with-data"]).refused().contains("[no-app]"));
    host.deploy("counter", &STORE);
    assert_eq!(host.get("/counter/get?default&n").status, 404);
}

#[test]
fn the_command_line_looks_and_changes() {
    let host = Host::start();
    host.deploy("counter", &["--key-value-store", "default,sessions"]);
    let kv = |arguments: &[&str]| host.wfn(&[&["kv"], arguments].concat());
    assert_eq!(kv(&["put", "counter", "default", "a/b ?", "hello"]).ok(), "put a/b ? in default: 5 B\n");
    assert_eq!(kv(&["get", "counter", "default", "a/b ?"]).ok(), "hello");
    assert_eq!(host.get("/counter/get?default&a%2Fb%20?").ok(), "hello");
    let file = host.data.path().join("value");
    fs::write(&file, [0xff, 0]).unwrap();
    let put = kv(&["put", "counter", "default", "binary", &format!("@{}", file.display()), "--json"]).json();
    let got = kv(&["get", "counter", "default", "binary", "--json"]).json();
    assert_eq!((&got["value"], &got["value_hex"]), (&Value::Null, &"ff00".into()));
    assert_eq!(put["version"], got["version"]);
    for n in 0..1_100 {
        send(&host, "PUT", &format!("/counter/put?sessions&{n:04}"), b"");
    }
    let listed = kv(&["ls", "counter", "sessions"]).ok();
    assert_eq!(listed.lines().count(), 1_100, "pages follow one another");
    assert_eq!(kv(&["ls", "counter", "sessions", "--prefix", "109"]).ok().lines().count(), 10);
    let stores = kv(&["ls", "counter"]).ok();
    assert!(stores.contains("sessions  1100  4.3 KiB"), "{stores}");
    assert_eq!(kv(&["rm", "counter", "default", "binary"]).ok(), "removed binary from default\n");
    assert_eq!(kv(&["rm", "counter", "default", "binary"]).ok(), "binary is not in default\n");
    for (arguments, code) in [
        (&["get", "counter", "default", "binary"][..], "no-such-key"),
        (&["put", "counter", "defualt", "a", "b"], "no-such-store"),
        (&["get", "counter", "No", "a"], "invalid-name"),
        (&["ls", "nobody"], "no-app"),
        (&["put", "counter", "default", &"k".repeat(513), "b"], "invalid-key"),
    ] {
        let refusal = kv(arguments).refused();
        assert!(refusal.contains(&format!("[{code}]")), "{arguments:?}: {refusal}");
    }
    assert!(host.wfn(&["status", "counter"]).ok().contains("key-value   default, sessions"));
}
