//! HTTPS by the host itself: the same answers as without TLS, each name its certificate, certificates that change, and clients that
//! do not finish.

pub mod tls;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, HandshakeKind};

use self::tls::{Authority, Secure};
use crate::commands;
use crate::harness::{DataDir, Host, Request, run, until};
use crate::http_table;

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// A host with one certificate for `names`, an authority that has issued it, and the folder of its files.
fn host_for(names: &[&str]) -> (Host, Authority, TempDir) {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let [chain, key] = authority.issue_into(folder.path(), "host", names);
    let host = Host::start_with(&["--https", "127.0.0.1:0", "--tls-cert", &chain, "--tls-key", &key]);
    (host, authority, folder)
}

#[test]
fn the_table_of_http_passes_over_tls() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let [chain, key] = authority.issue_into(folder.path(), "host", &["localhost"]);
    let host = http_table::host_with(&["--https", "127.0.0.1:0", "--tls-cert", &chain, "--tls-key", &key]);
    for versions in [[&TLS12], [&TLS13]] {
        let address = tls::tunnel(authority.client(&versions, &[HTTP1]), &host.https);
        for row in http_table::rows() {
            row.check(&address, true);
        }
    }
}

#[test]
fn http2_is_agreed_on_and_guests_learn_that_the_client_is_secure() {
    let (host, authority, _folder) = host_for(&["localhost"]);
    host.deploy_as("p3", "async-faults", &[]);
    let program = commands::program("Content-Type: text/plain\n\n", "(call $text) (call $environ)");
    commands::deploy(&host, "cgi", &program, &[]);
    let config = authority.client(ALL_VERSIONS, &[HTTP2, HTTP1]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tls::connect(&config, &host.https, "localhost").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP2));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        for (path, expected) in [
            ("p3/target", "scheme Some(Scheme::Https)"),
            ("cgi", "HTTPS=on"),
            ("cgi", "HTTP_X_FORWARDED_PROTO=https"),
        ] {
            let request =
                hyper::Request::get(format!("https://localhost/{path}")).header("x-forwarded-proto", "http");
            let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains(expected), "{path}: {text}");
        }
    });
    assert!(host.get("/p3/target").ok().contains("scheme Some(Scheme::Http)"));
    assert!(!host.get("/cgi").ok().contains("HTTPS=on"));
}

#[test]
fn each_name_has_its_certificate_and_others_a_clear_end() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue_into(folder.path(), "a", &["a.example", "www.a.example"]);
    authority.issue_into(folder.path(), "b", &["*.b.example"]);
    let nested = folder.path().join("c.example");
    fs::create_dir(&nested).unwrap();
    let (chain, key) = authority.issue(&["c.example"]);
    fs::write(nested.join("fullchain.pem"), chain).unwrap();
    fs::write(nested.join("privkey.pem"), key).unwrap();
    let host = Host::start_with(&["--https", "127.0.0.1:0", "--tls-certs", folder.path().to_str().unwrap()]);
    host.deploy("hello", &["--host", "a.example"]);
    let config = authority.client(ALL_VERSIONS, &[]);
    for name in ["a.example", "www.a.example", "x.b.example", "c.example"] {
        let answer = Secure::open(&config, &host.https, name).unwrap().get(name, "/hello/").unwrap();
        let status = if name == "a.example" { "HTTP/1.1 404" } else { "HTTP/1.1 200" };
        // At its own host name the app is at the root.
        assert!(answer.starts_with(status) || answer.contains("Hello from wfn!"), "{name}: {answer}");
    }
    for name in ["d.example", "b.example", "x.y.b.example", "127.0.0.1"] {
        let error = Secure::open(&config, &host.https, name).err().unwrap().to_string();
        assert!(error.contains("UnrecognisedName"), "{name}: {error}");
    }
    let none_of_ours = authority.client(ALL_VERSIONS, &[b"spdy/3"]);
    let error = Secure::open(&none_of_ours, &host.https, "a.example").err().unwrap().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn sessions_are_resumed() {
    let (host, authority, _folder) = host_for(&["localhost"]);
    host.deploy("hello", &[]);
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version], &[]);
        let kinds: Vec<_> = (0..2)
            .map(|_| {
                let secure = Secure::open(&config, &host.https, "localhost").unwrap();
                let kind = secure.stream.conn.handshake_kind().unwrap();
                assert!(secure.get("localhost", "/hello/").unwrap().contains("Hello from wfn!"));
                kind
            })
            .collect();
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
}

/// Ends the load when the test ends, also when it fails.
pub struct EndsLoad<'a>(pub &'a AtomicBool);

impl Drop for EndsLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn certificates_change_under_load_and_a_broken_one_changes_nothing() {
    let (host, authority, folder) = host_for(&["localhost"]);
    host.deploy("hello", &["--always-ready", "1"]);
    let config = authority.client(ALL_VERSIONS, &[]);
    // Of a client that resumes no session: a resumed one has the certificate of its first handshake.
    let shown = || {
        let config = authority.client(ALL_VERSIONS, &[]);
        Secure::open(&config, &host.https, "localhost").unwrap().certificate()
    };
    let (ends, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let secure = Secure::open(&config, &host.https, "localhost").unwrap();
                    assert!(secure.get("localhost", "/hello/").unwrap().contains("Hello from wfn!"));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ends = EndsLoad(&ends);
        let first = shown();
        authority.issue_into(folder.path(), "host", &["localhost"]);
        let second = until("the new one is served", || Some(shown()).filter(|now| *now != first));
        // Half of the next one: the key does not fit, then it is no certificate at all.
        let (chain, key) = authority.issue(&["localhost"]);
        fs::write(folder.path().join("host.crt"), &chain).unwrap();
        until("it is said", || host.own_log().contains("belongs to another certificate").then_some(()));
        fs::write(folder.path().join("host.crt"), &chain[..100]).unwrap();
        let said = || host.own_log().matches("the one before stays").count();
        until("it is said", || (said() == 2).then_some(()));
        fs::remove_file(folder.path().join("host.crt")).unwrap();
        until("it is said", || host.own_log().contains("No such file").then_some(()));
        assert_eq!(shown(), second);
        fs::write(folder.path().join("host.key"), key).unwrap();
        fs::write(folder.path().join("host.crt"), chain).unwrap();
        until("the whole one is served", || Some(shown()).filter(|now| *now != second));
    });
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_host_does_not_start_with_a_certificate_that_it_cannot_serve() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let ([chain, key], [_, other]) =
        (authority.issue_into(folder.path(), "a", &["a"]), authority.issue_into(folder.path(), "b", &["b"]));
    let encrypted = path("encrypted");
    fs::write(
        &encrypted,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let (empty, missing) = (path("empty"), path("missing"));
    fs::create_dir(&empty).unwrap();
    for (flags, expected) in [
        (&["--tls-cert", &chain, "--tls-key", &other][..], "belongs to another certificate"),
        (&["--tls-cert", &chain, "--tls-key", &encrypted], "without a passphrase"),
        (&["--tls-cert", &chain, "--tls-key", &missing], "No such file"),
        (&["--tls-cert", &key, "--tls-key", &key], "no certificate in PEM form"),
        (&["--tls-certs", &empty], "no certificate beside its key"),
        (&["--tls-certs", &missing], "No such file"),
        (&[], "--https needs certificates"),
    ] {
        let data = DataDir::new();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wfn"));
        command.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
        let said = run(command.arg("--data-dir").arg(data.path()).args(flags)).refused();
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
}

#[test]
fn who_does_not_speak_tls_learns_why_and_who_never_finishes_keeps_out_nobody() {
    let (host, authority, _folder) = host_for(&["localhost"]);
    host.deploy("hello", &["--always-ready", "1"]);
    let refused = Request::get("/hello/").send(&host.https);
    assert_eq!((refused.status, refused.code().as_str()), (400, "https-only"));
    let mut stream = TcpStream::connect(&host.https).unwrap();
    stream.write_all(&[0; 100]).unwrap();
    let mut answer = Vec::new();
    // An alert, or an end: nothing that could be taken for an answer.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() <= 7, "{answer:?}");

    let config = authority.client(ALL_VERSIONS, &[]);
    let begun: Vec<_> = (0..2_500)
        .map(|number| {
            let mut stream = TcpStream::connect(&host.https).unwrap();
            // Some say nothing at all, some begin a record.
            if number % 2 == 0 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
            }
            stream
        })
        .collect();
    let secure = Secure::open(&config, &host.https, "localhost").unwrap();
    assert!(secure.get("localhost", "/hello/").unwrap().contains("Hello from wfn!"));
    // The oldest had to give way.
    let mut oldest = Arc::new(begun.into_iter().next().unwrap());
    assert!(matches!(Arc::get_mut(&mut oldest).unwrap().read(&mut [0; 1]), Ok(0) | Err(_)));
}
