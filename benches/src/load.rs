//! Runs `wrk`, and reads its results.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::signal_child;
use crate::workspace::Workspace;

/// Threads of wrk: more would not help on small machines, and the published figures used two.
const THREADS: u32 = 2;
/// How long an answer may take, in seconds, unless the bench says otherwise.
const PATIENCE_SECONDS: u64 = 10;
/// Marks the line that the script below prints.
const MARK: &str = "measured:";

/// The part of the script that prints the result. wrk has times in microseconds.
const DONE: &str = r#"
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'measured: {"requests":%d,"duration_us":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"p999_us":%d,' ..
    '"max_us":%d,"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90),
    latency:percentile(99), latency:percentile(99.9), latency.max, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"#;

/// The part of the script that sends a body.
const POST: &str = r#"
local file = assert(io.open(os.getenv("WFN_BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
"#;

/// The part of the script that calls one app after another; see [`app_name`]. Each thread begins at another app.
const APPS: &str = r#"
local count = tonumber(os.getenv("WFN_BENCH_APPS"))
local requests, threads = {}, 0
turn = 0
function setup(thread)
  thread:set("turn", math.floor(threads * count / 2))
  threads = threads + 1
end
function init()
  for number = 0, count - 1 do
    requests[number] = wrk.format("GET", string.format("/app-%04d/", number))
  end
end
function request()
  turn = (turn + 1) % count
  return requests[turn]
end
"#;

/// The name of the app with this number, in benches with many apps.
pub fn app_name(number: u32) -> String {
    format!("app-{number:04}")
}

/// A load to put on a server.
#[derive(Debug)]
pub struct Load {
    script: PathBuf,
    /// An environment variable that the script reads.
    variable: Option<(&'static str, OsString)>,
    connections: u32,
    patience_seconds: u64,
}

/// What wrk measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Requests that were answered.
    pub requests: u64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Latencies in milliseconds.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Answers that were not 2xx or 3xx.
    pub status_errors: u64,
    /// Connections that failed or took too long.
    pub socket_errors: u64,
}

impl Load {
    /// GET requests on `connections`, or POST requests with the content of `body`.
    pub fn new(workspace: &Workspace, connections: u32, body: Option<&Path>) -> Result<Self> {
        let Some(body) = body else { return Self::write(workspace, connections, "wrk-get.lua", "", None) };
        let body = fs::canonicalize(body).with_context(|| body.display().to_string())?;
        Self::write(workspace, connections, "wrk-post.lua", POST, Some(("WFN_BENCH_BODY", body.into())))
    }

    /// POST requests with the content of `body`, which is JSON.
    pub fn json(workspace: &Workspace, connections: u32, body: &Path) -> Result<Self> {
        let body = fs::canonicalize(body).with_context(|| body.display().to_string())?;
        let part = format!("{POST}wrk.headers[\"content-type\"] = \"application/json\"\n");
        Self::write(workspace, connections, "wrk-json.lua", &part, Some(("WFN_BENCH_BODY", body.into())))
    }

    /// GET requests on `connections`, spread evenly over the first `apps`.
    pub fn over_apps(workspace: &Workspace, connections: u32, apps: u32) -> Result<Self> {
        let count = Some(("WFN_BENCH_APPS", apps.to_string().into()));
        Self::write(workspace, connections, "wrk-apps.lua", APPS, count)
    }

    fn write(
        workspace: &Workspace,
        connections: u32,
        name: &str,
        part: &str,
        variable: Option<(&'static str, OsString)>,
    ) -> Result<Self> {
        if Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            bail!("there is no wrk, which makes the load: install it, on Debian with 'apt-get install wrk'");
        }
        let script = workspace.results()?.join(name);
        let text = format!("{part}{DONE}");
        fs::write(&script, text).with_context(|| format!("failed to write {}", script.display()))?;
        Ok(Self { script, variable, connections, patience_seconds: PATIENCE_SECONDS })
    }

    /// The same load of clients that wait so long for an answer.
    pub fn patient(self, patience_seconds: u64) -> Self {
        Self { patience_seconds, ..self }
    }

    /// Loads `url` for `seconds`.
    pub fn run(&self, url: &str, seconds: u64) -> Result<Measured> {
        self.start(url, seconds)?.end()
    }

    /// Loads `url` until [`Running::stop`], but not longer than `seconds_max`.
    pub fn start(&self, url: &str, seconds_max: u64) -> Result<Running> {
        let mut command = Command::new("wrk");
        command
            .args(["--latency", "--timeout", &format!("{}s", self.patience_seconds)])
            .arg(format!("-t{}", THREADS.min(self.connections)))
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{seconds_max}s"))
            .arg("-s")
            .arg(&self.script)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some((name, value)) = &self.variable {
            command.env(name, value);
        }
        Ok(Running { child: Some(command.spawn().context("failed to start wrk")?) })
    }
}

/// A wrk that runs. Dropped while it runs, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Waits until the time is over.
    pub fn end(mut self) -> Result<Measured> {
        let child = self.child.take().context("wrk was waited for already")?;
        let output = child.wait_with_output().context("failed to await wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("wrk failed ({}): {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Measured::parse(&text).with_context(|| format!("wrk printed:\n{text}"))
    }

    /// Ends it now. On SIGINT wrk reports its results.
    pub fn stop(self) -> Result<Measured> {
        if let Some(child) = &self.child {
            signal_child(child, Signal::INT)?;
        }
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Measured {
    fn parse(text: &str) -> Result<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix(MARK));
        let line: Value = serde_json::from_str(line.context("there is no result in it")?)?;
        let number = |name: &str| line[name].as_u64().with_context(|| format!("there is no {name} in it"));
        let milliseconds = |name: &str| number(name).map(|microseconds| microseconds as f64 / 1e3);
        let requests = number("requests")?;
        Ok(Self {
            requests,
            requests_per_second: requests as f64 / (number("duration_us")?.max(1) as f64 / 1e6),
            p50_ms: milliseconds("p50_us")?,
            p90_ms: milliseconds("p90_us")?,
            p99_ms: milliseconds("p99_us")?,
            p999_ms: milliseconds("p999_us")?,
            max_ms: milliseconds("max_us")?,
            status_errors: number("status_errors")?,
            socket_errors: number("socket_errors")?,
        })
    }

    /// Requests that went wrong.
    pub fn errors(&self) -> u64 {
        self.status_errors + self.socket_errors
    }
}

#[cfg(test)]
mod tests {
    use super::Measured;

    #[test]
    fn the_line_of_the_script_is_read() {
        let text = "Running 1s test\nmeasured: {\"requests\":500,\"duration_us\":2000000,\"p50_us\":230,\
                    \"p90_us\":400,\"p99_us\":750,\"p999_us\":1500,\"max_us\":9000,\"status_errors\":1,\
                    \"socket_errors\":2}\n";
        let measured = Measured::parse(text).unwrap();
        assert_eq!(measured.requests_per_second, 250.0);
        assert_eq!((measured.p50_ms, measured.p999_ms, measured.max_ms), (0.23, 1.5, 9.0));
        assert_eq!(measured.errors(), 3);
        assert!(Measured::parse("Running 1s test\n").is_err());
    }
}
