//! Asynchronous guests: many invocations share a worker, and what one of them does to it is told to each.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Connection, Host, Load, Request, until};

/// Sends `GET path` and does not read the answer yet.
fn begin(host: &Host, path: &str) -> Connection {
    let mut connection = Connection::open(&host.functions);
    connection.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nte: trailers\r\n\r\n").as_bytes());
    connection
}

fn read_all(connections: Vec<Connection>) -> Vec<Answer> {
    connections.into_iter().map(|mut connection| connection.read_answer().unwrap()).collect()
}

fn json(answer: Answer) -> serde_json::Value {
    serde_json::from_str(&answer.ok()).unwrap()
}

#[test]
fn as_many_waits_as_the_concurrency_overlap_in_one_worker() {
    let host = Host::start();
    host.deploy("async-faults", &["--workers", "1", "--concurrency", "16", "--max-instances", "1"]);
    let begun = Instant::now();
    let waits: Vec<Connection> = (0..16).map(|_| begin(&host, "/async-faults/wait?ms=100")).collect();
    let answers: Vec<_> = read_all(waits).into_iter().map(json).collect();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    // The guest itself counts: all sixteen were in this one worker at the same time.
    let peak = answers.iter().filter_map(|counts| counts["in_flight_peak"].as_u64()).max();
    assert_eq!(peak, Some(16), "{answers:?}");
    assert_eq!(host.admin_get("/v1/host")["workers"], 1);
    let group = host.group("async-faults");
    assert_eq!((group["instances_peak"].as_u64(), group["cold"].as_u64()), (Some(1), Some(1)), "{group}");
}

#[test]
fn instances_are_added_exactly_as_for_other_guests() {
    let host = Host::start();
    for (concurrency, instances) in [("1", 10), ("4", 3), ("16", 1)] {
        let app = format!("c{concurrency}");
        host.deploy_as(&app, "async-faults", &["--concurrency", concurrency]);
        let held: Vec<Connection> = (0..10).map(|_| begin(&host, &format!("/{app}/wait?ms=25000"))).collect();
        until("all ten run", || (host.number(&app, "in_flight") == 10).then_some(()));
        assert_eq!(host.number(&app, "instances"), instances, "concurrency {concurrency}");
        drop(held);
    }
}

#[test]
fn invocations_go_to_the_least_loaded_of_several_workers() {
    let host = Host::start();
    host.deploy("async-faults", &["--workers", "3", "--concurrency", "9", "--max-instances", "1"]);
    let waits: Vec<Connection> = (0..9).map(|_| begin(&host, "/async-faults/wait?ms=500")).collect();
    until("all nine run", || (host.number("async-faults", "in_flight") == 9).then_some(()));
    assert_eq!(host.admin_get("/v1/host")["workers"], 3);
    for answer in read_all(waits) {
        let counts = json(answer);
        assert_eq!((counts["worker_calls"].as_u64(), counts["in_flight_peak"].as_u64()), (Some(3), Some(3)));
    }
}

#[test]
fn the_slot_is_held_until_the_body_has_ended() {
    let host = Host::start();
    host.deploy("async-faults", &["--concurrency", "1", "--max-instances", "1"]);
    let mut trickle = begin(&host, "/async-faults/trickle?chunks=3&ms=100");
    until("it streams", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    let waits = begin(&host, "/async-faults/ok");
    assert_eq!(trickle.read_answer().unwrap().ok(), "chunk 1 of 3\nchunk 2 of 3\nchunk 3 of 3\n");
    assert_eq!(read_all(vec![waits]).remove(0).ok(), "ok\n");
    assert_eq!(host.number("async-faults", "instances_peak"), 1);
}

#[test]
fn bodies_and_trailers_stream_both_ways() {
    let host = Host::start();
    host.deploy_as("echo", "async-faults", &[]);
    let body: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    for path in ["/echo/echo", "/echo/pass-on"] {
        let answer = Request::new("POST", path).body(&body[..]).send(&host.functions);
        assert_eq!((answer.status, answer.body == body), (200, true), "{path}: {} bytes", answer.body.len());
    }
    let mut connection = Connection::open(&host.functions);
    let head = "POST /echo/echo HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.write(head.as_bytes());
    connection.write(b"3\r\none\r\n");
    let first = until("the first part comes back while the request is open", || {
        let some = String::from_utf8(connection.read_some(4_096).unwrap()).unwrap();
        some.contains("one").then_some(some)
    });
    assert!(!first.ends_with("0\r\n\r\n"), "{first}");
    connection.write(b"3\r\ntwo\r\n0\r\n\r\n");
    assert!(String::from_utf8(connection.read_to_end().unwrap()).unwrap().contains("two"));
    for (path, part) in [("/echo/trailers", "a body, then trailers"), ("/echo/trailers-only", "")] {
        let mut connection = Connection::open(&host.functions);
        connection.write(
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        let answer = String::from_utf8(connection.read_to_end().unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part), "{path}: {answer}");
    }
}

#[test]
fn each_fault_has_its_outcome_and_the_app_serves_again() {
    let host = Host::start();
    host.deploy("async-faults", &["--timeout", "300ms"]);
    // Touching 2 GB takes longer than that.
    host.deploy_as("patient", "async-faults", &[]);
    let greedy = host.get("/patient/allocate");
    assert_eq!((greedy.status, greedy.code().as_str()), (500, "memory-limit"), "{}", greedy.text());
    host.get("/patient/ok").ok();
    for (path, status, outcome) in [
        ("/trap", 500, "trapped"),
        ("/panic", 500, "trapped"),
        ("/recurse", 500, "trapped"),
        ("/exit", 500, "trapped"),
        ("/spin", 504, "timed-out"),
        ("/never", 504, "timed-out"),
        ("/deadlock", 504, "timed-out"),
        ("/no-response", 502, "invalid-response"),
        ("/many-headers?n=500", 502, "invalid-response"),
    ] {
        let answer = host.get(&format!("/async-faults{path}"));
        assert_eq!((answer.status, answer.code().as_str()), (status, outcome), "{path}: {}", answer.text());
        let id = answer.header("wfn-invocation").unwrap().to_owned();
        let logs = host.logs("async-faults");
        assert!(logs.lines().any(|line| line.contains(&id) && line.contains(outcome)), "{path}: {logs}");
        assert_eq!(host.get("/async-faults/ok").ok(), "ok\n", "after {path}");
    }
    assert!(
        host.logs("async-faults").contains("wasm backtrace"),
        "a trap is logged with the guest's backtrace"
    );
}

#[test]
fn a_trap_is_its_own_and_siblings_get_theirs() {
    let host = Host::start();
    host.deploy("async-faults", &["--workers", "1", "--max-instances", "1", "--concurrency", "4"]);
    assert_eq!(host.get("/async-faults/ok").ok(), "ok\n");
    let waits: Vec<Connection> = (0..3).map(|_| begin(&host, "/async-faults/wait?ms=25000")).collect();
    until("they wait", || (host.number("async-faults", "in_flight") == 3).then_some(()));
    let trapped = host.get("/async-faults/trap");
    assert_eq!((trapped.status, trapped.code().as_str()), (500, "trapped"));
    for answer in read_all(waits) {
        assert_eq!((answer.status, answer.code().as_str()), (500, "worker-lost"), "{}", answer.text());
    }
    // The same instance serves on, with a fresh worker.
    assert_eq!(
        host.get("/async-faults/count").ok(),
        "{\"worker_calls\":1,\"in_flight_peak\":1,\"after_done\":0}\n"
    );
    assert_eq!(host.number("async-faults", "instances_peak"), 1);
}

#[test]
fn a_time_out_leaves_siblings_alone_and_the_line_moves_on() {
    let host = Host::start();
    host.deploy(
        "async-faults",
        &["--workers", "1", "--max-instances", "1", "--concurrency", "2", "--timeout", "2s"],
    );
    let stuck = begin(&host, "/async-faults/never");
    until("it is stuck", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    // A sibling that was there before the time-out, and one that waits for its slot.
    let sibling = begin(&host, "/async-faults/wait?ms=1500");
    until("it runs, too", || (host.number("async-faults", "in_flight") == 2).then_some(()));
    let waiting = begin(&host, "/async-faults/ok");
    let [stuck, sibling, waiting] = read_all(vec![stuck, sibling, waiting]).try_into().unwrap();
    assert_eq!((stuck.status, stuck.code().as_str()), (504, "timed-out"));
    assert_eq!((sibling.status, waiting.status), (200, 200), "{} {}", sibling.text(), waiting.text());
}

#[test]
fn computing_past_the_deadline_ends_the_worker() {
    let host = Host::start();
    host.deploy(
        "async-faults",
        &["--workers", "1", "--max-instances", "1", "--concurrency", "4", "--timeout", "1s"],
    );
    let begun = Instant::now();
    let spins = begin(&host, "/async-faults/spin");
    until("it spins", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    // When its time is over, theirs is not.
    until("half of its time is over", || (begun.elapsed() >= Duration::from_millis(500)).then_some(()));
    let waits: Vec<Connection> = (0..3).map(|_| begin(&host, "/async-faults/ok")).collect();
    let spins = read_all(vec![spins]).remove(0);
    assert_eq!((spins.status, spins.code().as_str()), (504, "timed-out"));
    // They had no turn before it ended: a fresh worker takes them.
    for answer in read_all(waits) {
        assert_eq!(answer.ok(), "ok\n");
    }
    assert_eq!(host.get("/async-faults/ok").ok(), "ok\n");
}

#[test]
fn an_automatic_number_of_workers_keeps_one_that_computes_from_holding_up_the_next() {
    let host = Host::start();
    host.deploy("async-faults", &["--max-instances", "1", "--timeout", "4s"]);
    let spins = begin(&host, "/async-faults/spin");
    until("it spins", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    assert_eq!(host.get("/async-faults/ok").ok(), "ok\n");
    // One for each core at most: on a machine of one core the call has waited.
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let seen = (host.number("async-faults", "in_flight"), host.admin_get("/v1/host")["workers"].clone());
        assert_eq!(seen, (1, 2.into()));
    }
    assert_eq!(read_all(vec![spins]).remove(0).status, 504);
    assert_eq!(host.number("async-faults", "instances_peak"), 1);
}

#[test]
fn computing_while_siblings_wait_is_reported_by_name() {
    let host = Host::start();
    host.deploy("async-faults", &["--workers", "1", "--max-instances", "1"]);
    let wait = begin(&host, "/async-faults/wait?ms=2000");
    until("it waits", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    let spun = host.get("/async-faults/spin?ms=400");
    let id = spun.header("wfn-invocation").unwrap().to_owned();
    read_all(vec![wait]).remove(0).ok();
    let logs = host.logs("async-faults");
    let report = logs.lines().find(|line| line.contains("without yielding")).expect(&logs);
    assert!(report.contains(&id) && report.contains("1 other"), "{report}");
}

#[test]
fn a_guest_that_computes_does_not_starve_other_apps() {
    let host = Host::start();
    host.deploy("async-hello", &[]);
    host.deploy("async-faults", &["--concurrency", "1"]);
    let spinners: Vec<Connection> = (0..8).map(|_| begin(&host, "/async-faults/spin?ms=3000")).collect();
    until("all compute", || (host.number("async-faults", "in_flight") == 8).then_some(()));
    let load = Load::start(&host, "/async-hello", 4, "Hello from wfn!\n");
    for answer in read_all(spinners) {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // Far more than one each time a spinner is through.
    let answered = load.end();
    assert!(answered > 100, "{answered}");
}

#[test]
fn responses_that_break_off_never_look_whole() {
    let host = Host::start();
    host.deploy("async-faults", &["--timeout", "500ms"]);
    let paths =
        ["/trap-in-body", "/endless-body", "/error-in-body", "/wrong-length", "/trickle?chunks=1000&ms=50"];
    // Where the guest was quick the host answers in its place, otherwise the connection is cut.
    for (before, path) in paths.into_iter().enumerate() {
        let mut connection = Connection::open(&host.functions);
        connection.write(
            format!("GET /async-faults{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        let all = connection.read_to_end().unwrap_or_default();
        let text = String::from_utf8_lossy(&all);
        let is_refused = text.starts_with("HTTP/1.1 5") && text.contains("\"code\"");
        let promised_more = text.contains("content-length: 10\r\n");
        assert!(is_refused || promised_more || !text.ends_with("0\r\n\r\n"), "{path} looks whole");
        until(&format!("{path} is counted"), || {
            (host.number("async-faults", "failed") == before as u64 + 1).then_some(())
        });
    }
    until("the slots are free", || (host.number("async-faults", "in_flight") == 0).then_some(()));
    assert_eq!(host.get("/async-faults/ok").ok(), "ok\n");
}

#[test]
fn a_client_that_leaves_costs_its_siblings_nothing() {
    let host = Host::start();
    host.deploy("async-faults", &["--workers", "1", "--max-instances", "1", "--concurrency", "4"]);
    let stays = begin(&host, "/async-faults/wait?ms=1000");
    until("it waits", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    for _ in 0..3 {
        drop(begin(&host, "/async-faults/wait?ms=300"));
    }
    assert_eq!(read_all(vec![stays]).remove(0).status, 200);
    until("all slots are free", || (host.number("async-faults", "in_flight") == 0).then_some(()));
    assert_eq!(host.number("async-faults", "failed"), 0);
    assert_eq!(host.number("async-faults", "instances_peak"), 1);
}

#[test]
fn work_after_the_answer_is_finished() {
    let host = Host::start();
    host.deploy("async-faults", &[]);
    host.get("/async-faults/after?ms=200").ok();
    // A new revision drains the old worker, which is not done yet.
    host.deploy("async-faults", &[]);
    until("it is done", || host.logs("async-faults").contains("worked on for 200 ms").then_some(()));
}

#[test]
fn a_fresh_worker_for_each_invocation_on_request() {
    let host = Host::start();
    host.deploy("async-faults", &["--isolation", "fresh", "--always-ready", "1"]);
    for _ in 0..5 {
        assert_eq!(json(host.get("/async-faults/count"))["worker_calls"], 1);
    }
    let waits: Vec<Connection> = (0..4).map(|_| begin(&host, "/async-faults/wait?ms=200")).collect();
    for answer in read_all(waits) {
        assert_eq!(json(answer)["in_flight_peak"], 1);
    }
    until("only the stock is left", || (host.admin_get("/v1/host")["workers"] == 1).then_some(()));
}

#[test]
fn idle_asynchronous_instances_go_and_always_ready_ones_stay() {
    let host = Host::start();
    host.deploy("async-hello", &["--idle-timeout", "100ms", "--always-ready", "1", "--concurrency", "1"]);
    assert_eq!(host.admin_get("/v1/host")["workers"], 1);
    let load = Load::start(&host, "/async-hello", 4, "Hello from wfn!\n");
    until("it has scaled out", || (host.number("async-hello", "instances") > 1).then_some(()));
    load.end();
    until("one is left", || (host.number("async-hello", "instances") == 1).then_some(()));
    until("its worker, too", || (host.admin_get("/v1/host")["workers"] == 1).then_some(()));
}

#[test]
fn printed_lines_carry_the_invocation_while_it_is_alone() {
    let host = Host::start();
    host.deploy("async-faults", &[]);
    let answer = host.get("/async-faults/print?text=marked");
    let id = answer.header("wfn-invocation").unwrap().to_owned();
    let logs = host.logs("async-faults");
    let marked = logs.lines().filter(|line| line.contains("marked") && line.contains(&id)).count();
    assert_eq!(marked, 2, "{logs}");
}

#[test]
fn a_host_ends_in_order_with_asynchronous_work_under_way() {
    let host = Host::start();
    host.deploy("async-faults", &[]);
    let held = begin(&host, "/async-faults/wait?ms=500");
    until("it waits", || (host.number("async-faults", "in_flight") == 1).then_some(()));
    host.terminate();
    assert_eq!(read_all(vec![held]).remove(0).status, 200);
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn a_restart_serves_asynchronous_apps_from_cached_machine_code() {
    let host = Host::start();
    host.deploy("async-hello", &["--always-ready", "1"]);
    let data = host.kill();
    std::fs::remove_dir_all(data.path().join("modules")).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/async-hello").ok(), "Hello from wfn!\n");
    assert_eq!(host.admin_get("/v1/apps/async-hello")["kind"], "p3");
}

#[test]
fn an_answer_that_was_whole_is_kept_when_its_guest_traps_afterwards() {
    let host = Host::start();
    host.deploy("async-faults", &[]);
    for path in ["/trap-after-body", "/trap-when-written"] {
        for _ in 0..20 {
            let answer = host.get(&format!("/async-faults{path}"));
            assert_eq!((answer.status, answer.text().as_str()), (200, "all of the body\n"), "{path}");
        }
        assert!(host.logs("async-faults").contains("after its answer, trapped"), "{path}");
    }
}
