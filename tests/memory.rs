//! Memory: the class bounds an instance as a whole, isolation keeps invocations apart.

use crate::harness::{Host, until};

#[test]
fn workers_are_reused_by_default_and_fresh_on_request() {
    let host = Host::start();
    host.deploy("faults", &[]);
    let count = || {
        let count = host.get("/faults/count").ok();
        // A call that took long is answered a moment before its worker is free.
        until("its worker is free", || (host.number("faults", "in_flight") == 0).then_some(()));
        count
    };
    assert_eq!([count(), count(), count()], ["1\n", "2\n", "3\n"]);
    host.deploy_as("apart", "faults", &["--isolation", "fresh"]);
    let counts: Vec<String> = (0..5).map(|_| host.get("/apart/count").ok()).collect();
    assert!(counts.iter().all(|count| count == "1\n"), "{counts:?}");
    assert_eq!(host.number("apart", "instances"), 1);
}

#[test]
fn a_fresh_worker_waits_in_stock() {
    let host = Host::start();
    host.deploy("faults", &["--isolation", "fresh", "--always-ready", "1"]);
    host.get("/faults/ok").ok();
    until("the used worker is replaced", || (host.admin_get("/v1/host")["workers"] == 1).then_some(()));
}

#[test]
fn growth_past_the_class_fails_in_the_guest_and_is_reported() {
    let host = Host::start();
    host.deploy("faults", &["--concurrency", "2"]);
    assert_eq!(host.get("/faults/allocate?mb=1500").status, 200);
    let refused = host.get("/faults/allocate?mb=2100");
    assert_eq!((refused.status, refused.code().as_str()), (500, "memory-limit"));
    assert!(host.logs("faults").contains("memory class of 2048 MB"), "{}", host.logs("faults"));
    // The larger class takes it.
    host.wfn(&["scale", "faults", "--memory", "4096"]).ok();
    assert_eq!(host.get("/faults/allocate?mb=2100").status, 200);
}

#[test]
fn a_worker_that_hoards_the_instances_memory_is_retired() {
    let host = Host::start();
    host.deploy("faults", &["--concurrency", "2", "--max-instances", "1"]);
    assert_eq!(host.get("/faults/leak?mb=1200").status, 200);
    // It sat on more than its share (1,024 MB) and was retired, so its memory is free again.
    until("the worker is retired", || (host.number("faults", "memory_bytes") < 100 << 20).then_some(()));
    assert_eq!(host.get("/faults/allocate?mb=1200").status, 200);
}

#[test]
fn the_memory_of_the_machine_is_refused_before_it_runs_out() {
    let host = Host::start_with(&["--guest-memory-mb", "400"]);
    host.deploy("faults", &["--concurrency", "1"]);
    host.deploy_as("other", "faults", &[]);
    // Within its class, but not within what all functions may hold.
    let refused = host.get("/faults/allocate?mb=600");
    assert_eq!((refused.status, refused.code().as_str()), (500, "memory-limit"));
    assert!(host.logs("faults").contains("all functions of this host"), "{}", host.logs("faults"));
    // What one app holds is missing to the other, until it has given it back.
    assert_eq!(host.get("/faults/leak?mb=300").status, 200);
    assert_eq!(host.get("/other/allocate?mb=200").code(), "memory-limit");
    host.wfn(&["rm", "faults", "-y"]).ok();
    until("it is given back", || {
        (host.admin_get("/v1/host")["guest_memory_bytes"].as_u64().unwrap() < 100 << 20).then_some(())
    });
    assert_eq!(host.get("/other/allocate?mb=200").status, 200);
}

#[test]
fn memory_comes_back_after_every_fault() {
    let host = Host::start();
    host.deploy("faults", &["--idle-timeout", "0s"]);
    for path in
        ["/trap", "/panic", "/recurse", "/allocate", "/leak?mb=200", "/no-response", "/handles?n=3000"]
    {
        host.get(&format!("/faults{path}"));
    }
    until("every byte is given back", || {
        let now = host.admin_get("/v1/host");
        (now["guest_memory_bytes"] == 0 && now["workers"] == 0).then_some(())
    });
}
