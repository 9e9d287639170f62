//! The dashboard in a real browser: headless Chromium, driven over WebDriver by its own driver. Pictures are left in
//! `target/dashboard`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

use crate::harness::{Host, Load, Request, root, until};

/// A browser with one page.
struct Browser {
    driver: Child,
    address: String,
    session: String,
}

impl Browser {
    fn start(width: u32, height: u32) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is missing: apt-get install chromium chromium-driver");
        let said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = said.map_while(Result::ok).find_map(|line| {
            let port = line.split("on port ").nth(1)?.trim_end_matches('.').to_owned();
            // Before it has one it says 0.
            port.parse::<u16>().ok().filter(|port| *port > 0)
        });
        let address = format!("127.0.0.1:{}", port.expect("chromedriver says its port"));
        let size = format!("--window-size={width},{height}");
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &size];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let mut browser = Self { driver, address, session: String::new() };
        let made = browser.call("POST", "/session", &wanted);
        browser.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = Request::new(method, &format!("{}{path}", self.session));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send(&self.address);
        let mut said: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {said}");
        said["value"].take()
    }

    #[track_caller]
    fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// The value of an expression in the page.
    #[track_caller]
    fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    fn wait(&self, expression: &str) {
        until(expression, || (self.value(expression) == true).then_some(()));
    }

    /// The path of what a selector finds first.
    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.call("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        format!("/element/{}", found.as_object().unwrap().values().next().unwrap().as_str().unwrap())
    }

    /// Clicks, as a person would.
    #[track_caller]
    fn click(&self, selector: &str) {
        self.call("POST", &format!("{}/click", self.element(selector)), &json!({}));
    }

    #[track_caller]
    fn write(&self, selector: &str, text: &str) {
        self.call("POST", &format!("{}/value", self.element(selector)), &json!({ "text": text }));
    }

    fn picture(&self, name: &str) {
        let request = Request::get(&format!("{}/screenshot", self.session)).send(&self.address);
        let said: Value = serde_json::from_slice(&request.body).unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(said["value"].as_str().unwrap()).unwrap();
        let folder = root().join("target/dashboard");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// What the page has complained of: a policy that was broken, an error in a script.
    fn complaints(&self) -> Vec<Value> {
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        let all = log.as_array().unwrap().iter();
        all.filter(|entry| entry["level"] == "SEVERE" || entry["source"] == "security").cloned().collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let ended = Request::new("DELETE", &self.session).body("").try_send(&self.address);
        drop(ended);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

const LIVE: &str = "document.querySelector('#status').textContent === 'Live'";

#[test]
fn a_person_finds_what_runs_what_failed_and_why() {
    let host = Host::start();
    let browser = Browser::start(1280, 900);
    let page = format!("http://{}/", host.admin);
    browser.open(&page);
    browser.wait("document.body.innerText.includes('wfn deploy')");
    browser.picture("empty");

    host.deploy("hello", &["--concurrency", "4", "--always-ready", "1"]);
    host.deploy("hello", &["--concurrency", "8", "--always-ready", "1"]);
    host.deploy("faults", &[]);
    let load = Load::start(&host, "/hello/", 4, "Hello from wfn!\n");
    for _ in 0..3 {
        host.get("/faults/stdout-then-trap");
    }
    browser.wait("[...document.querySelectorAll('#apps tbody a')].some(a => a.textContent === 'hello')");
    browser.wait(LIVE);
    browser.picture("overview");

    // To the app by its link, and to a failure with its backtrace.
    browser.open(&format!("{page}#/apps/faults/invocations"));
    browser.wait("document.querySelectorAll('.invocations summary').length >= 3");
    browser.click(".invocations summary");
    browser
        .wait("document.querySelector('.invocations pre')?.textContent.includes('wasm backtrace') === true");
    browser.picture("failure");
    browser.wait("document.querySelector('main').innerText.includes('trapped')");

    browser.open(&format!("{page}#/apps/hello"));
    browser.wait("document.title.startsWith('hello')");
    browser.wait("document.querySelector('.chart path.line')?.getAttribute('d')?.length > 10");
    browser.wait("document.querySelector('main').innerText.toLowerCase().includes('always ready')");
    browser.picture("app");
    load.end();

    // Changing needs the token, and then does change.
    browser.open(&format!("{page}#/apps/hello/revisions"));
    browser.wait("document.querySelectorAll('#revisions button:not([hidden])').length === 1");
    browser.click("#revisions button:not([hidden])");
    browser.wait("document.querySelector('dialog[open]') !== null");
    browser.picture("roll-back");
    browser.click("dialog .main");
    browser.wait("document.querySelector('dialog input') !== null");
    assert_eq!(host.number("hello", "concurrency"), 8);
    browser.write("dialog input", &host.token());
    browser.click("dialog .main");
    browser.wait("document.querySelector('#revisions .outcome-line').textContent === 'Revision 1 serves.'");
    assert_eq!(host.number("hello", "concurrency"), 4);
    // The refusal that led to the question is the only one.
    let complaints = browser.complaints();
    assert!(complaints.len() == 1 && complaints[0].to_string().contains("401"), "{complaints:?}");
}

#[test]
fn it_is_readable_on_a_phone() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.get("/hello/").ok();
    let browser = Browser::start(390, 844);
    for (name, path) in [("phone-overview", ""), ("phone-app", "#/apps/hello")] {
        browser.open(&format!("http://{}/{path}", host.admin));
        browser.wait(LIVE);
        browser.wait("document.querySelector('main').innerText.includes('hello')");
        browser.picture(name);
        let overflow = browser.value("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(overflow, false, "{name} scrolls sideways");
    }
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let host = Host::start();
    let page = Request::get("/").send(&host.admin);
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.ok();
    for file in text.split('"').filter(|part| part.starts_with("/dashboard/")) {
        Request::get(file).send(&host.admin).ok();
    }
    assert!(!text.contains("http://") || text.contains("http://www.w3.org"), "{text}");
    let missing = Request::get("/dashboard/nothing.js").send(&host.admin);
    assert_eq!((missing.status, missing.code().as_str()), (404, "no-such-path"));
}
