//! The configuration of a host: the settings of `wfn up`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Uri};

use crate::acme::AcmeConfig;
use crate::capability::blobs::objects::Location;
use crate::event_loop;
use crate::limits;
use crate::meter::machine;
use crate::meter::usage::price::PriceTable;
use crate::tls::files::Place;

/// All settings of a host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Where functions answer; port 0 picks one.
    pub listen: SocketAddr,
    /// Where the admin API answers; port 0 picks one.
    pub admin: SocketAddr,
    /// Where functions answer over TLS, if anywhere.
    pub https: Option<HttpsConfig>,
    /// Folder of all state. Made if it does not exist, for its owner only.
    pub data_dir: PathBuf,
    /// The URL at which others reach the functions. It is the issuer of the apps' tokens. `None`: the listener's own URL.
    pub issuer: Option<String>,
    /// Where the bytes of blobs are.
    pub blobs: Location,
    /// Memory quota of all instances together, in MB.
    pub memory_quota_mb: u64,
    /// Bytes of linear memory all guests may hold.
    pub guest_memory_bytes: u64,
    /// Bytes of memory that the host may hold beside that. What it holds beyond, guests get less.
    pub host_memory_bytes: u64,
    /// The prices of usage.
    pub prices: PriceTable,
    /// Whether the dashboard and what it shows can be seen without the token. `None`: only if the admin API listens only for this
    /// machine.
    pub open_dashboard: Option<bool>,
    /// Where traces go, if anywhere.
    pub traces: Option<TracesConfig>,
    /// Number of event loops.
    pub cores: usize,
    /// Whether functions that an edit did not change are not compiled again. For one developer's own modules. A host for many
    /// users must not let the compilation of one module affect that of another.
    pub keep_functions: bool,
}

/// Where functions answer over TLS, and with what.
#[derive(Debug, Clone)]
pub struct HttpsConfig {
    /// Where they answer; port 0 picks one.
    pub listen: SocketAddr,
    /// The certificates of the operator, if there are.
    pub certificates: Option<Place>,
    /// The authority that gives others, if one does.
    pub acme: Option<AcmeConfig>,
    /// Whether requests without TLS are sent here.
    pub redirect: bool,
}

/// Where traces go: an OpenTelemetry collector that takes OTLP over HTTP.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// Its address; `/v1/traces` is appended.
    pub endpoint: Uri,
    /// Sent with every request, for example to authenticate.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Share, from 0 to 1, of the traces that begin here. `None`: all if they are few, some if they are many. For other traces
    /// the caller's decision holds.
    pub share: Option<f64>,
}

impl HostConfig {
    /// The defaults of SPEC 1.1 and 2.8 with state in `data_dir`.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8081)),
            https: None,
            data_dir,
            issuer: None,
            blobs: Location::default(),
            memory_quota_mb: limits::MEMORY_QUOTA_MB_DEFAULT,
            guest_memory_bytes: machine_memory_bytes() / 100 * limits::GUEST_MEMORY_PERCENT,
            host_memory_bytes: (machine_memory_bytes() / 100 * limits::HOST_MEMORY_PERCENT)
                .max(limits::HOST_MEMORY_BYTES_MIN),
            prices: PriceTable::default(),
            open_dashboard: None,
            traces: None,
            cores: event_loop::cores(),
            keep_functions: false,
        }
    }

    /// Whether the dashboard and what it shows can be seen without the token.
    pub fn is_open(&self) -> bool {
        self.open_dashboard.unwrap_or(self.admin.ip().is_loopback())
    }
}

/// Returns the memory of this machine in bytes or, if smaller, what the cgroups around this process allow.
pub fn machine_memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    // If it cannot be read, 1 GiB is assumed, as the smallest machines have.
    let machine = machine.map_or(1024 * limits::MEBIBYTE, |kilobytes| kilobytes * 1024);
    cgroup_limit_bytes().map_or(machine, |cgroup| cgroup.min(machine))
}

/// Returns the smallest memory limit, in bytes, of this process's cgroup and of those around it (version 2, or the one limit that
/// version 1 shows inside a container).
fn cgroup_limit_bytes() -> Option<u64> {
    let number_in = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let version_2 = machine::cgroups().into_iter().filter_map(|folder| number_in(&folder.join("memory.max")));
    version_2.min().or_else(|| number_in(Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes")))
}
