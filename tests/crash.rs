//! State survives: kill -9 at any moment leaves a host that opens whole and serves what was deployed.

use std::fs;
use std::process::Command;

use crate::harness::{Connection, DataDir, Host, Request, guest, root, run, until};

#[test]
fn a_restart_serves_every_app_from_cached_machine_code() {
    let host = Host::start();
    for i in 0..20 {
        host.deploy_as(&format!("app-{i}"), "hello", &["--always-ready", "1"]);
    }
    host.deploy("faults", &["-e", "V=kept"]);
    host.deploy("faults", &["-e", "V=newer"]);
    host.wfn(&["rollback", "faults", "1"]).ok();
    let data = host.kill();
    // Without the modules nothing could be compiled again: what serves comes from the cache.
    let modules = data.path().join("modules");
    fs::rename(&modules, data.path().join("modules-away")).unwrap();
    let host = Host::start_in(&data, &[]);
    for i in 0..20 {
        let app = format!("app-{i}");
        assert_eq!(host.number(&app, "instances"), 1);
        assert_eq!(host.get(&format!("/{app}")).ok(), "Hello from wfn!\n");
    }
    assert_eq!(host.get("/faults/env?key=V").ok().trim(), "kept");
    assert_eq!(host.admin_get("/v1/apps/faults")["revision"], 1);
    assert_eq!(host.deploy("hello", &[])["revision"], 1, "and deploying goes on");
}

#[test]
fn machine_code_that_is_lost_is_made_again() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let data = host.kill();
    fs::remove_dir_all(data.path().join("artifacts")).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
}

#[test]
fn an_app_that_cannot_come_back_does_not_keep_the_others_away() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy("faults", &[]);
    let module = host.admin_get("/v1/apps/faults")["module"].as_str().unwrap().to_owned();
    let data = host.kill();
    fs::remove_dir_all(data.path().join("artifacts")).unwrap();
    fs::remove_file(data.path().join(format!("modules/{module}.wasm"))).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    assert_eq!(host.admin_get("/v1/host")["broken"][0]["app"], "faults");
    let status = host.wfn(&["status", "faults"]).refused();
    assert!(status.contains("not served") && status.contains(&module), "{status}");
    assert!(host.wfn(&["versions", "faults"]).ok().contains('1'));
    assert_eq!(host.deploy("faults", &[])["revision"], 2, "numbers go on");
    host.get("/faults/ok").ok();
    assert_eq!(host.admin_get("/v1/host")["broken"].as_array().unwrap().len(), 0);
}

/// Kills a host at a random moment while a client deploys, and looks at what is there afterwards: every
/// acknowledged revision, and nothing half made.
#[test]
fn kill_9_while_deploying_loses_nothing_acknowledged() {
    let data = DataDir::new();
    let mut acknowledged = 0;
    let mut seed = 0x5eed_u64;
    for round in 0..25 {
        let host = Host::start_in(&data, &[]);
        let revision = match host.wfn(&["status", "hello", "--json"]) {
            status if status.code == Some(0) => status.json()["revision"].as_u64().unwrap(),
            _ => 0,
        };
        assert!(
            revision >= acknowledged,
            "round {round}: revision {acknowledged} was acknowledged, {revision} is there"
        );
        if revision > 0 {
            assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n", "round {round}");
        }
        let (admin, token) = (host.admin.clone(), host.token());
        let deployer = std::thread::spawn(move || {
            let mut last = 0;
            loop {
                // A new environment makes each revision differ, and so compile nothing and write much.
                let output = run(Command::new(env!("CARGO_BIN_EXE_wfn"))
                    .args(["--server", &format!("http://{admin}"), "--token", &token])
                    .args(["deploy", &guest("hello"), "--json", "-e", &format!("N={last}")]));
                if output.code != Some(0) {
                    return last;
                }
                last = output.json()["revision"].as_u64().unwrap();
            }
        });
        // Some number of deploys, then some number of requests: moments that differ from round to round.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wanted = revision + (seed >> 33) % 4;
        until("some are deployed", || {
            let answer = Request::get("/v1/apps/hello").header("wfn-token", &host.token()).send(&host.admin);
            let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            (status["revision"].as_u64().unwrap_or(0) >= wanted).then_some(())
        });
        for _ in 0..(seed >> 40) % 50 {
            host.get("/hello");
        }
        host.kill();
        acknowledged = acknowledged.max(revision).max(deployer.join().unwrap());
        let leftovers = |folder: &str| fs::read_dir(data.path().join(folder)).unwrap().count();
        assert!(leftovers("modules") <= 2, "unfinished uploads pile up");
    }
    assert!(acknowledged > 25, "{acknowledged}");
}

#[test]
fn unfinished_and_unused_files_are_removed_at_start() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let data = host.kill();
    let unused = data.path().join("modules").join(format!("{}.wasm", "0".repeat(64)));
    let partial = data.path().join("modules/.partial-1-1");
    fs::write(&unused, b"x").unwrap();
    fs::write(&partial, b"x").unwrap();
    let host = Host::start_in(&data, &[]);
    assert!(!unused.exists() && !partial.exists());
    host.get("/hello").ok();
}

#[test]
fn one_data_directory_has_one_host_and_a_port_too() {
    let host = Host::start();
    let second = run(Command::new(env!("CARGO_BIN_EXE_wfn"))
        .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(host.data.path()));
    assert!(second.refused().contains("in use by another wfn"));
    let elsewhere = DataDir::new();
    let taken = run(Command::new(env!("CARGO_BIN_EXE_wfn"))
        .args(["up", "--listen", &host.functions, "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(elsewhere.path()));
    assert!(taken.refused().contains("--listen"));
}

#[test]
fn a_host_that_is_asked_to_end_finishes_what_is_under_way() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let held = crate::harness::Held::begin(&host, "echo");
    until("it is in flight", || (host.number("echo", "in_flight") == 1).then_some(()));
    host.terminate();
    until("nobody is let in any more", || {
        std::net::TcpStream::connect(&host.functions).is_err().then_some(())
    });
    assert_eq!(held.end().ok(), "begun");
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn the_admin_api_finishes_what_is_under_way_and_followers_end() {
    let host = Host::start();
    host.deploy("faults", &[]);
    let address = host.admin.clone();
    let token = host.token();
    let mut follower = Connection::open(&address);
    let head = |method: &str, path: &str| {
        format!("{method} /v1/apps/faults/{path} HTTP/1.1\r\nhost: a\r\nwfn-token: {token}\r\n\r\n")
    };
    follower.write(head("GET", "logs?follow=true").as_bytes());
    let mut asking = Connection::open(&address);
    asking.write(head("GET", "invoke/sleep?ms=700").as_bytes());
    until("it is in flight", || (host.number("faults", "in_flight") == 1).then_some(()));
    host.terminate();
    assert_eq!(asking.read_answer().unwrap().status, 200);
    follower.read_answer().expect("the log ends as it should");
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = DataDir::new();
    fs::write(folder.path().join("diary.txt"), b"mine").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = run(Command::new(env!("CARGO_BIN_EXE_wfn"))
        .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path()))
    .refused();
    assert!(refused.contains("not a data directory"), "{refused}");
    assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_repository_ships_the_page_it_measures_with() {
    assert_eq!(fs::metadata(root().join("tests/data/page-73k.html")).unwrap().len(), 73_389);
}
