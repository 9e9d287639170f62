//! `wfn deploy`: a module and its settings become the next revision of an app.

pub mod source;

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use wfn_manifest::limits;
use wfn_manifest::manifest::ScratchSize;
use wfn_manifest::manifest::grants::StoreLabel;
use wfn_manifest::names::{AppName, HostName};
use wfn_runtime::app::share::Percent;

use crate::cmd::build::build;
use crate::cmd::deploy::source::Source;
use crate::cmd::split::beside;
use crate::cmd::{app_name, text_of, url};
use crate::failure::{Done, Failure, WhileDoing};
use crate::flags::{ScaleFlags, bounded};
use crate::output;
use crate::publish::{Manner, publish};
use crate::settings::Global;

/// Names of variables that begin so are the environment's form of `-e`: `WFN_ENV_GREETING=hi`.
const ENV_PREFIX: &str = "WFN_ENV_";

/// Arguments of `wfn deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
A wfn.toml beside MODULE.wasm is used as well if its module is that file or it names none.
A flag goes before its variable WFN_…, that before wfn.toml. Settings that none of them names have their defaults.
WFN_ENV_NAME=VALUE is the environment's form of -e NAME=VALUE.")]
pub struct Deploy {
    /// A module, a wfn.toml, or the folder of one
    #[arg(value_name = "MODULE.wasm | DIR | wfn.toml")]
    target: PathBuf,

    /// Name of the app [default: that of wfn.toml, or the module's file name]
    #[arg(long, value_name = "APP", env = "WFN_NAME", value_parser = app_name, hide_env_values = true)]
    name: Option<AppName>,

    /// Environment variable of the function; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// Host name that leads to the app, besides /APP/; may be repeated, and replaces those of wfn.toml
    #[arg(long, value_name = "NAME", env = "WFN_HOST", value_delimiter = ',', value_parser = host_name, hide_env_values = true)]
    host: Vec<HostName>,

    /// Where the function may send requests, such as https://api.example.com; may be repeated, and replaces those of
    /// wfn.toml
    #[arg(
        long,
        value_name = "HOST",
        env = "WFN_ALLOW_OUTBOUND",
        value_delimiter = ',',
        hide_env_values = true
    )]
    allow_outbound: Vec<String>,

    /// Key-value store the function may use, such as default or owner/sessions; may be repeated, and replaces those of
    /// wfn.toml
    #[arg(
        long,
        value_name = "STORE",
        env = "WFN_KEY_VALUE_STORE",
        value_delimiter = ',',
        value_parser = StoreLabel::parse,
        hide_env_values = true
    )]
    key_value_store: Vec<StoreLabel>,

    /// Blob container the function may use, such as images or owner/images; may be repeated, and replaces those of
    /// wfn.toml
    #[arg(
        long,
        value_name = "CONTAINER",
        env = "WFN_BLOB_CONTAINER",
        value_delimiter = ',',
        value_parser = StoreLabel::parse,
        hide_env_values = true
    )]
    blob_container: Vec<StoreLabel>,

    /// Size in MB of a /tmp in memory for each instance
    #[arg(long, value_name = "MB", env = "WFN_SCRATCH_MB", value_parser = bounded::<1, { limits::SCRATCH_MB_MAX }>, hide_env_values = true)]
    scratch_mb: Option<ScratchSize>,

    /// Run the build command of wfn.toml first
    #[arg(long)]
    build: bool,

    /// Do everything except the switch: compile, check, start; then forget it
    #[arg(long)]
    dry_run: bool,

    /// Let it take this many percent of the HTTP requests, 1 to 99, beside the revision that is active and stays so
    #[arg(long, value_name = "PERCENT", value_parser = bounded::<1, 99>, allow_negative_numbers = true)]
    canary: Option<Percent>,

    #[command(flatten)]
    scale: ScaleFlags,
}

impl Deploy {
    /// Deploys.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        let what = self.name.as_ref().map_or(self.target.display().to_string(), AppName::to_string);
        if self.build {
            build(&self.target, global.json)?;
        }
        let source = self.source().while_doing(|| format!("deploy {what}"))?;
        let name = source.manifest.name.clone();
        if let Some(file) = source.file.as_ref().filter(|file| **file != self.target) {
            output::say(&format!("using {}", file.display()));
        }
        let module = File::open(&source.module)
            .map_err(|error| Failure::new(format!("{}: {error}", source.module.display())))
            .while_doing(|| format!("deploy {name}"))?;
        let manner = Manner { canary: self.canary, dry_run: self.dry_run };
        let mut deployed = publish(&client, &source.manifest, source.bundles, module, manner)
            .while_doing(|| format!("deploy {name}"))?;
        let url = url(&client.functions()?, &deployed);
        if global.json {
            deployed["url"] = url.into();
            return output::print_json(&deployed);
        }
        let mut what =
            format!("revision {} ({})", text_of(&deployed["revision"]), text_of(&deployed["kind"]));
        if self.canary.is_some() {
            what += &format!(" beside revision {}", text_of(&deployed["active"]));
        }
        output::print(&match self.dry_run {
            true => format!("{name} can be deployed as {what}; nothing has changed"),
            false => format!("deployed {name} {what}{}: {url}", beside(&deployed)),
        })
    }

    /// What is to be deployed: the target with everything flags and environment say laid over it.
    fn source(&self) -> Done<Source> {
        let mut source = source::find(&self.target, self.name.clone())?;
        let manifest = &mut source.manifest;
        manifest.scale = manifest.scale.overlaid(&self.scale.settings());
        manifest.env.extend(env_of_environment());
        manifest.env.extend(self.env.iter().cloned());
        if !self.host.is_empty() {
            manifest.hosts.clone_from(&self.host);
        }
        if !self.allow_outbound.is_empty() {
            manifest.allowed_outbound_hosts.clone_from(&self.allow_outbound);
        }
        if !self.key_value_store.is_empty() {
            manifest.key_value_stores.clone_from(&self.key_value_store);
        }
        if !self.blob_container.is_empty() {
            manifest.blob_containers.clone_from(&self.blob_container);
        }
        manifest.scratch_mb = self.scratch_mb.or(manifest.scratch_mb);
        // What is wrong in the file alone has been said with its line; this is about flags.
        manifest.check().map_err(Failure::usage)?;
        Ok(source)
    }
}

/// The variables of functions that this process's environment names.
pub fn env_of_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix(ENV_PREFIX)?.to_owned();
        Some((name, value.into_string().ok()?))
    })
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE".to_owned()),
    }
}

fn host_name(text: &str) -> Result<HostName, String> {
    HostName::new(text).map_err(|error| error.to_string())
}
