//! What the host says of an app under load; it is asked before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Method;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path};
use crate::cmd::text_of;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;

/// How long the host may take to end what it has answered, before it is asked all the same.
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// Between two looks at a host that is not quiet yet.
const QUIET_PAUSE: Duration = Duration::from_millis(5);

/// An app that is called.
pub struct AppUnderTest<'a> {
    client: &'a Client,
    name: &'a AppName,
}

/// What the host had counted at one moment.
pub struct Look {
    now_ms: u64,
    group: Value,
    usage: Value,
}

/// What the host counted during a run.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// Invocations that ended, and of those the ones that failed.
    pub invocations: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that a bound refused.
    pub throttled: u64,
    /// Instances made because an invocation needed one.
    pub cold: u64,
    /// 99 of 100 cold starts since the host started took no longer, in microseconds.
    pub cold_start_p99_us: Option<f64>,
    /// How long invocations ran on average, in microseconds.
    pub ran_us: f64,
    /// How much processor time each used on average, in microseconds.
    pub cpu_us: f64,
    /// The most linear memory that a worker held at the end of an invocation, in bytes.
    pub memory_bytes: u64,
    /// The most instances.
    pub instances: u64,
    /// Instances second by second: milliseconds since 1970, and how many.
    pub instances_over_time: Vec<(u64, u64)>,
    /// Billed GB-seconds.
    pub gb_s: f64,
    /// What a million invocations like these cost.
    pub cost_per_million: Option<f64>,
    /// In which currency.
    pub currency: String,
}

/// How the workers of an app work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guest {
    /// Whether one worker runs many invocations at a time.
    pub is_async: bool,
    /// Whether it is an application in Python.
    pub is_python: bool,
}

impl<'a> AppUnderTest<'a> {
    /// An app of the host; an error if there is none.
    pub fn new(client: &'a Client, name: &'a AppName) -> Done<Self> {
        let app = Self { client, name };
        app.status()?;
        Ok(app)
    }

    fn status(&self) -> Done<Value> {
        self.client.get(&app_path(self.name, "")).while_doing(|| format!("look at {}", self.name))
    }

    /// Cores of the host.
    pub fn cores(&self) -> Done<u64> {
        Ok(self.client.get("/v1/host")?["cores"].as_u64().unwrap_or(1))
    }

    /// How the workers of it work.
    pub fn guest(&self) -> Done<Guest> {
        let status = self.status()?;
        Ok(Guest { is_async: status["kind"] == "p3", is_python: status["language"] == "python" })
    }

    /// What the host has counted until now.
    pub fn look(&self) -> Done<Look> {
        let status = self.status()?;
        let group = status["groups"][0].clone();
        let usage = self.client.get(&app_path(self.name, "/usage"))?;
        let now_ms = usage["until_ms"].as_u64().unwrap_or_default();
        Ok(Look { now_ms, group, usage })
    }

    /// What the host has counted when nothing is under way any more: an answer may arrive before its invocation has
    /// ended. An app that others call too is looked at after [`QUIET_WAIT`].
    fn look_when_quiet(&self) -> Done<Look> {
        let until = Instant::now() + QUIET_WAIT;
        loop {
            let look = self.look()?;
            if look.group["in_flight"] == 0 || Instant::now() >= until {
                return Ok(look);
            }
            std::thread::sleep(QUIET_PAUSE);
        }
    }

    /// What the host has counted since `before`.
    pub fn used_since(&self, before: &Look) -> Done<Used> {
        let after = self.look_when_quiet()?;
        let count = |key: &str| -> u64 {
            let of = |look: &Look| look.group[key].as_u64().unwrap_or_default();
            of(&after).saturating_sub(of(before))
        };
        let total = |key: &str| -> f64 {
            let of = |look: &Look| look.usage["total"][key].as_f64().unwrap_or_default();
            of(&after) - of(before)
        };
        let invocations = count("invocations");
        let mean = |key: &str| if invocations == 0 { 0.0 } else { count(key) as f64 / invocations as f64 };
        let since = format!("since_ms={}", before.now_ms);
        let series = self.client.get(&app_path(self.name, &format!("/series?{since}")))?;
        let points = series["points"].as_array().cloned().unwrap_or_default();
        let of_http = points.iter().filter(|point| point["group"] == "http");
        let instances_over_time: Vec<_> = of_http
            .filter_map(|point| Some((point["time_ms"].as_u64()?, point["instances"].as_u64()?)))
            .collect();
        let calls = self.client.get(&app_path(self.name, &format!("/invocations?{since}")))?;
        let held = calls["invocations"].as_array().into_iter().flatten();
        let executions = total("executions");
        let now = after.group["instances"].as_u64().unwrap_or_default();
        Ok(Used {
            invocations,
            failed: count("failed"),
            throttled: count("throttled"),
            cold: count("cold"),
            cold_start_p99_us: after.group["cold_start_us"]["p99"].as_f64(),
            ran_us: mean("ran_us"),
            cpu_us: mean("cpu_us"),
            memory_bytes: held.filter_map(|call| call["memory_bytes"].as_u64()).max().unwrap_or_default(),
            instances: instances_over_time.iter().map(|(_, count)| *count).max().unwrap_or_default().max(now),
            instances_over_time,
            gb_s: total("gb_s"),
            cost_per_million: (executions > 0.0).then(|| total("cost") / executions * 1e6),
            currency: text_of(&after.usage["currency"]),
        })
    }

    /// Makes a revision with another concurrency serve.
    pub fn set_concurrency(&self, concurrency: u32) -> Done {
        let changes = json!({ "concurrency": concurrency });
        let path = app_path(self.name, "/scale");
        let changed = self.client.change(Method::PATCH, &path, &changes);
        changed.map(drop).while_doing(|| format!("set the concurrency of {} to {concurrency}", self.name))
    }

    /// Lets what serves now serve again when the guard is dropped, or when the user ends the run.
    pub fn temporary(&self, is_needed: bool) -> Done<Option<Temporary>> {
        if !is_needed {
            return Ok(None);
        }
        let status = self.status()?;
        if !status["split"].is_null() {
            let message = format!("{} is split, and a second revision would be measured with it", self.name);
            return Err(Failure::new(message).remedy(format!("wfn split {} 0, or 100", self.name)));
        }
        let revision = status["revision"].clone();
        let back = Back { client: self.client.clone(), name: self.name.clone(), revision };
        Temporary::new(back).map(Some)
    }
}

/// The way back to the revision that served before.
#[derive(Clone)]
struct Back {
    client: Client,
    name: AppName,
    revision: Value,
}

impl Back {
    fn go(&self) {
        let path = app_path(&self.name, "/rollback");
        let body = json!({ "revision": self.revision });
        if let Err(failure) = self.client.change(Method::POST, &path, &body) {
            let revision = text_of(&self.revision);
            output::say(&format!("revision {revision} of {} does not serve again: {failure}", self.name));
        }
    }
}

/// A change of the app that ends with it.
pub struct Temporary {
    back: Back,
    is_over: Arc<AtomicBool>,
}

impl Temporary {
    fn new(back: Back) -> Done<Self> {
        let is_over = Arc::<AtomicBool>::default();
        let (watched, way_back) = (is_over.clone(), back.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
        // Ends with the process.
        std::thread::spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() && !watched.swap(true, Ordering::AcqRel) {
                way_back.go();
            }
            std::process::exit(130);
        });
        Ok(Self { back, is_over })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_over.swap(true, Ordering::AcqRel) {
            self.back.go();
        }
    }
}
