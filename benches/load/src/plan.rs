//! Holds the plan of a run, and its limits.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio_rustls::rustls::ClientConfig;

/// Most connections of one run: about as many as a machine has ports.
const CLIENTS_MAX: u32 = 50_000;
/// Most threads of one run. More threads than cores never help.
const THREADS_MAX: u32 = 256;
/// Most requests per second of the open loop: more than one machine can send.
const RATE_MAX: u32 = 10_000_000;
/// Longest run: its timeline has a snapshot for each second.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest wait for an answer: the longest latency that the histograms can hold.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

/// A run: what is sent, where to, how fast and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the requests go.
    pub target: Target,
    /// The method, in upper case.
    pub method: String,
    /// Headers besides `host`, `content-length` and `transfer-encoding`, which the generator sets.
    pub headers: Vec<(String, String)>,
    /// The body of each request.
    pub body: Bytes,
    /// What makes a request due.
    pub mode: Mode,
    /// Time in which requests are sent; those in flight at its end are waited for. At most a day.
    pub duration: Duration,
    /// The run ends early when this many requests were answered.
    pub limit: Option<u64>,
    /// Longest time to connect, and longest from sending a request to the end of its answer. At most an hour.
    pub timeout: Duration,
    /// Threads that send, each with its part of the clients. They limit the CPU that the generator may use.
    pub threads: u32,
}

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name or address to connect to, without brackets around IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS with its trusted roots for `https`, `None` for `http`.
    pub tls: Option<Arc<ClientConfig>>,
    /// The `host` header.
    pub authority: String,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// What makes a request due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The answer to the last request of the same client.
    Closed {
        /// Connections, each with one request at a time.
        clients: u32,
    },
    /// Time alone. Requests wait for a free connection, in the order in which they are due.
    Open {
        /// Requests due each second, evenly spaced from the start on.
        per_second: u32,
        /// Most connections, each with one request at a time.
        clients: u32,
    },
}

impl Mode {
    pub(crate) fn clients(self) -> u32 {
        match self {
            Self::Closed { clients } | Self::Open { clients, .. } => clients,
        }
    }
}

impl Plan {
    /// Refuses values outside of the limits. The error says what to change.
    pub(crate) fn check(&self) -> Result<()> {
        let clients = self.mode.clients();
        ensure!(
            (1..=CLIENTS_MAX).contains(&clients),
            "the clients must be 1 to {CLIENTS_MAX}, not {clients}"
        );
        if let Mode::Open { per_second, .. } = self.mode {
            let is_right = (1..=RATE_MAX).contains(&per_second);
            ensure!(is_right, "the rate must be 1 to {RATE_MAX} a second, not {per_second}");
        }
        let threads = self.threads;
        ensure!(
            (1..=THREADS_MAX).contains(&threads),
            "the threads must be 1 to {THREADS_MAX}, not {threads}"
        );
        let is_right = !self.duration.is_zero() && self.duration <= DURATION_MAX;
        ensure!(is_right, "the duration must be above 0 and at most a day");
        let is_right = !self.timeout.is_zero() && self.timeout <= TIMEOUT_MAX;
        ensure!(is_right, "the timeout must be above 0 and at most an hour");
        ensure!(self.limit != Some(0), "the limit must be at least one request");
        Ok(())
    }
}
