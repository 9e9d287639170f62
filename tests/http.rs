//! HTTP from hostile or old clients: a 4xx or a closed connection after a bounded time, never a stuck
//! worker.

use crate::harness::{Connection, Host, Request, until};

#[test]
fn every_answer_of_the_host_names_its_invocation_and_code() {
    let host = Host::start();
    let answer = host.get("/nobody/x");
    assert_eq!((answer.status, answer.code().as_str()), (404, "no-route"));
    assert_eq!(answer.header("wfn-outcome"), Some("no-route"));
    assert_eq!(answer.header("wfn-invocation").map(str::len), Some(16));
    assert!(answer.text().contains("wfn ls"), "{}", answer.text());
}

#[test]
fn a_body_cut_half_way_costs_no_slot() {
    let host = Host::start();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    // Announced small: it is awaited before a slot is taken. Announced large: it streams, and is cut.
    for length in ["100", "1000000"] {
        let mut connection = Connection::open(&host.functions);
        let head = format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\nhalf");
        connection.write(head.as_bytes());
        drop(connection);
        until("nothing is in flight", || (host.number("echo", "in_flight") == 0).then_some(()));
        assert_eq!(Request::new("POST", "/echo").body("next").send(&host.functions).ok(), "next");
    }
}

#[test]
fn a_head_that_never_ends_is_cut_in_bounded_time() {
    let host = Host::start();
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ");
    let answer = connection.read_answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "head-too-slow"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(connection.read_to_end().unwrap(), b"");
}

#[test]
fn a_body_that_never_comes_is_refused_in_bounded_time() {
    let host = Host::start();
    host.deploy("echo", &["--max-instances", "1", "--concurrency", "1"]);
    let mut slow = Connection::open(&host.functions);
    slow.write(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nhalf");
    // It holds no slot meanwhile: the only one is free for others.
    assert_eq!(Request::new("POST", "/echo").body("next").send(&host.functions).ok(), "next");
    // A large one is read by the function while it arrives.
    host.deploy_as("p2", "faults", &[]);
    let mut large = Connection::open(&host.functions);
    large.write(b"POST /p2/read-slow?ms=0 HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\nhalf");
    for mut slow in [slow, large] {
        let answer = slow.read_answer().unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (408, "body-too-slow"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(host.number("p2", "failed"), 0);
}

#[test]
fn the_operator_reads_why_an_upload_is_refused() {
    let host = Host::start();
    let mut connection = Connection::open(&host.admin);
    let body = vec![b'x'; 5_000_000];
    let path = format!("/v1/modules/{}", "0".repeat(64));
    connection.write(
        format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
    );
    connection.write(&body);
    let answer = connection.read_answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(connection.read_to_end().unwrap(), b"");
}

/// Reads until `part` has come.
#[track_caller]
fn read_until(connection: &mut Connection, part: &str) -> String {
    let mut all = String::new();
    until(part, || {
        all += &String::from_utf8(connection.read_some(4_096).unwrap()).unwrap();
        all.contains(part).then(|| all.clone())
    })
}

#[test]
fn a_stream_is_sent_while_its_request_waits_to_be_read() {
    let host = Host::start();
    host.deploy_as("p2", "faults", &[]);
    host.deploy_as("p3", "async-faults", &[]);
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n"
        )
    };
    for (path, part) in [("/p3/trickle?chunks=2&ms=25000", "chunk 1 of 2"), ("/p2/endless-body", "xxxx")] {
        let mut connection = Connection::open(&host.functions);
        connection.write(head(path).as_bytes());
        read_until(&mut connection, part);
    }
}

#[test]
fn an_answer_does_not_wait_for_the_next_one() {
    let host = Host::start();
    host.deploy_as("p2", "faults", &[]);
    let mut connection = Connection::open(&host.functions);
    let ask = |path: &str| format!("GET /p2{path} HTTP/1.1\r\nhost: x\r\n\r\n");
    connection.write([ask("/ok"), ask("/sleep?ms=25000"), ask("/ok")].concat().as_bytes());
    assert_eq!(connection.read_answer().unwrap().ok(), "ok\n");
    until("the next one runs", || (host.number("p2", "in_flight") == 1).then_some(()));
}

#[test]
fn who_says_the_last_word_before_the_answer_has_gone() {
    let host = Host::start();
    host.deploy_as("p2", "faults", &[]);
    let mut connection = Connection::open(&host.functions);
    connection
        .write(b"GET /p2/ok HTTP/1.1\r\nhost: x\r\n\r\nGET /p2/sleep?ms=25000 HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(connection.read_answer().unwrap().ok(), "ok\n");
    until("the second one runs", || (host.number("p2", "in_flight") == 1).then_some(()));
    connection.half_close();
    assert_eq!(connection.read_to_end().unwrap(), b"");
    until("it is cancelled", || (host.number("p2", "in_flight") == 0).then_some(()));
    let kept = host.admin_get("/v1/apps/p2/invocations?outcome=cancelled");
    assert_eq!(
        (host.number("p2", "failed"), kept["invocations"].as_array().unwrap().len()),
        (0, 1),
        "{kept}"
    );
}

#[test]
fn an_old_client_sees_that_a_response_was_cut() {
    use crate::commands::{deploy, program};
    let host = Host::start();
    // It waits before it fails, so that the head and a part of the body are out.
    let fails =
        program("Content-Type: text/plain\n\npart", "(call $text) (call $wait (i64.const 100)) unreachable");
    deploy(&host, "fails", &fails, &[]);
    let mut connection = Connection::open(&host.functions);
    connection.write(b"GET /fails/ HTTP/1.0\r\n\r\n");
    let mut all = Vec::new();
    let end = loop {
        match connection.read_some(4_096) {
            Ok(some) if some.is_empty() => panic!("it looks whole: {}", String::from_utf8_lossy(&all)),
            Ok(some) => all.extend(some),
            Err(error) => break error,
        }
    };
    // Without a length or chunks the end of the connection is all it has to go by.
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(all.starts_with(b"HTTP/1.0 200") && all.ends_with(b"part"), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn a_body_over_the_bound_is_not_the_functions_fault() {
    let host = Host::start();
    host.deploy_as("p2", "faults", &[]);
    host.deploy_as("p3", "async-faults", &[]);
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    for path in ["/p2/read-slow?ms=0&bytes=1000000", "/p3/echo"] {
        let mut connection = Connection::open(&host.functions);
        connection.write(
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes(),
        );
        let mut reader = connection.second();
        let reading = std::thread::spawn(move || reader.read_answer());
        // Refused on the way: what is sent afterwards is dropped.
        for _ in 0..110 {
            if connection.try_write(&chunk).is_err() {
                break;
            }
        }
        let answer = reading.join().unwrap();
        if path.starts_with("/p2") {
            let answer = answer.unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (413, "body-too-large"), "{path}");
        } else {
            // Its head was out long before; what it had begun is cut.
            assert!(answer.is_err(), "{path} looks whole");
        }
    }
    for app in ["p2", "p3"] {
        until("it has ended", || (host.number(app, "in_flight") == 0).then_some(()));
        assert_eq!(host.number(app, "failed"), 0, "{app}: {}", host.logs(app));
    }
}

#[test]
fn a_function_is_not_blamed_for_a_body_that_is_cut() {
    let host = Host::start();
    host.deploy_as("p2", "faults", &[]);
    let mut connection = Connection::open(&host.functions);
    connection.write(b"POST /p2/read-slow?ms=0 HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\nhalf");
    connection.half_close();
    let answer = connection.read_answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (400, "body-broken"));
    until("it has ended", || (host.number("p2", "in_flight") == 0).then_some(()));
    assert_eq!(host.number("p2", "failed"), 0);
}

#[test]
fn the_words_of_a_program_that_are_no_answer_are_in_its_log_alone() {
    let host = crate::http_table::host();
    for (app, words) in
        [("cgi-words", "the secret is"), ("cgi-exit", "code 77"), ("p3", "asked for no response")]
    {
        let path = if app == "p3" { "/p3/no-response".to_owned() } else { format!("/{app}/") };
        let answer = host.get(&path);
        assert_eq!((answer.status, answer.code().as_str()), (502, "invalid-response"), "{app}");
        assert!(!answer.text().contains(words), "{app}: {}", answer.text());
        assert!(host.logs(app).contains(words), "{app}: {}", host.logs(app));
    }
}

#[test]
fn settings_of_a_program_go_before_a_clients_headers() {
    use crate::commands::{deploy, program};
    let host = Host::start();
    let settings =
        ["-e", "HTTP_PROXY=http://proxy.example", "-e", "HTTP_X_ROLE=user", "-e", "REMOTE_ADDR=1.2.3.4"];
    deploy(&host, "env", &program("Content-Type: text/plain\n\n", "(call $text) (call $environ)"), &settings);
    let answer =
        Request::get("/env/").header("x-role", "admin").header("x-other", "b").send(&host.functions).ok();
    let mut variables: Vec<&str> = answer
        .split('\0')
        .filter(|known| known.starts_with("HTTP_") || known.starts_with("REMOTE"))
        .collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        [
            "HTTP_HOST=localhost",
            "HTTP_PROXY=http://proxy.example",
            "HTTP_X_FORWARDED_FOR=127.0.0.1",
            "HTTP_X_FORWARDED_PREFIX=/env",
            "HTTP_X_OTHER=b",
            "HTTP_X_ROLE=user",
            "REMOTE_ADDR=127.0.0.1"
        ]
    );
}

#[test]
fn asynchronous_guests_see_what_they_were_asked_at() {
    let host = Host::start();
    host.deploy_as("p3", "async-faults", &[]);
    assert_eq!(host.get("/p3/target").ok(), "scheme Some(Scheme::Http)\nauthority Some(\"localhost\")\n");
}
