//! `wfn bench`: the client counts what the host counts, settings come back, the page is written.

use std::fs;

use crate::harness::{Host, guest, wfn};

#[test]
fn client_and_host_count_the_same() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let run = host.wfn(&["bench", "hello", "-c", "8", "-n", "3000", "-t", "60s", "--json"]).json();
    let run = &run["runs"][0];
    assert_eq!((&run["requests"], &run["host"]["invocations"]), (&3000.into(), &3000.into()), "{run}");
    assert_eq!(run["statuses"]["200"], 3000, "{run}");
    assert!(run["host"]["gb_s"].as_f64() >= Some(2.0), "{run}");
    assert!(run["latency_us"]["p99"].as_u64() >= run["latency_us"]["p50"].as_u64(), "{run}");
}

#[test]
fn values_are_compared_on_revisions_that_go_again() {
    let host = Host::start();
    host.deploy("hello", &["--concurrency", "7"]);
    let page = host.data.path().join("report.html");
    let flags =
        ["-c", "4", "-n", "200", "--concurrency", "2,3", "--recommend", "--report", page.to_str().unwrap()];
    let said = host.wfn(&[&["bench", "hello"], flags.as_slice()].concat()).ok();
    assert!(said.contains("Recommended:") && said.contains("wfn scale hello --concurrency"), "{said}");
    assert_eq!(host.number("hello", "concurrency"), 7, "the revision of before serves again");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("concurrency 3") && !page.contains("<script"), "{page}");
}

#[test]
fn failures_are_told_by_how_calls_ended() {
    let host = Host::start();
    host.deploy("faults", &[]);
    let said = host.wfn(&["bench", "faults", "/trap", "-c", "2", "-n", "20"]).ok();
    assert!(said.contains("20 answered 500") && said.contains("20 ended as trapped"), "{said}");
    let rate = ["bench", "faults", "/ok", "--rate", "200", "-t", "1s", "--json"];
    let open = host.wfn(&rate).json();
    let requests = open["runs"][0]["requests"].as_u64().unwrap();
    assert!(requests <= 200, "no more than were due: {open}");
}

#[test]
fn what_cannot_be_called_is_refused() {
    let refused = wfn(&["bench", "http://127.0.0.1:1/", "--concurrency", "1"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("need an app"), "{refused:?}");
    let host = Host::start();
    let unknown = host.wfn(&["bench", "nobody"]).refused();
    assert!(unknown.contains("nobody"), "{unknown}");
    host.wfn(&["deploy", &guest("hello")]).ok();
    let many = host.wfn(&["bench", "hello", "-c", "0"]).refused();
    assert!(many.contains("the clients must be 1 to"), "{many}");
    let wrong = wfn(&["bench", "ftp://x"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("use a URL such as"), "{wrong:?}");
}

#[test]
fn the_plots_end_with_the_last_whole_second() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let page = host.data.path().join("report.html");
    host.wfn(&["bench", "hello", "-c", "2", "-t", "2500ms", "--report", page.to_str().unwrap()]).ok();
    let page = fs::read_to_string(page).unwrap();
    let plot = page.split("<h2>Requests each second</h2>").nth(1).unwrap();
    let curve = plot.split("<path d=\"M").find(|path| path.contains("stroke-width=\"2\"")).unwrap();
    let points = curve.split('"').next().unwrap().split('L').count();
    // Two, or one where the machine was held up: not the half second behind them.
    assert!((1..=2).contains(&points), "{curve}");
    assert!(plot.contains(&format!(">{points} s<")), "{plot}");
}
