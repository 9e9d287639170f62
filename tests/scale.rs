//! Scaling is exact: instances follow what is in flight, and bounds are never passed.

use std::time::{Duration, Instant};

use crate::harness::{Connection, Held, Host, Request, page, until};

/// Begins `count` invocations of `echo` and waits until all are in flight.
fn hold(host: &Host, count: usize) -> Vec<Held> {
    let held: Vec<Held> = (0..count).map(|_| Held::begin(host, "echo")).collect();
    until("all are in flight", || (host.number("echo", "in_flight") == count as u64).then_some(()));
    held
}

fn end(held: Vec<Held>) {
    for held in held {
        assert_eq!(held.end().ok(), "begun");
    }
}

#[test]
fn ten_at_once_from_zero_make_exactly_ten_over_concurrency_instances() {
    for (concurrency, instances) in [("1", 10), ("2", 5), ("3", 4), ("16", 1)] {
        let host = Host::start();
        host.deploy("echo", &["--concurrency", concurrency]);
        assert_eq!(host.number("echo", "instances"), 0);
        let held = hold(&host, 10);
        let group = host.group("echo");
        assert_eq!(group["instances"], instances, "{group}");
        end(held);
        let group = host.group("echo");
        assert_eq!(
            (&group["instances_peak"], &group["cold"]),
            (&instances.into(), &instances.into()),
            "{group}"
        );
    }
}

#[test]
fn always_ready_instances_exist_before_the_first_request_and_are_used_first() {
    let host = Host::start();
    host.deploy("echo", &["--concurrency", "1", "--always-ready", "3", "--max-instances", "2"]);
    assert_eq!(host.number("echo", "instances"), 3);
    let held = hold(&host, 3);
    let group = host.group("echo");
    assert_eq!((&group["instances"], &group["cold"]), (&3.into(), &0.into()), "{group}");
    // They are not counted in the maximum.
    let more: Vec<Held> = (0..2).map(|_| Held::begin(&host, "echo")).collect();
    until("five are in flight", || (host.number("echo", "in_flight") == 5).then_some(()));
    end(held);
    end(more);
}

#[test]
fn idle_instances_are_retired_and_always_ready_ones_stay() {
    let host = Host::start();
    host.deploy("echo", &["--concurrency", "1", "--always-ready", "1", "--idle-timeout", "1ms"]);
    end(hold(&host, 4));
    until("the surplus is gone", || (host.number("echo", "instances") == 1).then_some(()));
    assert_eq!(host.number("echo", "instances_peak"), 4);
}

#[test]
fn an_app_without_always_ready_instances_costs_nothing_when_idle() {
    let host = Host::start();
    host.deploy("echo", &["--idle-timeout", "0s"]);
    end(hold(&host, 2));
    until("nothing is left", || (host.number("echo", "instances") == 0).then_some(()));
    until("the memory is given back", || {
        (host.admin_get("/v1/host")["guest_memory_bytes"] == 0).then_some(())
    });
    let now = host.admin_get("/v1/host");
    assert_eq!((&now["workers"], &now["memory_reserved_mb"]), (&0.into(), &0.into()), "{now}");
    end(hold(&host, 1));
}

#[test]
fn a_maximum_of_one_means_one_instance_under_any_load() {
    let host = Host::start();
    host.deploy("faults", &["--max-instances", "1", "--concurrency", "2"]);
    let threads: Vec<_> = (0..200)
        .map(|_| {
            let address = host.functions.clone();
            std::thread::spawn(move || {
                let mut connection = Connection::open(&address);
                let statuses: Vec<u16> = (0..5)
                    .map(|_| {
                        connection.write(b"GET /faults/sleep?ms=1 HTTP/1.1\r\nhost: x\r\n\r\n");
                        let answer = connection.read_answer().expect("every request is answered");
                        if answer.status == 429 {
                            assert!(answer.header("retry-after").is_some());
                            assert_eq!(answer.header("wfn-outcome"), Some("throttled"));
                        }
                        answer.status
                    })
                    .collect();
                statuses
            })
        })
        .collect();
    let statuses: Vec<u16> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(statuses.len(), 1_000);
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    let group = host.group("faults");
    assert_eq!((&group["instances_peak"], &group["instances"]), (&1.into(), &1.into()), "{group}");
    let answered = statuses.iter().filter(|status| **status == 200).count() as u64;
    assert_eq!(group["invocations"], answered, "{group}");
    assert_eq!(group["throttled"], 1_000 - answered, "{group}");
}

#[test]
fn a_full_line_answers_429_at_once_and_whoever_waits_is_served() {
    let host = Host::start();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    let first = hold(&host, 1);
    let waiting: Vec<Held> = (0..1_024).map(|_| Held::begin(&host, "echo")).collect();
    until("the queue is full", || (host.number("echo", "waiting") == 1_024).then_some(()));
    let refused = Request::new("POST", "/echo/").body("x").send(&host.functions);
    assert_eq!((refused.status, refused.code().as_str()), (429, "throttled"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    end(first);
    // Whoever is first ends first; which one that is only the host knows.
    for answer in Held::end_all(waiting) {
        assert_eq!(answer.ok(), "begun");
    }
    assert_eq!(host.number("echo", "instances_peak"), 1);
}

#[test]
fn beyond_its_burst_an_app_grows_at_its_rate_and_says_why() {
    let host = Host::start();
    let flags = ["--concurrency", "1", "--scale-out-burst", "2", "--scale-out-per-second", "1"];
    host.deploy("echo", &flags);
    let begun = Instant::now();
    let held: Vec<Held> = (0..4).map(|_| Held::begin(&host, "echo")).collect();
    until("the burst is there", || (host.number("echo", "in_flight") == 2).then_some(()));
    // Nothing ends meanwhile: the two that wait get new instances, one a second.
    until("all are in flight", || (host.number("echo", "in_flight") == 4).then_some(()));
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(host.number("echo", "instances_peak"), 4);
    end(held);

    let why = host.wfn(&["status", "echo", "--why", "--json"]).json();
    let decisions = why["decisions"].as_array().unwrap();
    let count = |reason: &str| -> u64 {
        let of_that = decisions.iter().filter(|decision| decision["reason"] == reason);
        of_that.map(|decision| decision["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(count("every-slot-taken"), 4, "{why}");
    assert!(count("pace") >= 2, "{why}");
    let first = &decisions[0];
    assert_eq!((&first["action"], &first["before"]["instances"]), (&"added".into(), &0.into()), "{why}");
    let shown = host.wfn(&["status", "echo", "--why"]).ok();
    assert!(shown.contains("every slot taken") && shown.contains("burst used up"), "{shown}");
}

#[test]
fn each_way_to_lose_an_instance_or_get_none_is_a_decision() {
    let host = Host::start_with(&["--memory-quota-mb", "4096"]);
    host.deploy_as("other", "hello", &["--always-ready", "1"]);
    host.deploy_as("idle", "hello", &["--idle-timeout", "0s"]);
    host.deploy("echo", &["--concurrency", "1"]);
    host.get("/idle").ok();
    let only_other_is_left = || {
        until("only one is left", || {
            (host.admin_get("/v1/host")["memory_reserved_mb"] == 2_048).then_some(())
        })
    };
    only_other_is_left();
    let held = hold(&host, 1);
    let second = Held::begin(&host, "echo");
    until("there is no room", || (host.number("echo", "waiting") == 1).then_some(()));
    end(held);
    assert_eq!(second.end().ok(), "begun");
    host.get("/idle").ok();
    only_other_is_left();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    let held = hold(&host, 1);
    let second = Held::begin(&host, "echo");
    until("it is at the maximum", || (host.number("echo", "waiting") == 1).then_some(()));
    end(held);
    assert_eq!(second.end().ok(), "begun");
    let reasons = |app: &str| -> Vec<String> {
        let why = host.admin_get(&format!("/v1/apps/{app}/scaling"));
        let decisions = why["decisions"].as_array().unwrap().clone();
        decisions.iter().map(|decision| decision["reason"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(reasons("other"), ["always-ready"]);
    assert_eq!(reasons("idle")[..2], ["every-slot-taken", "idle"]);
    let echo = reasons("echo");
    let expected =
        ["every-slot-taken", "memory-quota", "room-for-others", "every-slot-taken", "maximum-instances"];
    assert_eq!(echo[..5], expected);
}

#[test]
fn who_leaves_the_line_is_not_served() {
    let host = Host::start();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    let first = hold(&host, 1);
    let leaving: Vec<Held> = (0..10).map(|_| Held::begin(&host, "echo")).collect();
    until("ten wait", || (host.number("echo", "waiting") == 10).then_some(()));
    drop(leaving);
    let staying = Held::begin(&host, "echo");
    until("the eleventh waits", || (host.number("echo", "waiting") >= 1).then_some(()));
    end(first);
    assert_eq!(staying.end().ok(), "begun");
    until("all is quiet", || (host.number("echo", "in_flight") == 0).then_some(()));
    assert_eq!(host.number("echo", "waiting"), 0);
}

#[test]
fn the_quota_is_shared_and_idle_instances_of_others_make_room() {
    let host = Host::start_with(&["--memory-quota-mb", "6144"]);
    host.deploy_as("other", "hello", &[]);
    host.get("/other").ok();
    assert_eq!(host.number("other", "instances"), 1);
    host.deploy("echo", &["--concurrency", "1"]);
    // Two fit beside the idle one; the third takes its place.
    let held = hold(&host, 3);
    assert_eq!(host.number("other", "instances"), 0);
    assert_eq!(host.admin_get("/v1/host")["memory_reserved_mb"], 6144);
    // The fourth has to wait, although the maximum is far away.
    let fourth = Held::begin(&host, "echo");
    until("the fourth waits", || (host.number("echo", "waiting") == 1).then_some(()));
    assert_eq!(host.number("echo", "instances"), 3);
    end(held);
    assert_eq!(fourth.end().ok(), "begun");
    // And what waits for another app's room is served when that comes free.
    let held = hold(&host, 3);
    let address = host.functions.clone();
    let waiting = std::thread::spawn(move || Request::get("/other").send(&address));
    until("the other app waits", || (host.number("other", "waiting") == 1).then_some(()));
    end(held);
    host.wfn(&["rm", "echo", "-y"]).ok();
    assert_eq!(waiting.join().unwrap().status, 200);
}

#[test]
fn always_ready_beyond_the_quota_is_refused_with_the_arithmetic() {
    let host = Host::start_with(&["--memory-quota-mb", "4096"]);
    host.deploy("hello", &["--always-ready", "1"]);
    let refused = host.wfn(&["scale", "hello", "--always-ready", "3"]).refused();
    assert!(refused.contains("3 always-ready × 2,048 MB = 6,144 MB > quota 4,096 MB"), "{refused}");
    assert_eq!((host.number("hello", "always_ready"), host.number("hello", "instances")), (1, 1));
    // With as many as fit, a new revision takes the room of the old one over.
    host.wfn(&["scale", "hello", "--always-ready", "2"]).ok();
    until("both exist", || (host.number("hello", "instances") == 2).then_some(()));
    host.wfn(&["scale", "hello", "--timeout", "5s"]).ok();
    until("both exist again", || (host.number("hello", "instances") == 2).then_some(()));
    host.get("/hello").ok();
}

#[test]
fn a_thousand_instances_live_at_once() {
    let host = Host::start_with(&["--memory-quota-mb", "4096000"]);
    host.deploy("hello", &["--concurrency", "1", "--always-ready", "1000"]);
    assert_eq!(host.number("hello", "instances"), 1_000);
    assert_eq!(host.admin_get("/v1/host")["workers"], 1_000);
    host.get("/hello").ok();
}

#[test]
fn scale_settings_change_without_a_new_module() {
    let host = Host::start();
    host.deploy("hello", &["--concurrency", "3"]);
    host.wfn(&["scale", "hello", "--memory", "4096", "--max-instances", "7"]).ok();
    let group = host.group("hello");
    assert_eq!((&group["concurrency"], &group["max_instances"]), (&3.into(), &7.into()), "{group}");
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 2);
}

#[test]
fn those_that_compute_take_turns_in_a_few_workers() {
    let host = Host::start();
    host.deploy("html-parse", &["--concurrency", "1", "--max-instances", "200"]);
    let page = page();
    let head = format!("POST /html-parse/ HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", page.len());
    let request = [head.as_bytes(), &page].concat();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let mut connection = Connection::open(&host.functions);
                for _ in 0..3 {
                    connection.write(&request);
                    assert_eq!(connection.read_answer().expect("every request is answered").status, 200);
                }
            });
        }
    });
    until("all are counted", || (host.number("html-parse", "invocations") == 600).then_some(()));
    let (group, host) = (host.group("html-parse"), host.admin_get("/v1/host"));
    assert_eq!((&group["failed"], &group["throttled"]), (&0.into(), &0.into()), "{group}");
    assert!(group["instances_peak"].as_u64() >= Some(100), "{group}");
    // Each of the instances would have one, if all that are in flight began at once.
    assert!(host["workers"].as_u64() <= Some(20), "{host}");
}
