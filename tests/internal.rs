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

#[test]
fn keys_from_passwords_are_those_of_the_standards() {
    let host = Host::start();
    host.deploy("fetch", &[]);
    host.deploy("async-fetch", &[]);
    let ask = |guest: &str, path: &str, password: &[u8]| {
        let path = format!("/{guest}/post?http://wfn.internal/kdf/{path}");
        crate::harness::Request::new("POST", &path).body(password.to_vec()).send(&host.functions)
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for guest in ["fetch", "async-fetch"] {
        // RFC 7914, section 12, the third vector, and RFC 6070, the second.
        let key = ask(guest, "scrypt?n=16384&r=8&p=1&length=64&salt=U29kaXVtQ2hsb3JpZGU", b"pleaseletmein");
        assert_eq!(key.status, 200, "{}", key.text());
        assert!(hex(&key.body).starts_with("7023bdcb3afd7348461c06cd81fd38eb"), "{}", hex(&key.body));
        let key = ask(guest, "pbkdf2?hash=sha1&iterations=2&length=20&salt=c2FsdA", b"password");
        assert_eq!(hex(&key.body), "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    }
    for (path, what) in [
        ("scrypt?n=1048576&r=8&p=1&length=64&salt=", "at most 67108864 for 128 n r"),
        ("scrypt?n=1000&r=8&p=1&length=64&salt=", "power of 2"),
        ("scrypt?n=16&r=1&p=1&length=0&salt=", "length: use 1 to 1024"),
        ("scrypt?n=16&r=1&p=1&length=9&salt=*", "salt: use base64url"),
        ("pbkdf2?hash=md5&iterations=1&length=9&salt=", "hash: use sha1"),
        ("pbkdf2?hash=sha1&iterations=99999999&length=9&salt=", "iterations: use 1 to 10000000"),
    ] {
        let answer = ask("fetch", path, b"password");
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad-request"), "{path}");
        assert!(answer.text().contains(what), "{path}: {}", answer.text());
    }
    let answer = ask("fetch", "pbkdf2?hash=sha1&iterations=1&length=9&salt=", &[b'x'; 5_000]);
    assert!(answer.status == 400 && answer.text().contains("password: use at most 4096 bytes"));
    assert_eq!(ask("fetch", "argon2?length=9", b"x").code(), "no-such-path");
}

/// An app of each kind that may call every app.
fn callers(host: &Host) {
    for (app, guest) in [("two", "fetch"), ("three", "async-fetch")] {
        host.deploy_as(app, guest, &["--allow-outbound", "http://*.wfn.internal", "--max-instances", "500"]);
    }
}

#[test]
fn apps_of_every_kind_call_each_other_and_themselves_cold_and_warm() {
    let host = Host::start();
    callers(&host);
    host.deploy("hello", &[]);
    host.deploy("async-hello", &[]);
    let greetings = ["hello", "async-hello"].map(|app| (app, host.get(&format!("/{app}/")).ok()));
    for round in ["cold", "warm"] {
        for caller in ["two", "three"] {
            for (callee, greeting) in &greetings {
                if round == "cold" {
                    // A new revision has no instance yet.
                    host.deploy_as(
                        caller,
                        if caller == "two" { "fetch" } else { "async-fetch" },
                        &["--allow-outbound", "http://*.wfn.internal"],
                    );
                    host.deploy(callee, &[]);
                }
                let answer = host.get(&format!("/{caller}/get?http://{callee}.wfn.internal/")).ok();
                assert_eq!(&answer, greeting, "{round}: {caller} calls {callee}");
                let through =
                    format!("/{caller}/get?http://{caller}.wfn.internal/get?http://{callee}.wfn.internal/");
                assert_eq!(&host.get(&through).ok(), greeting, "{round}: {caller} calls itself");
            }
        }
    }
    let ring = "get?http://two.wfn.internal/get?http://three.wfn.internal/";
    let mut path = String::from("/three/");
    for _ in 0..6 {
        path += ring;
    }
    assert_eq!(host.get(&format!("{path}get?http://hello.wfn.internal/")).ok(), greetings[0].1);
    for app in ["two", "three", "hello", "async-hello"] {
        assert_eq!(host.number(app, "failed"), 0, "{app}");
    }
}

#[test]
fn many_clients_call_through_apps_and_only_depth_is_a_loop() {
    let host = Host::start();
    callers(&host);
    host.deploy("async-hello", &[]);
    let expected = host.get("/async-hello/").ok();
    let deep = "get?http://three.wfn.internal/get?http://two.wfn.internal/get?http://three.wfn.internal/get?http://async-hello.wfn.internal/";
    let shallow = "get?http://async-hello.wfn.internal/";
    std::thread::scope(|scope| {
        for client in 0..64 {
            let (host, expected) = (&host, &expected);
            scope.spawn(move || {
                let mut connection = crate::harness::Connection::open(&host.functions);
                for call in 0..25 {
                    // Deep and shallow ones run beside each other in the same workers.
                    let rest = if (client + call) % 4 == 0 { deep } else { shallow };
                    let head = format!("GET /three/{rest} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                    connection.write(head.as_bytes());
                    let answer = connection.read_answer().unwrap();
                    assert_eq!(
                        (answer.status, &answer.text()),
                        (200, expected),
                        "client {client}, call {call}"
                    );
                }
            });
        }
    });
    assert_eq!(host.number("three", "failed"), 0);
}

#[test]
fn one_slow_callee_holds_up_only_who_calls_it() {
    let host = Host::start();
    callers(&host);
    host.deploy("async-faults", &[]);
    host.deploy("async-hello", &[]);
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = crate::harness::Connection::open(&host.functions);
            connection.write(
                b"GET /three/get?http://async-faults.wfn.internal/wait?ms=6000 HTTP/1.1\r\nhost: x\r\n\r\n",
            );
            connection
        })
        .collect();
    until("the slow calls wait", || (host.number("async-faults", "in_flight") == 8).then_some(()));
    for _ in 0..50 {
        host.get("/three/get?http://async-hello.wfn.internal/").ok();
    }
    assert_eq!(host.number("async-faults", "in_flight"), 8);
    drop(slow);
    until("they ended with their clients", || (host.number("async-faults", "in_flight") == 0).then_some(()));
}

#[test]
fn an_app_cannot_say_for_another_from_where_it_calls() {
    let host = Host::start();
    host.deploy("echo", &[]);
    host.deploy("fetch", &["--allow-outbound", "http://echo.wfn.internal"]);
    let answer = crate::harness::Request::get("/fetch/get?http://echo.wfn.internal/headers")
        .header("x-forwarded-prefix", "/forged")
        .send(&host.functions)
        .ok();
    assert!(!answer.contains("x-forwarded-prefix"), "{answer}");
    assert!(answer.contains("[\"x-forwarded-for\",\"127.0.0.1\"]"), "{answer}");
}

/// The body that nobody reads is longer than what the host takes ahead, so the guest still writes it when the answer comes.
#[test]
fn an_answer_that_comes_before_the_body_is_read_is_an_answer() {
    let host = Host::start();
    callers(&host);
    host.deploy("hello", &[]);
    for (url, expected) in [
        ("http://hello.wfn.internal/", 200),
        ("http://nobody.wfn.internal/", 404),
        ("http://wfn.internal/settings", 200),
        ("http://wfn.internal/nothing", 404),
        ("http://wfn.internal/kv/a-store/key", 400),
    ] {
        let answer = host.get(&format!("/two/flood?4000000&{url}"));
        assert_eq!(answer.status, expected, "{url}: {answer:?} {}", answer.text());
    }
}
