//! Usage: counted as the cloud counts, kept over kill -9 and removal, priced.

use std::fs;

use serde_json::Value;

use crate::harness::{Held, Host, until};

fn used(host: &Host, app: &str) -> Value {
    host.wfn(&["usage", app, "--json"]).json()["total"].clone()
}

#[test]
fn a_call_is_billed_for_a_second_at_least_and_calls_at_once_are_billed_once() {
    let host = Host::start();
    host.deploy("echo", &["--concurrency", "10"]);
    let held: Vec<Held> = (0..10).map(|_| Held::begin(&host, "echo")).collect();
    until("all are in flight", || (host.number("echo", "in_flight") == 10).then_some(()));
    assert_eq!(host.number("echo", "instances"), 1);
    Held::end_all(held).into_iter().for_each(|answer| drop(answer.ok()));
    let used = used(&host, "echo");
    assert_eq!(used["executions"], 10);
    // One instance of 2 GB, for a second at least and no more than a few.
    let gb_s = used["gb_s"].as_f64().unwrap();
    assert!(
        (2.0..60.0).contains(&gb_s) && (gb_s * 10.0).fract().min(1.0 - (gb_s * 10.0).fract()) < 1e-6,
        "{used}"
    );
    let cost = used["cost"].as_f64().unwrap();
    assert!((cost - (gb_s * 0.000_026 + 10.0 * 0.4 / 1e6)).abs() < 1e-12, "{used}");
}

#[test]
fn always_ready_instances_cost_their_baseline() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "2"]);
    host.get("/hello/").ok();
    let used = until("time has passed", || {
        let used = used(&host, "hello");
        (used["always_ready_baseline_gb_s"].as_f64() > Some(0.0)).then_some(used)
    });
    assert_eq!(used["on_demand_gb_s"], 0.0, "{used}");
    assert_eq!(used["always_ready_execution_gb_s"], 2.0, "a second of one of them: {used}");
}

#[test]
fn usage_outlives_kill_9_and_the_app() {
    let host = Host::start();
    host.deploy("hello", &[]);
    for _ in 0..7 {
        host.get("/hello/").ok();
    }
    // Asking stores it.
    assert_eq!(used(&host, "hello")["executions"], 7);
    let data = host.kill();
    let host = Host::start_in(&data, &[]);
    assert_eq!(used(&host, "hello")["executions"], 7);
    for _ in 0..3 {
        host.get("/hello/").ok();
    }
    host.wfn(&["rm", "hello", "-y"]).ok();
    until("what its last instances used is there", || {
        (used(&host, "hello")["executions"] == 10).then_some(())
    });
    host.terminate();
    host.ended();
    let host = Host::start_in(&data, &[]);
    let all = host.wfn(&["usage", "--json"]).json();
    assert_eq!((&all["apps"][0]["app"], &all["total"]["executions"]), (&"hello".into(), &10.into()), "{all}");
    let shown = host.wfn(&["usage"]).ok();
    assert!(shown.contains("hello") && shown.contains("USD"), "{shown}");
    let unknown = host.wfn(&["usage", "nobody"]).refused();
    assert!(unknown.contains("nobody"), "{unknown}");
}

#[test]
fn prices_are_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("prices.toml");
    fs::write(&prices, "currency = \"EUR\"\nmillion_executions = 1000000\non_demand_gb_second = 0\n")
        .unwrap();
    let host = Host::start_with(&["--prices", prices.to_str().unwrap()]);
    host.deploy("hello", &[]);
    host.get("/hello/").ok();
    let all = until("it is counted", || {
        let all = host.wfn(&["usage", "--json"]).json();
        (all["total"]["executions"] == 1).then_some(all)
    });
    assert_eq!((&all["currency"], &all["total"]["cost"]), (&"EUR".into(), &1.0.into()), "{all}");

    fs::write(&prices, "on_demand_gb_secnd = 1\n").unwrap();
    let refused = crate::harness::wfn(&["up", "--prices", prices.to_str().unwrap()]).refused();
    assert!(refused.contains("on_demand_gb_secnd") && refused.contains("line 1"), "{refused}");
}
