//! What the tests share: a real host in a child process, its command line, and a plain HTTP client.

mod http_client;
pub mod snapshot;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use http_client::{Answer, Connection, Request};

/// How long anything may take before a test gives up: far more than it ever does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A guest built by `cargo xtask guests`.
pub fn guest(name: &str) -> String {
    let path = root().join("target/guests").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run 'cargo xtask guests' first", path.display());
    path.to_str().unwrap().to_owned()
}

/// The page of the HTML benchmark.
pub fn page() -> Vec<u8> {
    fs::read(root().join("tests/data/page-73k.html")).unwrap()
}

/// The SHA-256 of `bytes` as the admin API names it.
pub fn hex_sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until `condition` gives a value, and fails the test with `what` if it never does.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The value of one metric, by its name and labels as they are written.
#[track_caller]
pub fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// A running host.
pub struct Host {
    child: Child,
    /// `127.0.0.1:PORT` of the functions listener.
    pub functions: String,
    /// The same of the HTTPS listener, if it has one.
    pub https: String,
    /// `127.0.0.1:PORT` of the admin listener.
    pub admin: String,
    /// Its data directory; kept as long as the test holds it.
    pub data: DataDir,
    said: std::sync::Arc<std::sync::Mutex<String>>,
}

/// A data directory that outlives the hosts started on it.
#[derive(Clone)]
pub struct DataDir(std::sync::Arc<TempDir>);

impl DataDir {
    pub fn new() -> Self {
        Self(std::sync::Arc::new(TempDir::new().unwrap()))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output of a command that must have worked.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// The message of a command that must have been refused with exit code 1.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        self.stderr
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Runs the binary.
pub fn wfn(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_wfn")).args(arguments))
}

pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Host {
    /// A host with a data directory of its own.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(flags: &[&str]) -> Self {
        Self::start_in(&DataDir::new(), flags)
    }

    /// A host with more in its environment.
    pub fn start_with_env(variables: &[(&str, &str)]) -> Self {
        Self::start_as(&DataDir::new(), &[], variables)
    }

    /// A host on existing state.
    pub fn start_in(data: &DataDir, flags: &[&str]) -> Self {
        Self::start_as(data, flags, &[])
    }

    /// The same with more in its environment.
    pub fn start_as(data: &DataDir, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_through(Command::new(env!("CARGO_BIN_EXE_wfn")), data, flags, variables)
    }

    /// The same by way of `command`, which becomes the host.
    pub fn start_through(
        mut command: Command,
        data: &DataDir,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = command
            .args(["up", "--admin", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .env("WFN_LISTEN", "127.0.0.1:0")
            .args(flags)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, stderr) = channel();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let all_said = std::sync::Arc::<std::sync::Mutex<String>>::default();
        let own_log = all_said.clone();
        std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                own_log.lock().unwrap().push_str(&format!("{line}\n"));
                // The test may have ended and stopped listening.
                let _ = lines.send(line);
            }
        });
        let mut said = Vec::new();
        let (functions, https, admin) = loop {
            let line = stderr.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no ready line: {said:#?}"));
            if let Some(addresses) = line.strip_prefix("wfn ready: functions on http://") {
                let (functions, admin) = addresses.split_once(", admin API on http://").unwrap();
                let (functions, https) = functions.split_once(" and https://").unwrap_or((functions, ""));
                break (functions.to_owned(), https.to_owned(), admin.to_owned());
            }
            said.push(line);
        };
        Self { child, functions, https, admin, data: data.clone(), said: all_said }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command of the CLI against this host.
    pub fn wfn(&self, arguments: &[&str]) -> Output {
        run(Command::new(env!("CARGO_BIN_EXE_wfn"))
            .arg("--server")
            .arg(format!("http://{}", self.admin))
            .arg("--data-dir")
            .arg(self.data.path())
            .args(arguments))
    }

    /// Deploys a guest under its own name.
    #[track_caller]
    pub fn deploy(&self, name: &str, flags: &[&str]) -> Value {
        self.deploy_as(name, name, flags)
    }

    /// Deploys a guest as `app`.
    #[track_caller]
    pub fn deploy_as(&self, app: &str, name: &str, flags: &[&str]) -> Value {
        let module = guest(name);
        self.wfn(&[&["deploy", &module, "--name", app, "--json"], flags].concat()).json()
    }

    /// Deploys a guest as `app` with a manifest of its own.
    #[track_caller]
    pub fn deploy_with(&self, app: &str, name: &str, manifest: &str) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("wfn.toml");
        fs::write(&file, format!("name = {app:?}\nmodule = {:?}\n{manifest}", guest(name))).unwrap();
        self.wfn(&["deploy", file.to_str().unwrap()]).ok();
    }

    /// The `http` group of an app's status.
    #[track_caller]
    pub fn group(&self, app: &str) -> Value {
        self.admin_get(&format!("/v1/apps/{app}"))["groups"][0].clone()
    }

    /// A number of the `http` group.
    #[track_caller]
    pub fn number(&self, app: &str, field: &str) -> u64 {
        self.group(app)[field].as_u64().unwrap_or_else(|| panic!("{field} of {app} is not a number"))
    }

    /// GETs JSON from the admin API.
    #[track_caller]
    pub fn admin_get(&self, path: &str) -> Value {
        let token = self.token();
        let answer = Request::get(path).header("authorization", &format!("Bearer {token}")).send(&self.admin);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// What Prometheus is told.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let token = format!("Bearer {}", self.token());
        Request::get("/metrics").header("authorization", &token).send(&self.admin).ok()
    }

    pub fn token(&self) -> String {
        fs::read_to_string(self.data.path().join("token")).unwrap().trim().to_owned()
    }

    /// GETs a path of the functions listener.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        Request::get(path).send(&self.functions)
    }

    /// The app's log.
    #[track_caller]
    pub fn logs(&self, app: &str) -> String {
        self.wfn(&["logs", app]).ok()
    }

    /// What it has said on stderr.
    pub fn own_log(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Processor time that it has used, in hundredths of a second.
    pub fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Ends the host as the kernel would.
    pub fn kill(mut self) -> DataDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.data.clone()
    }

    /// Waits until a host that was asked to end has done so, and gives its exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already, which is what this is for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An invocation that stays in flight until it is told to end: the guest waits for the rest of its body.
pub struct Held {
    connection: Connection,
}

impl Held {
    /// Begins a POST to the `echo` guest deployed as `app`, and does not end it.
    #[track_caller]
    pub fn begin(host: &Host, app: &str) -> Self {
        let mut connection = Connection::open(&host.functions);
        let head = format!("POST /{app}/ HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
        connection.write(head.as_bytes());
        connection.write(b"5\r\nbegun\r\n");
        Self { connection }
    }

    /// Ends all of them, then reads their answers.
    #[track_caller]
    pub fn end_all(mut all: Vec<Self>) -> Vec<Answer> {
        all.iter_mut().for_each(|held| held.connection.write(b"0\r\n\r\n"));
        all.iter_mut().map(|held| held.connection.read_answer().unwrap()).collect()
    }

    /// Ends the request and reads its answer.
    #[track_caller]
    pub fn end(mut self) -> Answer {
        self.connection.write(b"0\r\n\r\n");
        self.connection.read_answer().unwrap()
    }
}

/// Asks the same path again and again from several threads until dropped; counts what it gets.
pub struct Load {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    /// Keep-alive GETs of `path` on `connections` connections; anything but `expected` is a failure.
    pub fn start(host: &Host, path: &str, connections: usize, expected: &'static str) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let threads = (0..connections)
            .map(|_| {
                let (stop, request, address) = (stop.clone(), request.clone(), host.functions.clone());
                std::thread::spawn(move || {
                    let mut connection = Connection::open(&address);
                    let (mut answered, mut failures) = (0, Vec::new());
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let sent = connection.try_write(request.as_bytes());
                        match sent.and_then(|()| connection.read_answer()) {
                            Ok(answer) if answer.status == 200 && answer.text() == expected => answered += 1,
                            Ok(answer) => failures.push(format!("{answer:?} {}", answer.text())),
                            Err(error) => {
                                failures.push(error.to_string());
                                connection = Connection::open(&address);
                            }
                        }
                    }
                    (answered, failures)
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends the load; gives how many were answered. Fails the test if any was not.
    #[track_caller]
    pub fn end(self) -> u64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (mut answered, mut failures) = (0, Vec::new());
        for thread in self.threads {
            let (some, more) = thread.join().unwrap();
            answered += some;
            failures.extend(more);
        }
        assert!(
            failures.is_empty(),
            "{} failed, {answered} answered: {:?}",
            failures.len(),
            failures.first()
        );
        answered
    }
}
