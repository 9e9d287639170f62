//! A deployed function answers: routes, prefixes, headers, settings, streams, logs.

use crate::harness::{Connection, Host, Request, guest, page, until, wfn};

#[test]
fn two_commands_make_a_function_answer() {
    let host = Host::start();
    let said = host.wfn(&["deploy", &guest("hello")]).ok();
    assert!(said.contains("deployed hello revision 1"), "{said}");
    let answer = host.get("/hello/");
    assert_eq!(answer.header("wfn-invocation").map(str::len), Some(16));
    assert_eq!(answer.header("content-length"), Some("16"));
    assert_eq!(answer.ok(), "Hello from wfn!\n");
}

#[test]
fn html_parse_counts_a_real_page() {
    let host = Host::start();
    host.deploy("html-parse", &[]);
    let answer = Request::new("POST", "/html-parse").body(page()).send(&host.functions);
    let counts: serde_json::Value = serde_json::from_str(&answer.ok()).unwrap();
    assert_eq!((counts["elements"].as_u64(), counts["links"].as_u64()), (Some(920), Some(30)), "{counts}");
    let refused = host.get("/html-parse/");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("POST")));
}

#[test]
fn the_guest_sees_its_own_path_and_who_asks() {
    let host = Host::start();
    host.deploy("echo", &["--host", "echo.example.com"]);
    let seen = Request::get("/echo/headers?a=b")
        .header("x-forwarded-prefix", "/lie")
        .header("x-forwarded-for", "6.6.6.6")
        .send(&host.functions)
        .ok();
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    let text = seen.to_string();
    assert!(text.contains("/headers?a=b") && !text.contains("/echo/headers"), "{text}");
    assert!(text.contains("\"/echo\"") && !text.contains("/lie"), "{text}");
    assert!(text.contains("127.0.0.1"), "{text}");

    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET /headers HTTP/1.1\r\nhost: Echo.Example.com:80\r\n\r\n");
    let claimed = connection.read_answer().unwrap().ok();
    assert!(claimed.contains("\"/headers\"") && !claimed.contains("x-forwarded-prefix"), "{claimed}");
}

#[test]
fn bodies_stream_both_ways() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let mut connection = Connection::open(&host.functions);
    connection.write(b"POST /echo/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    // The first part comes back while the request is still open.
    let head = until("the first part comes back", || {
        let some = String::from_utf8(connection.read_some(4_096).unwrap()).unwrap();
        some.contains("one").then_some(some)
    });
    assert!(head.contains("200 OK") || head.contains("one"), "{head}");
    connection.write(b"3\r\ntwo\r\n0\r\n\r\n");
    let rest = until("the second part comes back", || {
        let some = String::from_utf8(connection.read_some(4_096).unwrap()).unwrap();
        some.contains("two").then_some(some)
    });
    assert!(rest.contains("two"), "{rest}");

    let large = vec![b'x'; 3 << 20];
    let answer = Request::new("POST", "/echo/").body(large.clone()).send(&host.functions);
    assert!(answer.body == large, "{} bytes came back", answer.body.len());
}

#[test]
fn output_is_in_the_log_with_its_invocation() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let answer = host.get("/echo/print?text=marked");
    let id = answer.header("wfn-invocation").unwrap().to_owned();
    let logs = host.logs("echo");
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains("marked")).collect();
    assert_eq!(lines.len(), 2, "{logs}");
    assert!(lines.iter().all(|line| line.contains(&id)), "{logs}");
    assert!(
        lines.iter().any(|line| line.contains("stdout")) && lines.iter().any(|line| line.contains("stderr"))
    );
}

#[test]
fn settings_reach_the_guest_and_nothing_else_does() {
    let host = Host::start();
    host.deploy("faults", &["-e", "GREETING=good day"]);
    assert_eq!(host.get("/faults/env?key=GREETING").ok().trim(), "good day");
    assert_eq!(host.get("/faults/env?key=PATH").status, 404);
}

#[test]
fn invoke_goes_through_the_admin_api() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let said = host.wfn(&["invoke", "echo", "/", "-X", "POST", "-d", "ping"]).ok();
    assert_eq!(said, "ping");
    let seen = host.wfn(&["invoke", "echo", "/headers", "-H", "authorization: Bearer mine"]).ok();
    assert!(seen.contains("Bearer mine") && !seen.contains(&host.token()), "{seen}");
    // A path is passed on as it was written: decoded, it would not be a path any more.
    let seen = host.wfn(&["invoke", "echo", "/headers?a=%20%2F"]).ok();
    assert!(seen.contains("/headers?a=%20%2F"), "{seen}");
    let odd = host.wfn(&["invoke", "echo", "/no%20such%2Fpath"]);
    assert!(odd.stderr.contains("404"), "the guest's own answer: {odd:#?}");
    let missing = host.wfn(&["invoke", "nobody", "/"]).refused();
    assert!(missing.contains("nobody"), "{missing}");
}

#[test]
fn the_demo_needs_nothing_but_the_binary() {
    let host = Host::start_with(&["--demo"]);
    let answer = until("the demo answers", || {
        let answer = host.get("/hello/");
        (answer.status == 200).then_some(answer)
    });
    assert!(answer.text().starts_with("Hello"), "{}", answer.text());
}

/// How often the compute threads of a host have gone to sleep.
fn compute_sleeps(host: &Host) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap();
    let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let of_compute = status.filter(|status| status.contains("wfn-compute"));
    let sleeps = of_compute.map(|status| {
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    });
    sleeps.sum()
}

/// Epochs pass while a guest waits: that is no computing, and no reason to leave the event loop of its connection.
#[test]
fn calls_that_wait_go_on_where_they_began() {
    let host = Host::start();
    host.deploy("faults", &[]);
    host.get("/faults/sleep?ms=10").ok();
    let before = compute_sleeps(&host);
    for _ in 0..100 {
        host.get("/faults/sleep?ms=10").ok();
    }
    let moved = compute_sleeps(&host) - before;
    // On a busy machine a guest may be kept from its core for a tick, which looks like computing.
    assert!(moved < 50, "the compute threads were woken {moved} times for 100 calls");
}

/// What the kernel calls the scheduling policies (sched(7)).
const SCHED_OTHER: &str = "0";
const SCHED_BATCH: &str = "3";

#[test]
fn event_loops_interrupt_guests_that_compute_and_nobody_else() {
    let host = Host::start();
    host.deploy("faults", &[]);
    host.get("/faults/ok").ok();
    let all_have = |expected| policies(&host).iter().all(|policy| policy == expected).then_some(());
    // On a busy machine the first call may have computed for longer than a call does.
    until("nobody computes", || all_have(SCHED_BATCH));
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET /faults/spin HTTP/1.1\r\nhost: x\r\n\r\n");
    until("a guest computes", || all_have(SCHED_OTHER));
    drop(connection);
    until("nobody computes any more", || all_have(SCHED_BATCH));
}

/// The scheduling policy of each event loop.
fn policies(host: &Host) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("the host runs");
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let loops = stats.filter(|stat| stat.contains("(wfn-loop"));
    // The 41st field of proc_pid_stat(5), the 39th after the name.
    let policies: Vec<String> = loops
        .filter_map(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(38).map(str::to_owned))
        .collect();
    assert!(!policies.is_empty());
    policies
}

#[test]
fn every_invocation_is_counted_once() {
    let host = Host::start();
    host.deploy("faults", &["--timeout", "200ms"]);
    for path in ["/ok", "/ok", "/sleep?ms=1", "/trap", "/sleep?ms=60000", "/no-response"] {
        host.get(&format!("/faults{path}"));
    }
    until("the slots are free", || (host.number("faults", "in_flight") == 0).then_some(()));
    let group = host.group("faults");
    assert_eq!(group["invocations"], 6, "{group}");
    assert_eq!(group["failed"], 3, "{group}");
    assert_eq!(group["cold"], 1, "{group}");
}

#[test]
fn status_has_the_fields_that_scripts_rely_on() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "2", "--memory", "4096"]);
    host.get("/hello").ok();
    let status = host.wfn(&["status", "hello", "--json"]).json();
    assert_eq!(status["app"], "hello");
    assert_eq!(status["revision"], 1);
    assert_eq!(status["kind"], "p2");
    assert_eq!(status["memory_mb"], 4096);
    let group = &status["groups"][0];
    assert_eq!(group["group"], "http");
    for (field, expected) in [
        ("concurrency", 32),
        ("always_ready", 2),
        ("max_instances", 100),
        ("instances", 2),
        ("instances_peak", 2),
        ("in_flight", 0),
        ("waiting", 0),
        ("invocations", 1),
        ("cold", 0),
        ("throttled", 0),
        ("failed", 0),
    ] {
        assert_eq!(group[field], expected, "{field} in {group}");
    }
    assert!(group["memory_bytes"].as_u64().unwrap() > 0);
    let listed = host.wfn(&["ls"]).ok();
    assert!(listed.contains("hello"), "{listed}");
}

#[test]
fn the_token_file_is_for_its_owner_alone_and_needed() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start();
    let mode = |name: &str| host.data.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("token"), mode(".")), (0o600, 0o700));
    let server = format!("http://{}", host.admin);
    let refused = wfn(&["--server", &server, "--token", "wrong", "ls"]).refused();
    assert!(refused.contains("token"), "{refused}");
    let unauthorized = |host: &Host, request: Request| {
        let answer = request.send(&host.admin);
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{answer:?}");
    };
    for path in ["/v1/apps/hello/kv", "/v1/apps/hello/secrets", "/v1/apps/hello/invoke/"] {
        unauthorized(&host, Request::get(path));
    }
    unauthorized(&host, Request::new("POST", "/v1/apps/hello/rollback").body("{}"));
    unauthorized(&host, Request::new("DELETE", "/v1/apps/hello"));
    // Who asks from this machine may look, but no page of another site, and nobody with a wrong token.
    for path in ["/v1/apps", "/v1/host", "/v1/usage", "/metrics", "/"] {
        Request::get(path).send(&host.admin).ok();
    }
    unauthorized(&host, Request::get("/v1/apps").header("authorization", "Bearer wrong"));
    let mut connection = Connection::open(&host.admin);
    connection.write(b"GET /v1/apps HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    assert_eq!(connection.read_answer().unwrap().status, 401);
    let closed = Host::start_with(&["--dashboard", "token"]);
    for path in ["/v1/apps", "/v1/host", "/v1/apps/hello/logs", "/metrics"] {
        unauthorized(&closed, Request::get(path));
    }
    Request::get("/").send(&closed.admin).ok();
}

#[test]
fn the_doctor_finds_a_running_host() {
    let host = Host::start();
    let said = host.wfn(&["doctor"]).ok();
    assert!(said.contains("max_map_count") && said.contains(&host.admin), "{said}");
}
