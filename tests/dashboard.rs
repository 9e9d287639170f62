//! The dashboard in a real browser: headless Chromium, driven over WebDriver by its own driver. Pictures are left in
//! `target/dashboard`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

use crate::harness::{Connection, Host, Load, Request, root, until};

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

    /// One with the page of a phone: windows are wider, even without a screen.
    fn on_a_phone() -> Self {
        let browser = Self::start(390, 844);
        browser.resize(390, 844);
        browser
    }

    /// Tells the browser what a page cannot.
    fn control(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("POST", "/goog/cdp/execute", &body);
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

    /// Gives the page another size.
    fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.control("Emulation.setDeviceMetricsOverride", size);
    }

    /// Fails where the page is wider than a screen, be it that of a phone.
    #[track_caller]
    fn fits(&self, name: &str) {
        for (width, height) in [(390, 844), (1280, 900)] {
            self.resize(width, height);
            self.wait(&format!("innerWidth === {width}"));
            let root = "document.documentElement";
            let beyond = self.value(&format!("{root}.scrollWidth - {root}.clientWidth"));
            assert_eq!(beyond, 0, "{name} scrolls sideways at {width} pixels");
            self.picture(&format!("{name}-{width}"));
        }
    }

    /// Writes over what is in a field.
    #[track_caller]
    fn replace(&self, selector: &str, text: &str) {
        self.call("POST", &format!("{}/clear", self.element(selector)), &json!({}));
        self.write(selector, text);
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
    browser.wait("document.querySelectorAll('#revisions button:not([hidden])').length === 2");
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

const SHARE: &str = "[aria-label='Split with revision 2']";
const ENTER: &str = "\u{e007}";

#[test]
fn a_person_sets_the_share_of_a_revision() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy("hello", &["--canary", "10"]);
    let browser = Browser::on_a_phone();
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.control("Emulation.setEmulatedMedia", dark);
    let page = format!("http://{}/", host.admin);
    browser.open(&page);
    browser.wait("document.querySelector('main').innerText.includes('revision 1, 10 % 2')");
    browser.open(&format!("{page}#/apps/hello/revisions"));
    let states = "[...document.querySelectorAll('#revisions [data-label=State]')].map(cell => cell.textContent).join()";
    browser.wait(&format!("{states} === 'serves 10 %,serves 90 %'"));
    assert_eq!(browser.value("document.querySelectorAll('#revisions button:not([hidden])').length"), 2);
    assert_eq!(browser.value("innerWidth"), 390);
    assert_eq!(browser.value("document.documentElement.scrollWidth > innerWidth"), false);
    browser.picture("phone-split");

    // With the mouse, and the token that it takes.
    let outcome = "document.querySelector('#revisions .outcome-line').textContent";
    browser.click(SHARE);
    assert_eq!(browser.value("document.activeElement === document.querySelector('dialog input')"), true);
    browser.picture("phone-set-share");
    browser.replace("dialog input", "25");
    browser.click("dialog .main");
    browser.wait("document.querySelector('dialog input[type=password]') !== null");
    assert_eq!(host.admin_get("/v1/apps/hello")["split"]["percent"], 10);
    browser.write("dialog input", &host.token());
    browser.click("dialog .main");
    browser
        .wait(&format!("{outcome} === 'Revision 1 serves, and revision 2 takes 25 % of the HTTP requests.'"));
    browser.wait(&format!("{states} === 'serves 25 %,serves 75 %'"));
    assert_eq!(host.admin_get("/v1/apps/hello")["split"]["percent"], 25);

    // With keys alone; what is out of bounds is not sent.
    browser.write(SHARE, ENTER);
    browser.replace("dialog input", "101");
    browser.write("dialog input", ENTER);
    browser.wait("document.querySelector('dialog input').validity.rangeOverflow");
    browser.replace("dialog input", "0");
    browser.write("dialog input", ENTER);
    browser.wait(&format!("{outcome} === 'Revision 1 serves.'"));
    browser.wait(&format!("{states} === 'kept,serves'"));
    // What others change is seen.
    host.wfn(&["split", "hello", "60"]).ok();
    browser.wait(&format!("{states} === 'serves 60 %,serves 40 %'"));
    host.wfn(&["split", "hello", "61"]).ok();
    browser.wait(&format!("{states} === 'serves 61 %,serves 39 %'"));
    browser.write(SHARE, ENTER);
    browser.replace("dialog input", "100");
    browser.write("dialog input", ENTER);
    browser.wait(&format!("{outcome} === 'Revision 2 serves.'"));
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 2);
    assert_eq!(browser.value("document.documentElement.scrollWidth > innerWidth"), false);
    let complaints = browser.complaints();
    assert!(complaints.len() == 1 && complaints[0].to_string().contains("401"), "{complaints:?}");
}

#[test]
fn it_is_readable_on_a_phone() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.get("/hello/").ok();
    let browser = Browser::on_a_phone();
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

/// Deploys a module that is there already under further names.
fn deploy_all(host: &Host, module: &Value, names: &[String]) {
    let (mut connection, token) = (Connection::open(&host.admin), host.token());
    for name in names {
        let body = json!({ "module": module, "manifest": { "name": name } }).to_string();
        let head = format!(
            "POST /v1/apps/{name}/revisions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write((head + &body).as_bytes());
        let answer = connection.read_answer().unwrap();
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
    }
}

#[test]
fn it_is_readable_with_no_app_with_three_and_with_five_hundred() {
    const NAMES: &str = "[...document.querySelectorAll('#apps tbody a')].map(a => a.textContent)";
    let host = Host::start();
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://{}/", host.admin));
    browser.wait("document.body.innerText.includes('wfn deploy')");
    browser.fits("no-app");
    let names: Vec<String> = (0..500).map(|number| format!("app-{number:03}")).collect();
    let module = host.deploy_as(&names[0], "hello", &[])["module"].clone();
    deploy_all(&host, &module, &names[1..3]);
    browser.wait(&format!("{NAMES}.length === 3"));
    browser.fits("three-apps");
    deploy_all(&host, &module, &names[3..]);
    browser.wait(&format!("{NAMES}.length === 500"));
    browser.wait("document.querySelector('.tiles .value').textContent === '500'");
    browser.fits("500-apps");

    // What is searched for, nothing, and all again.
    browser.write("#apps input", "app-04");
    browser.wait(&format!("{NAMES}.join() === {:?}", names[40..50].join(",")));
    browser.wait("document.querySelector('#apps [role=status]').textContent === '10 of 500'");
    browser.write("#apps input", "x");
    browser.wait(&format!("{NAMES}.length === 0"));
    let backspace = "\u{e003}";
    browser.write("#apps input", &backspace.repeat("app-04x".len()));
    browser.wait(&format!("{NAMES}.length === 500"));

    // By name both ways, and by what is called most.
    let order = |names: Vec<String>| browser.wait(&format!("{NAMES}.join() === {:?}", names.join(",")));
    let head = |column: u32| browser.click(&format!("#apps thead th:nth-child({column}) button"));
    head(1);
    order(names.clone());
    head(1);
    order(names.iter().rev().cloned().collect());
    head(3);
    for _ in 0..5 {
        host.get("/app-123/").ok();
    }
    browser.wait(&format!("{NAMES}[0] === 'app-123'"));
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

/// What would run, load or hide something wherever it was taken for more than text.
const HOSTILE: &str = "</script><script>hostile=1</script><img src=x onerror=\"hostile=1\">\
    '\"><svg onload=hostile=1>&lt;b&gt;${hostile=1}\u{202e}\u{1b}[31mjavascript:hostile=1";

/// A program that writes a line to its log and traps in a function, both with names like [`HOSTILE`].
fn hostile_program() -> Vec<u8> {
    let quoted = |text: &str| -> String { text.bytes().map(|byte| format!("\\{byte:02x}")).collect() };
    let line = format!("{HOSTILE}{}\n", "W".repeat(3_000));
    let (length, line, name) = (quoted_length(&line), quoted(&line), quoted(HOSTILE));
    let wat = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00{length}")
  (data (i32.const 16) "{line}")
  (func $"{name}" unreachable)
  (func (export "_start")
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $"{name}")))"#
    );
    wat::parse_str(wat).unwrap()
}

/// The length of a text as WebAssembly stores it, as a text of `.wat`.
fn quoted_length(text: &str) -> String {
    (text.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

#[test]
fn text_of_guests_and_callers_is_shown_and_does_nothing() {
    const PATH: &str = "/{\"onclick='hostile=1'&lt;b&gt;%3Cscript%3Ehostile=1%3C/script%3E}";
    let host = Host::start();
    let module = tempfile::NamedTempFile::new().unwrap();
    fs::write(module.path(), hostile_program()).unwrap();
    host.wfn(&["deploy", module.path().to_str().unwrap(), "--name", "hostile"]).ok();
    let called = host.get(&format!("/hostile{PATH}{}", "W".repeat(800)));
    assert_eq!(called.status, 500, "{}", called.text());
    let browser = Browser::start(1280, 900);
    let page = format!("http://{}/", host.admin);
    let shows = |selector: &str, text: &str| {
        let all = format!("[...document.querySelectorAll({selector:?})]");
        browser.wait(&format!("{all}.some(node => node.textContent.includes({}))", json!(text)));
    };
    browser.open(&format!("{page}#/apps/hostile/invocations"));
    browser.wait("document.querySelector('.invocations summary') !== null");
    shows(".invocations summary .path", PATH);
    browser.click(".invocations summary");
    shows(".invocations .facts dd", PATH);
    // A name in a backtrace.
    shows(".invocations pre", HOSTILE);
    browser.fits("hostile-invocation");
    browser.open(&format!("{page}#/apps/hostile/logs"));
    shows(".log .text", HOSTILE);
    browser.fits("hostile-log");
    // A text that turns the direction of reading around does so up to its own end.
    let is_after = "(() => {
        const find = (selector) => document.querySelector('.log .stderr ' + selector);
        const button = find('.text button').getBoundingClientRect();
        const isBefore = (line) => line.right <= button.left + 1 || line.bottom <= (button.top + button.bottom) / 2;
        return [...find('bdi').getClientRects()].every(isBefore);
    })()";
    assert_eq!(browser.value(is_after), true, "the button stands in the text");
    let inert = || {
        let made = "main script, main img, [onload], [onclick], [onerror]";
        assert_eq!(browser.value(&format!("document.querySelectorAll({made:?}).length")), 0);
        assert_eq!(browser.value("typeof hostile"), "undefined");
    };
    inert();
    assert_eq!(browser.complaints(), Vec::<Value>::new());
    // What somebody's link says is an app.
    let name: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    browser.open(&format!("{page}#/apps/{name}"));
    shows("#notice", "<script>");
    browser.fits("hostile-address");
    inert();
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|one| one["source"] == "network"), "{complaints:?}");
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
