//! Guest faults: the caller gets a clear answer, the same app serves again, other apps notice nothing.

use crate::harness::{Connection, Host, Load, until};

#[test]
fn each_fault_has_its_outcome_and_the_app_serves_again() {
    let host = Host::start();
    host.deploy("faults", &["--timeout", "300ms"]);
    // Touching 2 GB takes longer than that.
    host.deploy_as("patient", "faults", &[]);
    let greedy = host.get("/patient/allocate");
    assert_eq!((greedy.status, greedy.code().as_str()), (500, "memory-limit"), "{}", greedy.text());
    host.get("/patient/ok").ok();
    for (path, status, outcome) in [
        ("/trap", 500, "trapped"),
        ("/panic", 500, "trapped"),
        ("/recurse", 500, "trapped"),
        ("/exit", 500, "trapped"),
        ("/stdout-then-trap", 500, "trapped"),
        ("/spin", 504, "timed-out"),
        ("/sleep?ms=60000", 504, "timed-out"),
        ("/no-response", 502, "no-response"),
        ("/answer-twice", 500, "trapped"),
        ("/short-body", 502, "invalid-response"),
        ("/many-headers?n=500", 502, "invalid-response"),
        ("/many-headers?n=10000", 500, "trapped"),
    ] {
        let answer = host.get(&format!("/faults{path}"));
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("wfn-outcome"), Some(outcome), "{path}");
        assert_eq!(answer.code(), outcome, "{path}");
        let id = answer.header("wfn-invocation").unwrap().to_owned();
        let logs = host.logs("faults");
        assert!(logs.lines().any(|line| line.contains(&id) && line.contains(outcome)), "{path}: {logs}");
        assert_eq!(host.get("/faults/ok").ok(), "ok\n", "after {path}");
    }
    assert!(host.logs("faults").contains("wasm backtrace"), "a trap is logged with the guest's backtrace");
}

#[test]
fn a_response_cut_by_a_trap_never_looks_whole() {
    let host = Host::start();
    host.deploy("faults", &["--timeout", "300ms"]);
    for path in ["/trap-in-body", "/endless-body"] {
        let mut connection = Connection::open(&host.functions);
        connection
            .write(format!("GET /faults{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        let all = connection.read_to_end().unwrap_or_default();
        assert!(!all.ends_with(b"0\r\n\r\n"), "{path} looks whole");
        if all.starts_with(b"HTTP/1.1 200") {
            assert!(
                !all.windows(16).any(|window| window.eq_ignore_ascii_case(b"content-length: ")),
                "{path}"
            );
        }
    }
    until("the slots are free", || (host.number("faults", "in_flight") == 0).then_some(()));
    let long = host.get("/faults/long-body");
    assert!(long.status != 200 || long.body.len() == 3, "{long:?}");
    host.get("/faults/ok").ok();
}

#[test]
fn a_reader_that_never_reads_does_not_keep_its_slot() {
    let host = Host::start();
    host.deploy("faults", &["--timeout", "500ms"]);
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET /faults/endless-body HTTP/1.1\r\nhost: x\r\n\r\n");
    until("it runs", || (host.number("faults", "in_flight") == 1).then_some(()));
    until("the deadline took the slot back", || (host.number("faults", "in_flight") == 0).then_some(()));
}

#[test]
fn a_client_that_goes_away_ends_its_invocation() {
    let host = Host::start();
    host.deploy("faults", &[]);
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET /faults/sleep?ms=25000 HTTP/1.1\r\nhost: x\r\n\r\n");
    until("it runs", || (host.number("faults", "in_flight") == 1).then_some(()));
    drop(connection);
    until("it is cancelled", || (host.number("faults", "in_flight") == 0).then_some(()));
    assert_eq!((host.number("faults", "failed"), host.number("faults", "invocations")), (0, 1));
}

#[test]
fn faults_of_one_app_are_not_seen_by_another() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy("faults", &["--timeout", "200ms"]);
    let load = Load::start(&host, "/hello", 4, "Hello from wfn!\n");
    for _ in 0..3 {
        for path in
            ["/trap", "/spin", "/allocate", "/recurse", "/no-response", "/endless-body", "/flood?lines=20000"]
        {
            let mut connection = Connection::open(&host.functions);
            connection.write(
                format!("GET /faults{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
            );
            // However it ends; the other app is what counts here.
            let _ = connection.read_to_end();
        }
    }
    assert!(load.end() > 0);
    host.get("/faults/ok").ok();
}

#[test]
fn spinning_on_every_core_leaves_room_for_others() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy("faults", &["--timeout", "3s"]);
    let spinners: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(&host.functions);
            connection.write(b"GET /faults/spin HTTP/1.1\r\nhost: x\r\n\r\n");
            connection
        })
        .collect();
    until("all spin", || (host.number("faults", "in_flight") == 8).then_some(()));
    for _ in 0..50 {
        assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    }
    for mut spinner in spinners {
        assert_eq!(spinner.read_answer().unwrap().status, 504);
    }
}

#[test]
fn a_flood_of_output_is_bounded() {
    let host = Host::start();
    host.deploy("faults", &[]);
    assert_eq!(host.get("/faults/flood?lines=50000").status, 200);
    let lines = host.logs("faults").lines().count();
    assert!((1..=10_000).contains(&lines), "{lines}");
    let last = host.wfn(&["logs", "faults", "-n", "5"]).ok();
    assert_eq!(last.lines().count(), 5);
}
