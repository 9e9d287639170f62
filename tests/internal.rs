//! `http://wfn.internal`: calls from app to app, granted by name, through the same door as all others.

use crate::harness::{Host, until};

#[test]
fn an_app_calls_another_where_it_is_granted() {
    let host = Host::start();
    host.deploy("echo", &[]);
    for guest in ["fetch", "async-fetch"] {
        host.deploy(guest, &["--allow-outbound", "http://echo.wfn.internal"]);
        for url in ["http://wfn.internal/apps/echo/headers?a=b", "http://echo.wfn.internal/headers?a=b"] {
            let answer = host.get(&format!("/{guest}/get?{url}")).ok();
            assert!(answer.contains("\"path\":\"/headers?a=b\""), "{url}: {answer}");
            assert!(answer.contains(&format!("[\"wfn-caller\",\"{guest}\"]")), "{url}: {answer}");
        }
        let path = format!("/{guest}/post?http://wfn.internal/apps/echo/x");
        // echo answers while it reads; the client of fetch reads nothing before it has written everything.
        let body = vec![b'y'; if guest == "fetch" { 10_000 } else { 500_000 }];
        let answer = crate::harness::Request::new("POST", &path).body(body.clone()).send(&host.functions);
        assert!(answer.status == 200 && answer.body == body);
    }
    until("every call has been counted", || (host.number("echo", "invocations") == 6).then_some(()));
    assert_eq!(host.number("echo", "in_flight"), 0);
}

#[test]
fn nobody_outside_can_say_that_an_app_calls() {
    let host = Host::start();
    host.deploy("echo", &[]);
    let answer =
        crate::harness::Request::get("/echo/headers").header("wfn-caller", "fetch").send(&host.functions);
    assert!(!answer.ok().contains("wfn-caller"));
    let answer = host.wfn(&["invoke", "echo", "/headers", "-H", "wfn-caller: fetch"]).ok();
    assert!(answer.contains("/headers") && !answer.contains("wfn-caller"), "{answer}");
}

#[test]
fn without_a_grant_no_app_calls_another() {
    let host = Host::start();
    host.deploy("echo", &[]);
    for guest in ["fetch", "async-fetch"] {
        // A wildcard is for the world outside.
        host.deploy(guest, &["--allow-outbound", "*://*:*,http://other.wfn.internal"]);
        for url in ["http://wfn.internal/apps/echo/", "http://echo.wfn.internal/"] {
            let answer = host.get(&format!("/{guest}/get?{url}"));
            assert!(answer.status == 502 && answer.text().contains("HttpRequestDenied"), "{}", answer.text());
        }
        let logs = host.logs(guest);
        assert!(logs.contains("allowed_outbound_hosts = [\"http://echo.wfn.internal\"]"), "{logs}");
        let answer = host.get(&format!("/{guest}/get?http://wfn.internal/apps/other/"));
        assert_eq!((answer.status, answer.code().as_str()), (404, "no-route"));
        let answer = host.get(&format!("/{guest}/get?http://wfn.internal/nothing"));
        assert_eq!((answer.status, answer.code().as_str()), (404, "no-such-path"));
    }
    assert_eq!(host.number("echo", "invocations"), 0);
}

#[test]
fn apps_that_call_each_other_for_ever_are_stopped() {
    let host = Host::start();
    for (app, guest) in [("one", "fetch"), ("two", "async-fetch")] {
        let flags = ["--allow-outbound", "http://*.wfn.internal", "--timeout", "30s"];
        host.deploy_as(app, guest, &flags);
    }
    // Each passes on what is left of the path.
    let mut url = String::from("http://one.wfn.internal/");
    for _ in 0..20 {
        url = format!("http://one.wfn.internal/get?http://two.wfn.internal/get?{url}");
    }
    let answer = host.get(&format!("/one/get?{url}"));
    assert!(answer.status == 502 && answer.text().contains("LoopDetected"), "{answer:?} {}", answer.text());
    // The last byte may be here before the host has counted whoever passed it on.
    until("the first and the sixteen that it may lead to have ended", || {
        let calls = host.number("one", "invocations") + host.number("two", "invocations");
        assert!(calls <= 17, "{calls}");
        (calls == 17).then_some(())
    });
}
