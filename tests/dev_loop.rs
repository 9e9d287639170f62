//! The developer loop: a new function, its build, and every change served from one terminal.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::harness::{Host, Output, Request, guest, run, until, wfn};

const HELLO: &str = "Hello from wfn!\n";

/// The binary, to be run in `folder`.
fn wfn_in(folder: &Path, arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_wfn")).args(arguments).current_dir(folder))
}

/// A project whose "compiler" is `command`, with the guest `source` as its only source file.
fn project(command: &str, source: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::copy(guest(source), folder.path().join("src/module")).unwrap();
    write_manifest(folder.path(), command);
    folder
}

fn write_manifest(folder: &Path, command: &str) {
    let manifest = format!(
        "name = \"app\"\nmodule = \"out/app.wasm\"\n[build]\ncommand = '''{command}'''\nwatch = [\"src\"]\n"
    );
    fs::write(folder.join("wfn.toml"), manifest).unwrap();
}

/// Copies the source to where the module belongs.
const COPY: &str = "mkdir -p out && cp src/module out/app.wasm";

#[test]
fn new_makes_a_project_or_says_why_not() {
    let folder = TempDir::new().unwrap();
    let listed = wfn_in(folder.path(), &["new"]).ok();
    assert!(listed.lines().any(|line| line.starts_with("rust ")), "{listed}");

    let made = wfn_in(folder.path(), &["new", "-t", "rust", "my-app"]).ok();
    for next in ["cd my-app", "wfn dev", "curl http://127.0.0.1:8080/my-app/"] {
        assert!(made.contains(next), "{made}");
    }
    let text = |path: &str| fs::read_to_string(folder.path().join("my-app").join(path)).unwrap();
    assert!(text("Cargo.toml").contains("name = \"my-app\"") && text("wfn.toml").contains("my_app.wasm"));
    assert!(!text(".gitignore").is_empty());

    let again = wfn_in(folder.path(), &["new", "-t", "rust", "my-app"]).refused();
    assert!(again.contains("my-app") && again.contains("not empty"), "{again}");
    fs::create_dir(folder.path().join("empty")).unwrap();
    wfn_in(folder.path(), &["new", "--template", "rust", "empty"]).ok();
    for (arguments, expected) in [
        (["new", "-t", "rust", "My_App"], "a-z"),
        (["new", "-t", "cobol", "x"], "rust"),
        (["new", "-t", "rust", "../x"], "a-z"),
    ] {
        let refused = wfn_in(folder.path(), &arguments);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(expected), "{refused:?}");
    }
}

#[test]
fn build_makes_the_module_and_says_what_it_is() {
    let folder = project(COPY, "hello");
    let built = wfn_in(folder.path(), &["build"]).ok();
    assert!(built.contains("out/app.wasm: p2, ") && built.contains("KiB"), "{built}");
    // The folder may be named, and stdout is data alone where it is asked for.
    let shown = folder.path().to_str().unwrap();
    write_manifest(folder.path(), &format!("echo noise; {COPY}"));
    let json = wfn(&["build", shown, "--json"]).json();
    assert_eq!((&json["kind"], json["bytes"].as_u64() > Some(0)), (&"p2".into(), true), "{json}");
}

#[test]
fn a_build_that_gives_no_function_is_refused_with_the_reason() {
    let junk = "mkdir -p out && printf junk > out/app.wasm";
    for (command, expected) in [
        ("echo from the compiler >&2; exit 3", &["from the compiler", "exit code 3", "echo from"][..]),
        ("exit 7\nsecond line", &["exit code 7", "exit 7 …"]),
        ("true", &["made no file", "out/app.wasm", "wfn.toml"]),
        (junk, &["not a WebAssembly module", "[not-wasm]"]),
        ("kill -9 $$", &["signal: 9"]),
    ] {
        let folder = project(command, "hello");
        let said = wfn_in(folder.path(), &["build"]).refused();
        for part in expected {
            assert!(said.contains(part), "{command}: {part:?} is not in {said}");
        }
    }
    let folder = TempDir::new().unwrap();
    assert!(wfn_in(folder.path(), &["build"]).refused().contains("there is no file"));
    fs::write(folder.path().join("wfn.toml"), "module = \"a.wasm\"\n").unwrap();
    assert!(wfn_in(folder.path(), &["build"]).refused().contains("[build]"));
    fs::write(
        folder.path().join("wfn.toml"),
        "module = \"a.wasm\"\n[build]\ncommand = \"x\"\nwatch = [\"..\"]",
    )
    .unwrap();
    assert!(wfn_in(folder.path(), &["build"]).refused().contains("line 4"));
}

#[test]
fn deploy_builds_only_if_it_is_told_to() {
    let host = Host::start();
    let folder = project(COPY, "hello");
    let shown = folder.path().to_str().unwrap();
    let refused = host.wfn(&["deploy", shown]).refused();
    assert!(refused.contains("run 'wfn build' first"), "{refused}");
    host.wfn(&["deploy", shown, "--build"]).ok();
    assert_eq!(host.get("/app/").ok(), HELLO);
    // What is there is deployed, though the command would fail.
    write_manifest(folder.path(), "exit 1");
    host.wfn(&["deploy", shown]).ok();
    assert!(host.wfn(&["deploy", shown, "--build"]).refused().contains("exit code 1"));
}

/// A `wfn dev` at work.
struct Dev {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Dev {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
    }

    fn start_with(folder: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wfn"))
            .arg("dev")
            .args(flags)
            .current_dir(folder)
            // Its temporary folder is made here, so that the test sees whether it stays.
            .env("TMPDIR", folder.join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), said.clone());
        collect(child.stderr.take().unwrap(), said.clone());
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    #[track_caller]
    fn until_said(&self, text: &str) {
        until(&format!("wfn dev says {text:?}, but: {}", self.said()), || {
            self.said().contains(text).then_some(())
        });
    }

    /// `127.0.0.1:PORT` of the functions.
    fn functions(&self) -> String {
        until("wfn dev serves", || {
            let said = self.said();
            let (_, rest) = said.split_once(" ms: http://")?;
            rest.split_once("/app/").map(|(address, _)| address.to_owned())
        })
    }

    /// Waits until the function answers so.
    #[track_caller]
    fn until_answered(&self, expected: &str) {
        let functions = self.functions();
        until(&format!("{expected:?} is answered; {}", self.said()), || {
            (Request::get("/app/").send(&functions).text() == expected).then_some(())
        });
    }

    /// What Ctrl-C does.
    fn signal(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Interrupts it and waits for its end.
    fn interrupt(&mut self) -> Option<i32> {
        self.signal();
        until(&format!("wfn dev ends; {}", self.said()), || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already, which is what this is for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl std::io::Read + Send + 'static, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            said.lock().unwrap().push_str(&(line + "\n"));
        }
    });
}

/// Puts another guest in the source's place, as editors do: written aside, then renamed.
fn save(folder: &Path, source: &str) {
    let aside = folder.join("src/.module.new");
    fs::copy(guest(source), &aside).unwrap();
    fs::rename(aside, folder.join("src/module")).unwrap();
}

fn dev_project(command: &str, source: &str) -> TempDir {
    let folder = project(command, source);
    fs::create_dir(folder.path().join("tmp")).unwrap();
    folder
}

#[test]
fn a_saved_change_is_served_and_a_failing_build_keeps_what_serves() {
    let folder = dev_project(COPY, "hello");
    let mut dev = Dev::start(folder.path());
    dev.until_answered(HELLO);
    dev.until_said("built in ");
    dev.until_said("[app host] ");

    save(folder.path(), "faults");
    dev.until_said("rebuilt in ");
    dev.until_said("changed: src/module");
    let faults = || Request::get("/app/env?key=NONE").send(&dev.functions()).text();
    until("the other guest answers", || (faults() != HELLO).then_some(()));

    // A module that is none: the build works, the function goes on.
    fs::write(folder.path().join("src/module"), "junk").unwrap();
    dev.until_said("[not-wasm]");
    dev.until_said("the version before goes on serving");
    assert_ne!(faults(), HELLO);

    // A build that fails, by a change of wfn.toml alone.
    write_manifest(folder.path(), "echo broken >&2; exit 9");
    dev.until_said("exit code 9");
    assert_ne!(faults(), HELLO);
    write_manifest(folder.path(), COPY);
    save(folder.path(), "hello");
    dev.until_answered(HELLO);

    assert_eq!(dev.interrupt(), Some(0), "{}", dev.said());
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "temporary files are left");
}

#[test]
fn what_the_function_writes_appears() {
    let folder = dev_project(COPY, "faults");
    let dev = Dev::start(folder.path());
    let functions = dev.functions();
    assert_eq!(Request::get("/app/trap").send(&functions).status, 500);
    dev.until_said("[app host] ");
    dev.until_said("unreachable");
}

#[test]
fn changes_during_a_build_lead_to_one_more_build() {
    // The first build waits until the test lets it go on.
    let folder = dev_project(
        &format!("echo x >> builds; {COPY}; touch at; until test -e go; do sleep 0.02; done"),
        "hello",
    );
    let dev = Dev::start(folder.path());
    until("the build has read its source", || folder.path().join("at").exists().then_some(()));
    save(folder.path(), "echo");
    save(folder.path(), "faults");
    fs::write(folder.path().join("go"), "").unwrap();
    dev.until_said("rebuilt in ");
    let functions = dev.functions();
    until("the last change is served", || {
        (Request::get("/app/trap").send(&functions).status == 500).then_some(())
    });
    assert_eq!(
        fs::read_to_string(folder.path().join("builds")).unwrap().lines().count(),
        2,
        "{}",
        dev.said()
    );
}

#[test]
fn a_build_that_writes_what_it_watches_comes_to_rest() {
    let folder = dev_project(&format!("echo x >> builds; {COPY}; echo same > src/generated"), "hello");
    let dev = Dev::start(folder.path());
    dev.until_answered(HELLO);
    dev.until_said("the module is the same");
    save(folder.path(), "faults");
    dev.until_said("serving in ");
    until("the change is served", || {
        (Request::get("/app/trap").send(&dev.functions()).status == 500).then_some(())
    });
    let builds = fs::read_to_string(folder.path().join("builds")).unwrap().lines().count();
    assert_eq!(builds, 3, "{}", dev.said());
}

#[test]
fn a_build_that_always_writes_something_new_is_named_and_left_alone() {
    let folder = dev_project(&format!("echo x >> builds; {COPY}; cp builds src/generated"), "hello");
    let dev = Dev::start(folder.path());
    dev.until_said("src/generated has changed in each of the last 5 builds");
    dev.until_said("watch = [\"src\"]");
    let builds = || fs::read_to_string(folder.path().join("builds")).unwrap().lines().count();
    assert_eq!(builds(), 5, "{}", dev.said());
    // What somebody else changes is built again, once.
    save(folder.path(), "faults");
    until("the change is served", || {
        (Request::get("/app/trap").send(&dev.functions()).status == 500).then_some(())
    });
    save(folder.path(), "hello");
    dev.until_answered(HELLO);
    assert_eq!(builds(), 7, "{}", dev.said());
}

#[test]
fn ctrl_c_ends_a_build_with_everything_it_started() {
    let folder = dev_project("sleep 600 & echo $! > child; echo $$ > shell; wait", "hello");
    let mut dev = Dev::start(folder.path());
    let pid = |file: &str| {
        let path = folder.path().join(file);
        until("the build runs", || fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok())
    };
    let pids = [pid("child"), pid("shell")];
    assert_eq!(dev.interrupt(), Some(0), "{}", dev.said());
    for pid in pids {
        // Whoever adopts it may take a moment to notice its end.
        until("the build's processes are gone", || (!is_running(pid)).then_some(()));
    }
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "temporary files are left");
}

#[test]
fn a_second_ctrl_c_ends_even_a_build_that_does_not_listen() {
    let folder = dev_project("trap '' TERM INT; echo $$ > shell; while :; do sleep 600; done", "hello");
    let mut dev = Dev::start(folder.path());
    let path = folder.path().join("shell");
    let pid = until("the build runs", || fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok());
    dev.signal();
    dev.until_said("a second signal stops at once");
    assert_eq!(dev.interrupt(), Some(1), "{}", dev.said());
    until("the build's processes are gone", || (!is_running(pid)).then_some(()));
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "temporary files are left");
}

/// Whether a process exists and has not ended: one that nobody has asked about its end does not run.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_taken_port_is_replaced_unless_it_was_asked_for() {
    let folder = dev_project(COPY, "hello");
    // Whoever has the default ports now, after this they are taken.
    let _functions = std::net::TcpListener::bind("127.0.0.1:8080");
    let _admin = std::net::TcpListener::bind("127.0.0.1:8081");
    let mut dev = Dev::start_with(folder.path(), &[]);
    dev.until_said("127.0.0.1:8080 is taken");
    dev.until_said("127.0.0.1:8081 is taken");
    dev.until_answered(HELLO);
    assert_eq!(dev.interrupt(), Some(0));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = wfn_in(folder.path(), &["dev", "--listen", &address]).refused();
    assert!(refused.contains(&address) && refused.contains("--listen"), "{refused}");
}
