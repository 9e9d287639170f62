//! `wfn up`: the host itself, from start to drained.

pub mod address;
mod https;

use std::io::{self, Cursor};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use ureq::http::{HeaderName, HeaderValue, Uri};
use wfn_manifest::limits;
use wfn_manifest::manifest::Manifest;
use wfn_manifest::names::AppName;
use wfn_runtime::capability::blobs::objects::Location;
use wfn_runtime::config::{HostConfig, TracesConfig};
use wfn_runtime::host::Host;
use wfn_runtime::meter::usage::price::PriceTable;

use self::address::address;
use self::https::Https;
use crate::client::{Client, Token, TokenSource, app_path};
use crate::failure::{Done, Failure, WhileDoing};
use crate::host_log::log_to_stderr;
use crate::output::say;
use crate::publish::{Manner, publish};
use crate::settings::{Global, default_data_dir};

/// The component of `--demo`, made by `cargo xtask demo-component`.
const DEMO: &[u8] = include_bytes!("../../demo/hello.wasm");
const DEMO_APP: &str = "hello";

/// What the host logs if `WFN_LOG` does not say: its own lines, and of the sandbox only what is wrong.
const LOG_DEFAULT: &str = "info";

/// How long blocking work may go on after the host has ended.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Arguments of `wfn up`.
#[derive(Debug, Args)]
#[command(after_help = "The host stops on Ctrl-C (SIGINT) and SIGTERM: it finishes what is under way.\n\
                        WFN_LOG says what is logged: error, warn, info (default), or wfn_runtime::admin=debug,…")]
pub struct Up {
    /// Where functions answer; port 0 picks one
    #[arg(long, value_name = "ADDR", env = "WFN_LISTEN", default_value = "127.0.0.1:8080", value_parser = address, hide_env_values = true)]
    listen: SocketAddr,

    /// Where the admin API answers; port 0 picks one
    #[arg(long, value_name = "ADDR", env = "WFN_ADMIN", default_value = "127.0.0.1:8081", value_parser = address, hide_env_values = true)]
    admin: SocketAddr,

    #[command(flatten)]
    https: Https,

    /// URL under which others reach the functions; it signs the tokens of apps [default: http:// and --listen]
    #[arg(long, value_name = "URL", env = "WFN_ISSUER", value_parser = issuer, hide_env_values = true)]
    issuer: Option<String>,

    /// Where the bytes of blobs are, reached as the variables AWS_… say [default: the data directory]
    #[arg(long, value_name = "s3://BUCKET/PREFIX", env = "WFN_BLOBS", value_parser = Location::parse, hide_env_values = true)]
    blobs: Option<Location>,

    /// Memory quota of all instances together, by their classes
    #[arg(long, value_name = "MB", env = "WFN_MEMORY_QUOTA_MB", default_value_t = limits::MEMORY_QUOTA_MB_DEFAULT,
          value_parser = clap::value_parser!(u64).range(2_048..), hide_env_values = true)]
    memory_quota_mb: u64,

    /// Memory that all functions together may really hold [default: 75 % of the machine's or cgroup's]
    #[arg(long, value_name = "MB", env = "WFN_GUEST_MEMORY_MB",
          value_parser = clap::value_parser!(u64).range(16..=1_000_000_000), hide_env_values = true)]
    guest_memory_mb: Option<u64>,

    /// Memory that the host itself may hold beside that; if it holds more, functions get less [default: 10 % of the machine's
    /// or cgroup's, at least 256]
    #[arg(long, value_name = "MB", env = "WFN_HOST_MEMORY_MB",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), hide_env_values = true)]
    host_memory_mb: Option<u64>,

    /// Who may look at the dashboard, logs and metrics: open to all, or holders of the token [default: open if --admin is
    /// an address of this machine alone]
    #[arg(long, value_name = "WHO", env = "WFN_DASHBOARD", value_parser = ["open", "token"], hide_env_values = true)]
    dashboard: Option<String>,

    /// OpenTelemetry collector that gets traces, by OTLP over HTTP
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    otlp_endpoint: Option<Uri>,

    /// Headers for the collector
    #[arg(long, value_name = "NAME=VALUE,…", env = "OTEL_EXPORTER_OTLP_HEADERS", value_delimiter = ',', value_parser = otlp_header, hide_env_values = true)]
    otlp_headers: Vec<(HeaderName, HeaderValue)>,

    /// Share of the traces that begin here, from 0 to 1; others are sent as their callers decided [default: all, or about
    /// 100 a second]
    #[arg(long, value_name = "SHARE", env = "OTEL_TRACES_SAMPLER_ARG", value_parser = share, hide_env_values = true)]
    trace_share: Option<f64>,

    /// How the host's own log is written: text, or json with one object a line [default: text]
    #[arg(long, value_name = "HOW", env = "WFN_LOG_FORMAT", value_parser = ["text", "json"], hide_env_values = true)]
    log_format: Option<String>,

    /// Prices of usage, as TOML [default: those of the cloud's list]
    #[arg(long, value_name = "FILE", env = "WFN_PRICES", hide_env_values = true)]
    prices: Option<PathBuf>,

    /// Deploy an app "hello" to try, unless there is one
    #[arg(long, env = "WFN_DEMO", hide_env_values = true)]
    demo: bool,
}

fn issuer(text: &str) -> Result<String, String> {
    let bare = text.trim_end_matches('/');
    let is_url =
        ["http://", "https://"].iter().any(|scheme| bare.len() > scheme.len() && bare.starts_with(scheme));
    match is_url && bare.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(bare.to_owned()),
        false => Err("use a URL such as https://functions.example.com".to_owned()),
    }
}

fn otlp_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or("use NAME=VALUE")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "use a number from 0 to 1".to_owned())
}

/// More than any price table needs.
const PRICES_BYTES_MAX: u64 = 64 * 1024;

fn prices(file: &Path) -> Result<PriceTable, Failure> {
    let bytes = std::fs::metadata(file).map_err(Failure::new)?.len();
    if bytes > PRICES_BYTES_MAX {
        return Err(Failure::new(format!("{bytes} bytes, at most {PRICES_BYTES_MAX} are allowed")));
    }
    let text = std::fs::read_to_string(file).map_err(Failure::new)?;
    PriceTable::parse(&text).map_err(Failure::new)
}

impl Up {
    /// Runs the host until it is told to stop.
    pub fn run(self, global: &Global) -> Done {
        let mut config = HostConfig::new(global.data_dir()?);
        config.listen = self.listen;
        config.admin = self.admin;
        config.https = self.https.config()?;
        config.issuer.clone_from(&self.issuer);
        config.blobs = self.blobs.clone().unwrap_or_default();
        config.traces = self.otlp_endpoint.clone().map(|endpoint| TracesConfig {
            endpoint,
            headers: self.otlp_headers.clone(),
            share: self.trace_share,
        });
        config.open_dashboard = self.dashboard.as_ref().map(|who| who == "open");
        config.memory_quota_mb = self.memory_quota_mb;
        if let Some(megabytes) = self.guest_memory_mb {
            config.guest_memory_bytes = megabytes * limits::MEBIBYTE;
        }
        if let Some(megabytes) = self.host_memory_mb {
            config.host_memory_bytes = megabytes * limits::MEBIBYTE;
        }
        if let Some(file) = &self.prices {
            config.prices = prices(file).while_doing(|| format!("read the prices of {}", file.display()))?;
        }
        log_to_stderr(LOG_DEFAULT, self.log_format.as_deref() == Some("json"))?;
        if !self.admin.ip().is_loopback() {
            tracing::warn!(
                "the admin API listens beyond this machine and speaks plain HTTP: its token can be overheard"
            );
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
        let done = self.serve(&runtime, &config);
        runtime.shutdown_timeout(RUNTIME_END);
        done
    }

    fn serve(&self, runtime: &Runtime, config: &HostConfig) -> Done {
        runtime.block_on(async {
            let mut stops = Stops::new().map_err(Failure::new)?;
            let host = Host::start(config).await.map_err(Failure::new).while_doing(|| "start".to_owned())?;
            if self.demo {
                let (admin, data_dir) = (host.admin_address(), config.data_dir.clone());
                let demo = tokio::task::spawn_blocking(move || deploy_demo(admin, &data_dir));
                tokio::select! {
                    done = demo => match done {
                        Ok(Ok(())) => {}
                        // Other apps are served all the same.
                        Ok(Err(failure)) => say(&failure.while_doing("deploy the demo").to_string()),
                        Err(panic) => say(&format!("wfn: failed to deploy the demo: {panic}")),
                    },
                    () = stops.next() => return stop(host, &mut stops).await,
                }
            }
            say_ready(&host, &config.data_dir, self.demo);
            stops.next().await;
            stop(host, &mut stops).await
        })
    }
}

/// What tells the host to stop.
pub struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// Listens for SIGINT and SIGTERM from now on.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn stop(host: Host, stops: &mut Stops) -> Done {
    let seconds = limits::DRAIN_TIMEOUT.as_secs();
    say(&format!("stopping: what is under way has {seconds} s to finish; a second signal stops at once"));
    tokio::select! {
        cut = host.shut_down() => match cut {
            0 => say("stopped"),
            1 => say("stopped; 1 connection had to be cut"),
            cut => say(&format!("stopped; {cut} connections had to be cut")),
        },
        () = stops.next() => {
            say("stopped at once");
            // The host may be in the middle of draining: nothing of it is waited for any more.
            std::process::exit(1);
        }
    }
    Ok(())
}

/// Names of apps that are still coming back that the ready line shows.
const COMING_SHOWN_MAX: usize = 20;

fn say_ready(host: &Host, data_dir: &Path, demo: bool) {
    let (functions, admin) = (host.functions_address(), host.admin_address());
    let https = host.https_address().map(|https| format!(" and https://{https}")).unwrap_or_default();
    let mut text = format!("wfn ready: functions on http://{functions}{https}, admin API on http://{admin}");
    let apps = host.registry().apps();
    let coming = host.registry().coming();
    if !host.all_back() && !coming.is_empty() {
        let names: Vec<_> = coming.iter().take(COMING_SHOWN_MAX).map(ToString::to_string).collect();
        let more = if coming.len() > names.len() { ", …" } else { "" };
        text += &format!("\nStill coming back: {}{more}", names.join(", "));
    }
    if apps.is_empty() && coming.is_empty() {
        text += "\nNo app is deployed yet. In another terminal: wfn deploy MODULE.wasm";
        text += &flags_of_clients(admin, data_dir);
    } else {
        text += "\nAvailable routes:";
        for app in &apps {
            text += &format!("\n  http://{functions}/{}/", app.name());
            for host_name in &app.active().revision.manifest.hosts {
                text += &match host.https_address() {
                    Some(https) => format!("\n  https://{host_name}:{}/", https.port()),
                    None => format!("\n  http://{host_name}:{}/", functions.port()),
                };
            }
        }
    }
    text += &format!("\nDashboard: http://{}/", reachable(admin));
    if demo {
        text += &format!("\nTry: curl http://{functions}/{DEMO_APP}/");
    }
    say(&text);
}

/// What a client has to be told if this host is not where clients look for one.
pub fn flags_of_clients(admin: SocketAddr, data_dir: &Path) -> String {
    let admin = reachable(admin);
    let mut flags = String::new();
    if admin != SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)) {
        flags += &format!(" --server http://{admin}");
    }
    if default_data_dir().is_none_or(|default| default != data_dir) {
        flags += &format!(" --data-dir {}", data_dir.display());
    }
    flags
}

/// Where a client on this machine finds what listens on `address`.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        false => address,
    }
}

/// A client of the host that runs in this process.
pub fn own_client(admin: SocketAddr, data_dir: &Path) -> Done<Client> {
    let path = data_dir.join("token");
    let text = std::fs::read_to_string(&path).map_err(Failure::new)?.trim().to_owned();
    let token = Token { text, source: TokenSource::File(path) };
    Ok(Client::new(format!("http://{}", reachable(admin)), token))
}

/// Deploys the demo like any client would, over the admin API.
fn deploy_demo(admin: SocketAddr, data_dir: &Path) -> Done {
    let client = own_client(admin, data_dir)?;
    let name = AppName::new(DEMO_APP).map_err(Failure::new)?;
    match client.get(&app_path(&name, "")) {
        Ok(_) => Ok(()),
        Err(failure) if failure.code() == Some("no-app") => {
            publish(&client, &Manifest::new(name), Vec::new(), Cursor::new(DEMO), Manner::default())
                .map(|_| ())
        }
        Err(failure) => Err(failure),
    }
}
