//! `wfn top`: what the apps of the host do now, once a second.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;

use crate::client::Client;
use crate::cmd::recent::{Recent, took};
use crate::cmd::text_of;
use crate::failure::Done;
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn top`.
#[derive(Debug, Args)]
#[command(after_help = "Keys: a app, i instances, f in flight, w waiting, r calls a second, e failures,\n\
                        p p99, c CPU, m memory choose the order; q ends. Numbers are of the last ten seconds.")]
pub struct Top {
    /// Show it once, and end: also what is done where the output is no terminal
    #[arg(long)]
    once: bool,
}

const PERIOD: Duration = Duration::from_secs(1);

/// By what apps are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    App,
    Instances,
    InFlight,
    Waiting,
    Rate,
    Failures,
    P99,
    Cpu,
    Memory,
}

impl Order {
    /// What a key stands for.
    fn of(key: u8) -> Option<Self> {
        Some(match key {
            b'a' => Self::App,
            b'i' => Self::Instances,
            b'f' => Self::InFlight,
            b'w' => Self::Waiting,
            b'r' => Self::Rate,
            b'e' => Self::Failures,
            b'p' => Self::P99,
            b'c' => Self::Cpu,
            b'm' => Self::Memory,
            _ => return None,
        })
    }
}

/// One group in numbers.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    instances: u64,
    in_flight: u64,
    waiting: u64,
    rate: f64,
    failures: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    cpu_percent: f64,
    memory_bytes: u64,
}

impl Top {
    /// Shows it until told to end.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        if global.json {
            return output::print_json(&client.get("/v1/apps")?);
        }
        if self.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return output::print(&screen(&client, Order::Rate, usize::MAX)?);
        }
        let _keys = Keys::new();
        let mut order = Order::Rate;
        loop {
            let rows = tcgetwinsize(io::stdout()).map_or(24, |size| size.ws_row);
            let text = screen(&client, order, usize::from(rows.max(4)))?;
            // From the top left corner over what was there before; the end of each line and of the screen is cleared.
            let text = output::plain(&text).replace('\n', "\x1b[K\r\n");
            output::write(format!("\x1b[H{text}\x1b[K\x1b[J").as_bytes())?;
            match next_key(PERIOD) {
                Some(b'q' | 3 | 4) => return Ok(()),
                Some(key) => order = Order::of(key).unwrap_or(order),
                None => {}
            }
        }
    }
}

fn screen(client: &Client, order: Order, rows: usize) -> Done<String> {
    let (host, listed) = (client.get("/v1/host")?, client.get("/v1/apps")?);
    let mut lines: Vec<Line> = listed["apps"].as_array().into_iter().flatten().flat_map(lines_of).collect();
    sort(&mut lines, order);
    let bytes_of = |key: &str| host[key].as_u64().map_or("-".to_owned(), output::bytes);
    let sum = |of: fn(&Line) -> f64| lines.iter().map(of).sum::<f64>();
    let summary = format!(
        "{} apps  {:.0} instances  {:.0} in flight  {:.0} waiting  {:.0} calls/s  {:.1} failed/s  {:.0} % CPU of {} cores\n\
         quota {} of {} MB  guests hold {} of {}",
        text_of(&host["apps"]),
        sum(|line| line.instances as f64),
        sum(|line| line.in_flight as f64),
        sum(|line| line.waiting as f64),
        sum(|line| line.rate),
        sum(|line| line.failures),
        sum(|line| line.cpu_percent),
        text_of(&host["cores"]),
        text_of(&host["memory_reserved_mb"]),
        text_of(&host["memory_quota_mb"]),
        bytes_of("guest_memory_bytes"),
        bytes_of("guest_memory_limit_bytes"),
    );
    let head = ["APP", "INST", "FLIGHT", "WAIT", "CALLS/S", "FAIL/S", "P50", "P99", "CPU %", "MEMORY"];
    let cells: Vec<_> = lines.iter().take(rows.saturating_sub(4)).map(Line::cells).collect();
    Ok(format!("{summary}\n\n{}", output::table(&head, &cells)))
}

fn lines_of(app: &Value) -> Vec<Line> {
    let groups = app["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines: Vec<_> = groups.iter().map(|group| Line::new(&text_of(&app["app"]), group)).collect();
    if let Some(second) = app["split"]["revision"].as_u64() {
        // What it answers is counted in the group.
        lines.push(Line::new(&format!("{} ({second})", text_of(&app["app"])), &app["split"]));
    }
    lines
}

impl Line {
    fn new(app: &str, group: &Value) -> Self {
        let recent = Recent::of(group);
        let count = |key: &str| group[key].as_u64().unwrap_or_default();
        let name = match text_of(&group["group"]).strip_prefix("function:") {
            Some(function) => format!("{app}/{function}"),
            None => app.to_owned(),
        };
        Self {
            name,
            instances: count("instances"),
            in_flight: count("in_flight"),
            waiting: count("waiting"),
            rate: recent.a_second("invocations"),
            failures: recent.a_second("failed") + recent.a_second("throttled"),
            p50_us: recent.took_us("p50_us"),
            p99_us: recent.took_us("p99_us"),
            cpu_percent: recent.a_second("cpu_us") / 1e4,
            memory_bytes: count("memory_bytes"),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.instances.to_string(),
            self.in_flight.to_string(),
            self.waiting.to_string(),
            format!("{:.1}", self.rate),
            format!("{:.1}", self.failures),
            took(self.p50_us),
            took(self.p99_us),
            format!("{:.1}", self.cpu_percent),
            output::bytes(self.memory_bytes),
        ]
    }
}

/// Names from a to z, numbers from the largest down.
fn sort(lines: &mut [Line], order: Order) {
    let number = |line: &Line| match order {
        Order::App => 0.0,
        Order::Instances => line.instances as f64,
        Order::InFlight => line.in_flight as f64,
        Order::Waiting => line.waiting as f64,
        Order::Rate => line.rate,
        Order::Failures => line.failures,
        Order::P99 => line.p99_us.unwrap_or_default(),
        Order::Cpu => line.cpu_percent,
        Order::Memory => line.memory_bytes as f64,
    };
    lines.sort_by(|one, other| number(other).total_cmp(&number(one)).then_with(|| one.name.cmp(&other.name)));
}

/// A terminal on which keys are heard one by one, until dropped; what it showed before comes back.
struct Keys(Option<Termios>);

impl Keys {
    fn new() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut each_key) = before.clone() {
            each_key.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
            // Where keys come by the line, they come late.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &each_key);
        }
        // The other screen, without a cursor. Who cannot be told shows one more.
        let _ = output::write(b"\x1b[?1049h\x1b[?25l");
        Self(before)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = output::write(b"\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The key that is pressed within `patience`; the end of the terminal is told as the end of text.
fn next_key(patience: Duration) -> Option<u8> {
    let until = Instant::now() + patience;
    let stdin = io::stdin();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Ok(_) => {
                let mut key = [0];
                return Some(match stdin.lock().read(&mut key) {
                    Ok(1) => key[0],
                    _ => 4,
                });
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Some(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_become_lines_in_the_order_of_a_key() {
        let group = |name: &str, calls: u64, memory: u64| {
            json!({
                "group": name, "instances": 1, "in_flight": 2, "waiting": 0, "memory_bytes": memory,
                "recent": {"seconds": 10, "invocations": calls, "failed": 10, "throttled": 5, "cpu_us": 5_000_000,
                           "p50_us": 120.0, "p99_us": null},
            })
        };
        let app = json!({"app": "shop", "groups": [group("http", 100, 1), group("function:book", 300, 2)]});
        let mut lines = lines_of(&app);
        sort(&mut lines, Order::Rate);
        let names = |lines: &[Line]| -> Vec<String> { lines.iter().map(|line| line.name.clone()).collect() };
        assert_eq!(names(&lines), ["shop/book", "shop"]);
        assert_eq!(
            lines[0].cells()[1..],
            ["1", "2", "0", "30.0", "1.5", "120 µs", "-", "50.0", "2 B"].map(str::to_owned)
        );
        sort(&mut lines, Order::App);
        assert_eq!(names(&lines), ["shop", "shop/book"]);
        assert_eq!(Order::of(b'm'), Some(Order::Memory));
        assert_eq!(Order::of(b'x'), None);
    }
}
