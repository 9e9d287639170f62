//! Outbound requests: those that the manifest allows are sent, over connections that are kept; no other leaves the host.

use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use crate::harness::{Host, Request, until};
use crate::upstream::Upstream;

/// The guests that send requests, one of each kind.
const GUESTS: [&str; 2] = ["fetch", "async-fetch"];

/// Deploys `guest` with leave to go where `allowed` says.
fn deploy(host: &Host, guest: &str, allowed: &str) {
    host.deploy(guest, &["--allow-outbound", allowed]);
}

fn outbound(host: &Host, app: &str, what: &str) -> u64 {
    host.admin_get(&format!("/v1/apps/{app}"))["outbound"][what].as_u64().unwrap()
}

#[test]
fn an_allowed_request_is_sent_and_its_answer_comes_back() {
    let (host, upstream) = (Host::start(), Upstream::start());
    for guest in GUESTS {
        deploy(&host, guest, &upstream.url(""));
        let get = |path: &str| host.get(&format!("/{guest}/get?{}", upstream.url(path)));
        assert_eq!(get("/ok").ok(), "ok from upstream");
        let headers = get("/headers").ok();
        assert!(headers.contains(&format!("\"host\": \"{}\"", upstream.address)), "{headers}");
        // A redirect is the guest's business.
        let answer = get("/redirect?http://10.0.0.1/");
        assert_eq!((answer.status, answer.header("location")), (302, Some("http://10.0.0.1/")));
        let body = vec![b'x'; 3_000_000];
        let path = format!("/{guest}/post?{}", upstream.url("/echo"));
        let answer = Request::new("POST", &path).body(body.clone()).send(&host.functions);
        assert!(answer.status == 200 && answer.body == body, "{guest}: {} bytes", answer.body.len());
        assert_eq!(outbound(&host, guest, "requests"), 4);
        assert_eq!(outbound(&host, guest, "refused"), 0);
    }
}

#[test]
fn requests_without_a_body_say_so() {
    let (host, upstream) = (Host::start(), Upstream::start());
    for guest in GUESTS {
        deploy(&host, guest, &upstream.url(""));
        let path = format!("/{guest}/post?{}", upstream.url("/headers"));
        let headers = Request::new("POST", &path).body("").send(&host.functions).ok();
        let says = "\"content-length\": \"0\"";
        assert!(headers.contains(says) && !headers.contains("transfer-encoding"), "{guest}: {headers}");
        let headers = host.get(&format!("/{guest}/get?{}", upstream.url("/headers"))).ok();
        assert!(
            !headers.contains("content-length") && !headers.contains("transfer-encoding"),
            "{guest}: {headers}"
        );
    }
}

#[test]
fn what_no_entry_allows_is_refused_with_the_line_that_would() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let port = upstream.address.port();
    for guest in GUESTS {
        // By default: nothing.
        host.deploy(guest, &["--env", "A=b"]);
        host.wfn(&[
            "deploy",
            &crate::harness::guest(guest),
            "--name",
            guest,
            "--allow-outbound",
            "https://a.example",
        ])
        .ok();
        let cases = [
            (upstream.url("/ok"), "HttpRequestDenied|DestinationIpProhibited", upstream.url("")),
            ("https://b.example/".to_owned(), "HttpRequestDenied", "https://b.example".to_owned()),
            ("http://a.example/".to_owned(), "HttpRequestDenied", "http://a.example".to_owned()),
            ("https://a.example:8443/".to_owned(), "HttpRequestDenied", "https://a.example:8443".to_owned()),
            (
                "http://169.254.169.254/".to_owned(),
                "DestinationIpProhibited",
                "http://169.254.169.254".to_owned(),
            ),
            (format!("http://[::1]:{port}/ok"), "DestinationIpProhibited", format!("http://[::1]:{port}")),
        ];
        for (url, errors, entry) in &cases {
            let answer = host.get(&format!("/{guest}/get?{url}"));
            assert_eq!(answer.status, 502, "{url}: {}", answer.text());
            assert!(errors.split('|').any(|error| answer.text().contains(error)), "{url}: {}", answer.text());
            let logs = host.logs(guest);
            assert!(
                logs.contains(&format!("allowed_outbound_hosts = [\"{entry}\"]")),
                "{entry} is not in:\n{logs}"
            );
        }
        assert_eq!(outbound(&host, guest, "refused"), cases.len() as u64);
        assert_eq!(outbound(&host, guest, "requests"), 0);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_name_that_leads_to_an_address_of_ones_own_needs_a_grant_of_the_address() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let port = upstream.address.port();
    for guest in GUESTS {
        // A wildcard allows the name, not where it leads; neither do other spellings of the address.
        deploy(&host, guest, "*://*:*");
        for name in ["localhost", "0x7f.1", "2130706433", "127.1"] {
            let answer = host.get(&format!("/{guest}/get?http://{name}:{port}/ok"));
            assert_eq!(answer.status, 502, "{name}: {}", answer.text());
        }
        assert!(host.logs(guest).contains("127.0.0.1 is a loopback address"), "{}", host.logs(guest));
        deploy(&host, guest, &format!("http://*:*,http://127.0.0.0/8:{port}"));
        assert_eq!(host.get(&format!("/{guest}/get?http://localhost:{port}/ok")).ok(), "ok from upstream");
        deploy(&host, guest, &format!("http://localhost:{port}"));
        assert_eq!(host.get(&format!("/{guest}/get?http://localhost:{port}/ok")).ok(), "ok from upstream");
    }
    assert!(upstream.requests() == 2 * GUESTS.len());
}

#[test]
fn ten_requests_at_once_take_the_time_of_one() {
    let (host, upstream) = (Host::start(), Upstream::start());
    for guest in GUESTS {
        deploy(&host, guest, &upstream.url(""));
        let begun = Instant::now();
        let answer = host.get(&format!("/{guest}/all?10&{}", upstream.url("/wait?500"))).ok();
        assert_eq!(answer, "10 of 10 answered\n");
        // One after the other they would take five seconds, whatever the machine.
        assert!(begun.elapsed().as_millis() < 5_000);
        assert_eq!(upstream.most(), 10);
    }
}

#[test]
fn connections_are_kept_and_shared_by_instances() {
    let (host, upstream) = (Host::start(), Upstream::start());
    for guest in GUESTS {
        host.deploy(guest, &["--allow-outbound", &upstream.url(""), "--concurrency", "1"]);
        let before = upstream.connections();
        let path = format!("/{guest}/get?{}", upstream.url("/ok"));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(host.get(&path).ok(), "ok from upstream")));
            }
        });
        let opened = upstream.connections() - before;
        // A race between two that find no idle connection opens one that is not needed then.
        assert!((1..=40).contains(&opened), "{guest}: {opened} connections for 400 requests");
        assert_eq!(outbound(&host, guest, "connections"), opened as u64);
        assert_eq!(outbound(&host, guest, "requests"), 400);
    }
}

#[test]
fn servers_that_misbehave_cost_the_guest_an_error_and_no_more() {
    let (host, upstream) = (Host::start_with(&[]), Upstream::start());
    // Nobody listens there any more.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for guest in GUESTS {
        let allowed = "http://127.0.0.1:*,http://no-such-name.invalid";
        host.deploy(guest, &["--allow-outbound", allowed, "--timeout", "2s"]);
        let get = |url: &str| host.get(&format!("/{guest}/get?{url}"));
        let cases = [
            (format!("http://{closed}/"), 502, "ConnectionRefused"),
            ("http://no-such-name.invalid/".to_owned(), 502, "DnsError"),
            (upstream.url("/close"), 502, "Http"),
            (upstream.url("/large-head"), 502, "Http"),
        ];
        for (url, status, error) in cases {
            let answer = get(&url);
            assert!(
                answer.status == status && answer.text().contains(error),
                "{url}: {answer:?} {}",
                answer.text()
            );
        }
        // One that never answers ends with the function's own deadline.
        let answer = get(&upstream.url("/wait?3600000"));
        assert_eq!((answer.status, answer.code().as_str()), (504, "timed-out"));
        assert_eq!(get(&upstream.url("/ok")).ok(), "ok from upstream");
        until("nothing is in flight", || (host.number(guest, "in_flight") == 0).then_some(()));
    }
}

#[test]
fn a_guest_may_wait_for_less_time_even_none() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "fetch", &upstream.url(""));
    for ms in [0, 1, 50] {
        let answer = host.get(&format!("/fetch/wait?{ms}&{}", upstream.url("/wait?3600000")));
        assert!(
            answer.status == 502 && answer.text().contains("ConnectionReadTimeout"),
            "{ms}: {}",
            answer.text()
        );
    }
}

#[test]
fn certificates_are_checked_and_http_2_is_spoken() {
    let (upstream, certificate) = Upstream::start_tls();
    let port = upstream.address.port();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, certificate).unwrap();
    let trusting = Host::start_with_env(&[("SSL_CERT_FILE", roots.to_str().unwrap())]);
    let wary = Host::start();
    for guest in GUESTS {
        for host in [&trusting, &wary] {
            deploy(host, guest, &format!("https://localhost:{port},https://127.0.0.1:{port}"));
        }
        let path = format!("/{guest}/get?https://localhost:{port}/version");
        assert_eq!(trusting.get(&path).ok(), "HTTP/2.0");
        // The certificate is for the name.
        let by_address = trusting.get(&format!("/{guest}/get?https://127.0.0.1:{port}/version"));
        assert!(by_address.text().contains("TlsCertificateError"), "{}", by_address.text());
        let answer = wary.get(&path);
        assert!(answer.status == 502 && answer.text().contains("TlsCertificateError"), "{}", answer.text());
    }
}

#[test]
fn wrong_entries_are_refused_before_anything_changes() {
    let host = Host::start();
    let module = crate::harness::guest("fetch");
    for (entry, remedy) in [
        ("api.example.com", "scheme://host"),
        ("https://api.example.com/path", "no path"),
        ("tcp://a.example:5432", "use http, https or *"),
        ("https://{{ HOST }}", "no setting \"HOST\""),
    ] {
        let output = host.wfn(&["deploy", &module, "--allow-outbound", entry]);
        assert_ne!(output.code, Some(0));
        assert!(output.stderr.contains(remedy), "{entry}: {}", output.stderr);
    }
    assert!(host.admin_get("/v1/apps")["apps"].as_array().unwrap().is_empty());
    host.wfn(&["deploy", &module, "--allow-outbound", "https://{{ HOST }}", "-e", "HOST=a.example"]).ok();
}
