//! What is seen of invocations: one by one, by the second, as metrics, in logs.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::commands;
use crate::harness::{Connection, Held, Host, Load, Request, metric, until};
use crate::upstream::Upstream;

fn calls(host: &Host, app: &str, flags: &[&str]) -> Vec<Value> {
    let shown = host.wfn(&[&["invocations", app, "--json"], flags].concat()).ok();
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_invocation_is_kept_with_what_it_took() {
    let host = Host::start();
    host.deploy("echo", &["--concurrency", "1"]);
    let first = Request::new("POST", "/echo/a/path?secret=1").body("twelve bytes").send(&host.functions);
    let id = first.header("wfn-invocation").unwrap().to_owned();
    first.ok();
    host.get("/echo/").ok();
    let kept = until("both are kept", || {
        let kept = calls(&host, "echo", &[]);
        (kept.len() == 2).then_some(kept)
    });
    let call = &kept[0];
    assert_eq!(call["invocation"], id.as_str());
    assert_eq!((&call["method"], &call["path"]), (&"POST".into(), &"/a/path".into()), "{call}");
    assert_eq!((&call["outcome"], &call["status"]), (&"answered".into(), &200.into()), "{call}");
    assert_eq!((&call["request_bytes"], &call["response_bytes"]), (&12.into(), &12.into()), "{call}");
    assert_eq!((&call["revision"], &call["group"]), (&1.into(), &"http".into()), "{call}");
    assert_eq!((&call["cold"], &kept[1]["cold"]), (&true.into(), &false.into()), "{kept:?}");
    assert!(call["started_us"].as_u64() > Some(0) && kept[1]["started_us"] == 0, "{kept:?}");
    for key in ["ran_us", "cpu_us", "memory_bytes"] {
        assert!(call[key].as_u64() > Some(0), "{key}: {call}");
    }
    assert_eq!(call["detail"], Value::Null);
    // For people, too.
    let shown = host.wfn(&["invocations", "echo"]).ok();
    assert!(shown.contains(&id) && shown.contains("POST /a/path") && !shown.contains("secret"), "{shown}");
}

#[test]
fn failed_invocations_are_found_with_their_reason() {
    let host = Host::start();
    host.deploy("faults", &["--timeout", "300ms"]);
    host.get("/faults/ok").ok();
    for path in ["/trap", "/no-response", "/sleep?ms=60000"] {
        host.get(&format!("/faults{path}"));
    }
    let failed = until("all are kept", || {
        let failed = calls(&host, "faults", &["--failed"]);
        (failed.len() == 3).then_some(failed)
    });
    let outcomes: Vec<_> = failed.iter().map(|call| call["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["trapped", "no-response", "timed-out"]);
    let detail = failed[0]["detail"].as_str().unwrap();
    assert!(detail.contains("wasm backtrace"), "{detail}");
    assert_eq!(calls(&host, "faults", &["--status", "5xx"]).len(), 3);
    assert_eq!(calls(&host, "faults", &["--status", "504"]).len(), 1);
    assert_eq!(calls(&host, "faults", &["--outcome", "answered"]).len(), 1);
    let shown = host.wfn(&["invocations", "faults", "--failed"]).ok();
    assert!(shown.contains("wasm backtrace"), "{shown}");
    let wrong = host.wfn(&["invocations", "faults", "--outcome", "exploded"]).refused();
    assert!(wrong.contains("known are answered, throttled"), "{wrong}");
    let wrong = host.wfn(&["invocations", "faults", "--status", "9xx-"]).refused();
    assert!(wrong.contains("pass 404, 5xx or 400-499"), "{wrong}");
}

#[test]
fn who_waited_and_who_was_refused_is_told() {
    let host = Host::start_with(&["--memory-quota-mb", "2048"]);
    host.deploy("echo", &["--concurrency", "1", "--max-instances", "1"]);
    let first = Held::begin(&host, "echo");
    until("it is in flight", || (host.number("echo", "in_flight") == 1).then_some(()));
    let second = Held::begin(&host, "echo");
    until("the second waits", || (host.number("echo", "waiting") == 1).then_some(()));
    first.end().ok();
    second.end().ok();
    let kept = until("both are kept", || {
        let kept = calls(&host, "echo", &[]);
        (kept.len() == 2).then_some(kept)
    });
    assert_eq!(kept[0]["waited_us"], 0, "{kept:?}");
    assert!(kept[1]["waited_us"].as_u64() > Some(0), "{kept:?}");
    let text = host.metrics();
    assert_eq!(metric(&text, r#"wfn_wait_seconds_count{app="echo",group="http"}"#), 1.0);
}

#[test]
fn metrics_and_status_count_the_same() {
    let host = Host::start();
    host.deploy("faults", &[]);
    host.deploy("hello", &["--always-ready", "2"]);
    let load = Load::start(&host, "/hello/", 8, "Hello from wfn!\n");
    until("there is some load", || (host.number("hello", "invocations") > 500).then_some(()));
    // In the middle of it.
    host.deploy("hello", &["--always-ready", "2", "--concurrency", "4"]);
    let answered = load.end();
    for _ in 0..3 {
        host.get("/faults/trap");
    }
    until("all are counted", || (host.number("hello", "in_flight") == 0).then_some(()));

    let text = host.metrics();
    let hello = r#"app="hello",group="http""#;
    let count = metric(&text, &format!("wfn_invocations_total{{{hello},outcome=\"answered\"}}"));
    assert_eq!(count as u64, host.number("hello", "invocations"));
    assert_eq!(count as u64, answered, "the client counts as many");
    assert_eq!(metric(&text, &format!("wfn_run_seconds_count{{{hello}}}")), count);
    assert_eq!(metric(&text, &format!("wfn_run_seconds_bucket{{{hello},le=\"+Inf\"}}")), count);
    assert_eq!(metric(&text, r#"wfn_invocations_total{app="faults",group="http",outcome="trapped"}"#), 3.0);
    assert!(metric(&text, &format!("wfn_cpu_seconds_total{{{hello}}}")) > 0.0);
    assert_eq!(metric(&text, r#"wfn_scale_decisions_total{app="hello",reason="always-ready"}"#), 4.0);
    let used = host.wfn(&["usage", "hello", "--json"]).json();
    assert_eq!(used["total"]["executions"], answered, "usage counts as many");
    // Each point of the series says what came in its second.
    let series = until("the last second is told", || {
        let series = host.admin_get("/v1/apps/hello/series");
        let points = series["points"].as_array().unwrap();
        let sum: u64 = points.iter().map(|point| point["invocations"].as_u64().unwrap()).sum();
        (sum == answered).then(|| points.clone())
    });
    assert!(series.iter().any(|point| point["p99_us"].as_f64() > Some(0.0)), "{series:?}");
}

/// Lets Prometheus' own tool read metrics; gives what it complains of.
fn complaints(metrics: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: it is in Debian's package prometheus, and .ci/run shows how to get it alone");
    // Dropped at the end of the line: it reads to the end of its input.
    tool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn prometheus_reads_the_metrics_and_has_nothing_to_complain_of() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    let host = Host::start_with(&["--otlp-endpoint", &collector.url("/refusing")]);
    assert_eq!(complaints(&host.metrics()), "", "of a host without apps");
    host.deploy("faults", &[]);
    for path in ["ok", "trap", "no-response"] {
        host.get(&format!("/faults/{path}"));
    }
    // One is in flight, the queue is full, one is refused.
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    let _held: Vec<Held> = (0..1_025).map(|_| Held::begin(&host, "echo")).collect();
    until("the queue is full", || (host.number("echo", "waiting") == 1_024).then_some(()));
    assert_eq!(Request::new("POST", "/echo/").body("x").send(&host.functions).status, 429);
    // A message of its queue becomes a request to the upstream; nobody else may be asked.
    let (sink, allowed) = (upstream.url("/sink"), upstream.url(""));
    let manifest = format!(
        "queues = [\"work\"]\nallowed_outbound_hosts = [\"{allowed}\"]\n\
         [[trigger.queue]]\nname = \"work\"\npath = \"/as?POST&{sink}\"\n"
    );
    host.deploy_with("shop", "fetch", &manifest);
    host.wfn(&["queue", "send", "shop", "work", "by hand"]).ok();
    host.get(&format!("/shop/get?{}", collector.url("/ok")));
    let function = r#"wfn_invocations_total{app="shop",group="function:work",outcome="answered"}"#;
    let text = until("the message is delivered and spans are refused", || {
        let text = host.metrics();
        let dropped = metric(&text, "wfn_trace_spans_dropped_total");
        (text.contains(&format!("{function} 1\n")) && dropped > 0.0).then_some(text)
    });
    for (name, at_least) in [
        (r#"wfn_invocations_total{app="faults",group="http",outcome="trapped"}"#, 1.0),
        (r#"wfn_throttled_total{app="echo",group="http",reason="maximum-instances"}"#, 1.0),
        (r#"wfn_waiting{app="echo",group="http"}"#, 1_024.0),
        (r#"wfn_outbound_requests_total{app="shop"}"#, 1.0),
        (r#"wfn_outbound_refused_total{app="shop"}"#, 1.0),
    ] {
        assert!(metric(&text, name) >= at_least, "{name} in {text}");
    }
    assert_eq!(complaints(&text), "");
    // It would have found something.
    assert!(complaints(&text.replace("wfn_throttled_total", "wfn_throttled")).contains("_total"));
}

#[test]
fn logs_are_found_by_what_is_in_them_and_how_the_call_ended() {
    let host = Host::start();
    host.deploy("faults", &[]);
    host.get("/faults/stdout-then-trap");
    host.get("/faults/ok").ok();
    let all = host.logs("faults");
    let found = host.wfn(&["logs", "faults", "--stream", "host", "--search", "backtrace"]).ok();
    assert!(found.lines().count() >= 1 && found.lines().count() < all.lines().count(), "{found}");
    assert!(found.lines().all(|line| line.contains("backtrace")), "{found}");
    let failed = host.wfn(&["logs", "faults", "--status", "500", "-o", "json"]).ok();
    let lines: Vec<Value> = failed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["stream"] == "stdout"), "{failed}");
    assert!(lines.iter().all(|line| line["invocation"].is_string()), "{failed}");
    assert_eq!(host.wfn(&["logs", "faults", "--status", "404"]).ok(), "");
    assert_eq!(host.wfn(&["logs", "faults", "--since", "2100-01-01"]).ok(), "");
    assert_eq!(host.wfn(&["logs", "faults", "--since", "1h"]).ok(), all);
    let wrong = host.wfn(&["logs", "faults", "--status", "often"]).refused();
    assert!(wrong.contains("is not a status"), "{wrong}");
    // The last that fits, not what fits of the last.
    let last = host.wfn(&["logs", "faults", "-n", "1", "--stream", "stdout"]).ok();
    assert_eq!(last.lines().count(), 1, "{last}");
}

#[test]
fn top_shows_what_runs() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.get("/hello/").ok();
    until("the second is over", || {
        let shown = host.wfn(&["top", "--once"]).ok();
        let line = shown.lines().find(|line| line.starts_with("hello"))?.to_owned();
        // One in ten seconds.
        line.split_whitespace().any(|cell| cell == "0.1").then_some(())
    });
    let status = host.wfn(&["status", "hello"]).ok();
    assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");
}

/// The lines of an app's log that are of a stream, by the invocation that wrote them.
fn written(host: &Host, app: &str, stream: &str) -> Vec<(Value, String)> {
    let lines = host.wfn(&["logs", app, "--stream", stream, "-o", "json"]).ok();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["invocation"].clone(), line["text"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn what_is_written_without_a_line_end_is_told_by_its_own_invocation() {
    let host = Host::start();
    // One worker, which is used again.
    host.deploy("faults", &["--concurrency", "1", "--max-instances", "1"]);
    host.deploy("async-faults", &["--max-instances", "1"]);
    let program = commands::program(
        "Content-Type: text/plain\n\nmumbled",
        "(call $text) (call $say (i32.const 2) (i32.const 1050) (i32.const 7))",
    );
    commands::deploy(&host, "program", &program, &[]);
    for (app, count) in
        [("faults", "/faults/count"), ("async-faults", "/async-faults/count"), ("program", "/program/")]
    {
        let words =
            |number: usize| if app == "program" { "mumbled".to_owned() } else { format!("mumble-{number}") };
        let expected: Vec<(Value, String)> = (0..3)
            .map(|number| {
                let answer = host.get(&format!("/{app}/mumble?text={}", words(number)));
                let id = answer.header("wfn-invocation").unwrap().to_owned();
                answer.ok();
                (id.into(), words(number))
            })
            .collect();
        host.get(count).ok();
        let streams = if app == "program" { &["stderr"][..] } else { &["stdout", "stderr"] };
        for stream in streams {
            let of_these = || -> Vec<(Value, String)> {
                let all = written(&host, app, stream);
                all.into_iter().filter(|(_, text)| text.contains("mumble")).take(3).collect()
            };
            let found = until("all three are told", || Some(of_these()).filter(|found| found.len() == 3));
            assert_eq!(found, expected, "{app} {stream}");
        }
    }
    // What a guest wrote before it failed, too.
    let failed = host.get("/faults/mumble-then-trap?text=last");
    let id = failed.header("wfn-invocation").unwrap().to_owned();
    assert_eq!(failed.status, 500);
    let last = || written(&host, "faults", "stdout").into_iter().find(|(_, text)| text == "last");
    assert_eq!(until("its last words are told", last).0, id);
}

#[test]
fn of_several_in_one_worker_each_line_is_its_writers() {
    let host = Host::start();
    host.deploy_as("calls", "async-faults", &["--max-instances", "1"]);
    // Others are in the worker all the time.
    let mut beside: Vec<Connection> = (0..3).map(|_| Connection::open(&host.functions)).collect();
    for connection in &mut beside {
        connection.write(b"POST /calls/echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n");
    }
    until("they are in flight", || (host.number("calls", "in_flight") == 3).then_some(()));
    let mut expected = Vec::new();
    for number in 0..20 {
        let answer =
            host.get(&format!("/calls/{}?text=t{number}", if number % 2 == 0 { "print" } else { "mumble" }));
        let text = if number % 2 == 0 { format!("stdout: t{number}") } else { format!("t{number}") };
        expected.push((Value::from(answer.header("wfn-invocation").unwrap()), text));
        answer.ok();
    }
    let found = until("all are told", || {
        Some(written(&host, "calls", "stdout")).filter(|found| found.len() == expected.len())
    });
    assert_eq!(found, expected);
    for connection in &mut beside {
        connection.write(b"0\r\n\r\n");
        assert_eq!(connection.read_answer().unwrap().text(), "begun");
    }
}
