//! Deploys are revisions: atomic, without a lost request, and undone at once.

use std::fs;

use crate::harness::{DataDir, Host, Load, guest, until};

#[test]
fn two_hundred_deploys_under_load_lose_no_request() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "1"]);
    let load = Load::start(&host, "/hello", 4, "Hello from wfn!\n");
    for i in 0..200 {
        host.wfn(&["scale", "hello", "--timeout", if i % 2 == 0 { "10s" } else { "20s" }]).ok();
    }
    let answered = load.end();
    assert!(answered > 200, "{answered}");
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 201);
    let group = host.group("hello");
    assert_eq!((&group["invocations"], &group["failed"]), (&answered.into(), &0.into()), "{group}");
    // Old revisions leave nothing behind but their entry.
    until("old pools are gone", || (host.admin_get("/v1/host")["memory_reserved_mb"] == 2048).then_some(()));
    let versions = host.wfn(&["versions", "hello", "--json"]).json();
    assert_eq!(versions["revisions"].as_array().unwrap().len(), 50);
}

#[test]
fn a_new_revision_takes_over_and_the_old_one_can_come_back() {
    let host = Host::start();
    host.deploy("faults", &["-e", "V=one"]);
    host.deploy("faults", &["-e", "V=two"]);
    let value = || host.get("/faults/env?key=V").ok().trim().to_owned();
    assert_eq!(value(), "two");
    host.wfn(&["rollback", "faults"]).ok();
    assert_eq!(value(), "one");
    host.wfn(&["rollback", "faults", "2"]).ok();
    assert_eq!(value(), "two");
    let versions = host.wfn(&["versions", "faults", "--json"]).json();
    let active: Vec<bool> =
        versions["revisions"].as_array().unwrap().iter().map(|r| r["active"].as_bool().unwrap()).collect();
    assert_eq!(active, [true, false], "the latest comes first");
    assert!(host.wfn(&["rollback", "faults", "9"]).refused().contains("no revision 9"));
    // A revision number is never used twice, not even after a rollback.
    host.wfn(&["rollback", "faults", "1"]).ok();
    assert_eq!(host.deploy("faults", &[])["revision"], 3);
}

#[test]
fn what_is_in_flight_is_finished_by_the_revision_it_began_in() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let held = crate::harness::Held::begin(&host, "echo");
    until("it is in flight", || (host.number("echo", "in_flight") == 1).then_some(()));
    host.deploy_as("echo", "hello", &[]);
    assert_eq!(host.get("/echo").ok(), "Hello from wfn!\n");
    assert_eq!(held.end().ok(), "begun");
    until("the old revision is gone", || (host.admin_get("/v1/host")["workers"] == 1).then_some(()));
}

#[test]
fn a_failed_deploy_changes_nothing() {
    let host = Host::start_with(&["--memory-quota-mb", "4096"]);
    host.deploy("hello", &[]);
    let before = host.admin_get("/v1/apps");
    let folder = DataDir::new();
    let junk = folder.path().join("junk.wasm");
    fs::write(&junk, b"not wasm").unwrap();
    let module = guest("faults");
    for arguments in [
        vec!["deploy", junk.to_str().unwrap(), "--name", "hello"],
        vec!["deploy", &module, "--name", "hello", "--always-ready", "99"],
        vec!["deploy", &module, "--name", "hello", "--timeout", "9h"],
        vec!["deploy", &module, "--name", "hello", "--dry-run", "--always-ready", "3"],
    ] {
        assert_ne!(host.wfn(&arguments).code, Some(0), "{arguments:?}");
    }
    host.wfn(&["deploy", &module, "--name", "hello", "--dry-run"]).ok();
    assert_eq!(host.admin_get("/v1/apps"), before);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
}

#[test]
fn a_manifest_says_what_flags_can_say_and_flags_win() {
    let host = Host::start();
    let folder = DataDir::new();
    let manifest = folder.path().join("wfn.toml");
    let module = guest("faults");
    fs::write(
        &manifest,
        format!(
            "name = \"settings\"\nmodule = {module:?}\nhosts = [\"a.example\"]\n[env]\nV = \"file\"\n\
             [scale]\nmemory_mb = 4096\nconcurrency = 5\nmax_instances = 9\n"
        ),
    )
    .unwrap();
    host.wfn(&["deploy", folder.path().to_str().unwrap(), "--concurrency", "6"]).ok();
    let status = host.admin_get("/v1/apps/settings");
    assert_eq!((&status["memory_mb"], &status["hosts"][0]), (&4096.into(), &"a.example".into()), "{status}");
    let group = host.group("settings");
    assert_eq!((&group["concurrency"], &group["max_instances"]), (&6.into(), &9.into()), "{group}");
    assert_eq!(host.get("/settings/env?key=V").ok().trim(), "file");
}

#[test]
fn a_removed_app_answers_404_and_its_name_is_free() {
    let host = Host::start();
    host.deploy("hello", &["--host", "h.example"]);
    let taken = host.wfn(&["deploy", &guest("faults"), "--host", "h.example"]).refused();
    assert!(taken.contains("h.example") && taken.contains("hello"), "{taken}");
    assert_ne!(host.wfn(&["rm", "hello"]).code, Some(0), "without -y nothing is removed");
    host.wfn(&["rm", "hello", "-y"]).ok();
    assert_eq!(host.get("/hello").code(), "no-route");
    assert!(host.wfn(&["status", "hello"]).refused().contains("hello"));
    assert_eq!(host.deploy("hello", &["--host", "h.example"])["revision"], 1);
}

#[test]
fn many_apps_live_in_one_host() {
    let host = Host::start();
    for i in 0..30 {
        host.deploy_as(&format!("app-{i}"), "hello", &[]);
    }
    for i in 0..30 {
        assert_eq!(host.get(&format!("/app-{i}/x")).ok(), "Hello from wfn!\n");
    }
    assert_eq!(host.admin_get("/v1/apps")["apps"].as_array().unwrap().len(), 30);
}
