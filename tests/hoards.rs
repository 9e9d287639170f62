//! What a guest makes the host hold: charged, refused to the guest alone, and gone when its invocation is over.

use std::fs;

use crate::harness::{Host, Load, Request, until};

/// Every path of the guest, with amounts that a worker may hold.
const HOARDS: &[&str] = &[
    "/memory?n=200&bytes=10000",
    "/fields?n=200&bytes=10000",
    "/copies?n=200&bytes=10000",
    "/requests?n=200&bytes=10000",
    "/bodies?n=50&bytes=100000",
    "/pollables?n=500",
    "/files?n=100",
    "/lists?n=100",
    "/sockets?n=100",
    "/random?n=20&bytes=10000",
    "/output?n=20&bytes=1000",
    "/time?n=2",
];

/// Kilobytes of memory of the host that no file lies behind.
fn resident_kb(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(host: &Host) -> usize {
    fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count()
}

fn guest_memory(host: &Host) -> u64 {
    host.admin_get("/v1/host")["guest_memory_bytes"].as_u64().unwrap()
}

/// The number at the beginning of an answer: how many the guest got.
fn got(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn a_thousand_times_each_leaves_nothing_behind_and_a_neighbour_notices_nothing() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "1"]);
    host.deploy_with("hoards", "hoards", "scratch_mb = 16\n[scale]\nalways_ready = 1\nmax_instances = 1\n");
    let run = |path: &str, times: usize| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..times / 2 {
                        let answer = host.get(&format!("/hoards{path}"));
                        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                    }
                });
            }
        });
    };
    let load = Load::start(&host, "/hello/", 1, "Hello from wfn!\n");
    for path in HOARDS {
        // Until everything that is made once has been made.
        run(path, 100);
    }
    for path in HOARDS {
        run(path, 50);
        let (memory, files) = (resident_kb(&host), descriptors(&host));
        run(path, 1_000);
        until("its files are closed", || (descriptors(&host) <= files).then_some(()));
        let grown = resident_kb(&host).saturating_sub(memory);
        assert!(grown <= 5 * 1024, "{path}: {grown} kB more than before");
    }
    assert!(load.end() > 0);
}

#[test]
fn what_the_host_holds_for_a_guest_is_within_its_memory() {
    let host = Host::start_with(&["--guest-memory-mb", "64"]);
    host.deploy("hello", &["--always-ready", "1"]);
    host.deploy_with("hoards", "hoards", "[scale]\nmax_instances = 4\nconcurrency = 4\n");
    host.get("/hoards/nothing").ok();
    for path in ["/fields?n=4000&bytes=100000", "/copies?n=4000&bytes=100000", "/requests?n=4000&bytes=60000"]
    {
        let before = resident_kb(&host);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let answer = host.get(&format!("/hoards{path}"));
                    assert!(
                        [("memory-limit", 500), ("throttled", 429)]
                            .contains(&(answer.code().as_str(), answer.status)),
                        "{path}: {} {}",
                        answer.status,
                        answer.text()
                    );
                });
            }
        });
        let grown = resident_kb(&host).saturating_sub(before);
        assert!(grown < 160 * 1024, "{path}: {grown} kB");
        until("it is given back", || (guest_memory(&host) < 16 << 20).then_some(()));
        host.get("/hoards/nothing").ok();
        host.get("/hello/").ok();
    }
    let logs = host.logs("hoards");
    assert!(logs.contains("memory that all functions of this host may hold"), "{logs}");
}

#[test]
fn files_are_bounded_for_each_worker_and_the_host_keeps_some_for_itself() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy_with("hoards", "hoards", "scratch_mb = 16\n[scale]\nconcurrency = 16\n");
    let before = descriptors(&host);
    let most = got(&host.get("/hoards/files?n=100000").ok());
    assert!((64..=1_024).contains(&most), "{most}");
    // Many at a time: others still connect, and the operator too.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let answer = host.get("/hoards/files?n=100000");
                assert!(got(&answer.ok()) <= most);
            });
        }
        for _ in 0..20 {
            host.get("/hello/").ok();
            host.admin_get("/v1/host");
        }
    });
    until("all are closed", || (descriptors(&host) <= before + 40).then_some(()));
}

#[test]
fn what_waits_in_bodies_and_lists_is_charged_too() {
    let host = Host::start();
    host.deploy_with("hoards", "hoards", "scratch_mb = 16\n");
    host.get("/hoards/nothing").ok();
    let before = resident_kb(&host);
    let answer = host.get("/hoards/bodies?n=1300&bytes=200000");
    assert!(answer.status == 200 || answer.code() == "memory-limit", "{}", answer.text());
    let memory = Request::get("/v1/host").header("authorization", &format!("Bearer {}", host.token()));
    let peak = memory.send(&host.admin);
    assert_eq!(peak.status, 200);
    until("it is freed", || (guest_memory(&host) < 40 << 20).then_some(()));
    assert!(resident_kb(&host).saturating_sub(before) < 300 * 1024);
}
