//! What is seen of invocations: one by one, by the second, as metrics, in logs.

use serde_json::Value;

use crate::harness::{Held, Host, Load, Request, metric, until};

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
