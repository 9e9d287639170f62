//! Certificates from an authority, as Pebble is one: for every host name that an app claims, renewed under load, and never
//! ordered twice by a host that was killed. It plays tricks on clients: refused nonces, and checks that are done already.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig};

use crate::harness::{DataDir, Host, Request, until};
use crate::https::tls::{self, Authority, Secure};

/// A running authority, whose names all lead to this machine.
struct Pebble {
    children: Vec<Child>,
    folder: TempDir,
    directory: String,
    management: String,
    /// Trusts its own certificate.
    client: Arc<ClientConfig>,
}

/// An address that is free now. Pebble cannot pick its own.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn program(name: &str) -> Command {
    assert!(
        fs::exists(format!("/usr/bin/{name}")).unwrap(),
        "{name} is not here: install Debian's package pebble (apt-get install pebble)"
    );
    let mut command = Command::new(format!("/usr/bin/{name}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Pebble {
    /// Starts one that checks names at `http` and `tls`. It refuses some of a hundred good nonces, and reuses some of a hundred
    /// checks.
    fn start(http: &str, tls: &str, nonces_refused: u32, checks_reused: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let own = Authority::new();
        let [certificate, key] = own.issue_into(folder.path(), "pebble", &["localhost", "127.0.0.1"]);
        fs::write(folder.path().join("roots.pem"), own.root_pem()).unwrap();
        let (listen, management, dns, dns_management) = (free(), free(), free(), free());
        let config = json!({ "pebble": {
            "listenAddress": listen, "managementListenAddress": management,
            "certificate": certificate, "privateKey": key,
            "httpPort": port(http), "tlsPort": port(tls),
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let file = folder.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        let names = program("pebble-challtestsrv")
            .args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-dns01",
                &dns,
                "-management",
                &dns_management,
            ])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .spawn()
            .unwrap();
        let authority = program("pebble")
            .arg("-config")
            .arg(file)
            .args(["-dnsserver", &dns])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", nonces_refused.to_string())
            .env("PEBBLE_AUTHZREUSE", checks_reused.to_string())
            .stdout(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let client = own.client(ALL_VERSIONS, &[]);
        let directory = format!("https://{listen}/dir");
        let pebble = Self { children: vec![names, authority], folder, directory, management, client };
        until("it answers", || TcpStream::connect(&pebble.management).ok());
        until("it answers", || TcpStream::connect(&listen).ok());
        pebble
    }

    /// What it has done.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn management(&self, path: &str) -> String {
        let secure = Secure::open(&self.client, &self.management, "127.0.0.1").unwrap();
        let answer = secure.get(&self.management, path).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// A client that trusts the certificates that it gives, and resumes no session.
    fn trusting(&self) -> Arc<ClientConfig> {
        tls::client_of_pem(&self.management("/roots/0"))
    }

    /// The flags of a host that gets certificates from it.
    fn flags(&self, listen: &str, https: &str) -> Vec<String> {
        let roots = self.folder.path().join("roots.pem");
        [
            "--listen",
            listen,
            "--https",
            https,
            "--acme",
            &self.directory,
            "--acme-ca",
            roots.to_str().unwrap(),
        ]
        .map(str::to_owned)
        .into()
    }
}

impl Pebble {
    fn end(&mut self) {
        for child in &mut self.children {
            // It may have ended already, which is what this is for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
    }
}

fn start(data: &DataDir, flags: &[String]) -> Host {
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Host::start_in(data, &flags)
}

fn certificates(host: &Host) -> Vec<Value> {
    host.wfn(&["cert", "ls", "--json"]).json()["certificates"].as_array().unwrap().clone()
}

/// Waits until `name` has a certificate; gives it as `wfn cert ls` does.
fn certificate_for(host: &Host, name: &str) -> Value {
    until(&format!("{name} has a certificate"), || {
        let found = certificates(host).into_iter().find(|one| one["names"][0] == name)?;
        (!found["not_after_s"].is_null()).then_some(found)
    })
}

#[test]
fn each_claimed_name_gets_a_certificate_that_is_renewed_under_load() {
    let (listen, https) = (free(), free());
    let pebble = Pebble::start(&listen, &https, 15, 0);
    let host =
        start(&DataDir::new(), &[pebble.flags(&listen, &https), vec!["--https-redirect".into()]].concat());
    assert!(certificates(&host).is_empty());
    host.deploy("hello", &["--host", "a.wfn.example", "--host", "b.wfn.example", "--always-ready", "1"]);
    for name in ["a.wfn.example", "b.wfn.example"] {
        certificate_for(&host, name);
        let secure = Secure::open(&pebble.trusting(), &host.https, name).unwrap();
        assert!(secure.get(name, "/").unwrap().contains("Hello from wfn!"));
    }
    // Names that nobody claims cannot be had.
    let refused = host.wfn(&["cert", "renew", "c.wfn.example"]).refused();
    assert!(refused.contains("no certificate for this name"), "{refused}");
    // Without TLS a client is sent to HTTPS.
    let answer = Request::get("/hello/x?y=z").send(&host.functions);
    let location = format!("https://localhost:{}/hello/x?y=z", port(&host.https));
    assert_eq!((answer.status, answer.header("location")), (308, Some(location.as_str())));

    let (ends, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let trusting = pebble.trusting();
    let shown = || Secure::open(&pebble.trusting(), &host.https, "a.wfn.example").unwrap().certificate();
    let before = shown();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let secure = Secure::open(&trusting, &host.https, "a.wfn.example").unwrap();
                assert!(secure.get("a.wfn.example", "/").unwrap().contains("Hello from wfn!"));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _ends = crate::https::EndsLoad(&ends);
        host.wfn(&["cert", "renew", "a.wfn.example"]).ok();
        until("the new one is served", || Some(shown()).filter(|now| *now != before));
    });
    assert!(asked.load(Ordering::Relaxed) > 0);
    let metrics = host.metrics();
    assert!(metrics.contains("wfn_certificate_not_after_seconds{name=\"b.wfn.example\"}"), "{metrics}");
    assert!(host.wfn(&["doctor"]).stdout.contains("a.wfn.example holds for"));
}

#[test]
fn certificates_outlive_the_host_and_an_authority_that_is_away() {
    let (listen, https) = (free(), free());
    let mut pebble = Pebble::start(&listen, &https, 0, 100);
    let trusting = pebble.trusting();
    let (data, flags) = (DataDir::new(), pebble.flags(&listen, &https));
    let host = start(&data, &flags);
    host.deploy("hello", &["--host", "a.wfn.example"]);
    let first = certificate_for(&host, "a.wfn.example");
    let data = host.kill();
    pebble.end();
    let host = start(&data, &flags);
    assert_eq!(certificate_for(&host, "a.wfn.example")["not_after_s"], first["not_after_s"]);
    let secure = Secure::open(&trusting, &host.https, "a.wfn.example").unwrap();
    assert!(secure.get("a.wfn.example", "/").unwrap().contains("Hello from wfn!"));
    // A new one cannot be had now; the old one stays, and it is said why.
    host.wfn(&["cert", "renew", "a.wfn.example"]).ok();
    let failed = until("it has failed", || certificates(&host).into_iter().find(|one| one["failures"] == 1));
    assert_eq!(failed["not_after_s"], first["not_after_s"]);
    assert!(failed["next_order_s"].as_u64() > Some(0), "{failed}");
    assert!(Secure::open(&trusting, &host.https, "a.wfn.example").is_ok());
    assert!(host.own_log().contains("a.wfn.example got no certificate"));
}

#[test]
fn a_name_that_does_not_lead_here_is_tried_again_later_and_holds_up_no_other() {
    let (listen, https) = (free(), free());
    // The authority looks for a.wfn.example at ports where nobody is.
    let nowhere = Pebble::start(&free(), &free(), 0, 0);
    let host = start(&DataDir::new(), &nowhere.flags(&listen, &https));
    host.deploy("hello", &["--host", "a.wfn.example"]);
    let failed = until("it has failed", || certificates(&host).into_iter().find(|one| one["failures"] == 1));
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("tls-alpn-01")), "{failed}");
    assert!(failed["not_after_s"].is_null(), "{failed}");
    let doctor = host.wfn(&["doctor"]).stdout;
    assert!(doctor.contains("a.wfn.example has none"), "{doctor}");
    let error = Secure::open(&nowhere.trusting(), &host.https, "a.wfn.example").err().unwrap();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!(Request::get("/hello/").send(&host.functions).status, 200);
}

#[test]
fn where_one_kind_of_check_fails_the_other_one_is_tried() {
    let (listen, https) = (free(), free());
    // The authority reaches plain HTTP alone.
    let pebble = Pebble::start(&listen, &free(), 0, 0);
    let host = start(&DataDir::new(), &pebble.flags(&listen, &https));
    host.deploy("hello", &["--host", "a.wfn.example"]);
    until("it has failed", || certificates(&host).into_iter().find(|one| one["failures"] == 1));
    host.wfn(&["cert", "renew", "a.wfn.example"]).ok();
    assert_eq!(certificate_for(&host, "a.wfn.example")["failures"], 0);
    assert!(Secure::open(&pebble.trusting(), &host.https, "a.wfn.example").is_ok());
}

#[test]
fn a_host_that_is_killed_goes_on_with_its_order_and_its_account() {
    let (listen, https) = (free(), free());
    let pebble = Pebble::start(&listen, &https, 0, 0);
    let (data, flags) = (DataDir::new(), pebble.flags(&listen, &https));
    let done = |what: &str| pebble.log().matches(what).count();
    let mut host = start(&data, &flags);
    for (number, step) in ["POST /finalize-order/", "POST /certZ/"].into_iter().enumerate() {
        let name = format!("n{number}.wfn.example");
        let before = done(step);
        host.deploy_as(&format!("app{number}"), "hello", &["--host", &name]);
        // A host that is killed while the authority looks at it fails the check, so these are the steps after that.
        until("the order is there", || (done(step) > before).then_some(()));
        host.kill();
        host = start(&data, &flags);
        certificate_for(&host, &name);
        assert_eq!(done("Added order"), number + 1, "{step}: {}", pebble.log());
    }
    assert_eq!((done("There are now 1 accounts"), done("There are now 2 accounts")), (1, 0));
}
