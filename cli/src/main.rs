//! The one binary of wfn: `wfn up` is the host, everything else a client of its admin API.

mod bundle;
mod client;
mod cmd;
mod failure;
mod flags;
mod host_log;
mod moment;
mod output;
mod project;
mod publish;
mod python;
mod settings;
mod template;

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use wfn_runtime::capability::bundle as bundles;
use wfn_runtime::capability::scratch;
use wfn_runtime::component::compile;

use crate::cmd::{
    bench, blob, build, cert, completion, deploy, dev, doctor, identity, import, invocations, invoke, kv,
    logs, ls, new, queue, rm, rollback, scale, secret, split, status, top, trigger, up, usage, versions,
};
use crate::settings::Global;

/// A request is allocated on one thread and freed on another, much of it in pieces that the C library's allocator
/// serves slowly; it also keeps freed megabytes for itself (docs/decisions/2026-11-22-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Self-hosted WebAssembly functions: one binary, one machine.
#[derive(Debug, Parser)]
#[command(
    name = "wfn",
    version,
    max_term_width = 110,
    after_help = "Begin with 'wfn new' and 'wfn dev'; or 'wfn up' in one terminal and 'wfn deploy MODULE.wasm' in another.\n\
                  Exit codes: 0 done, 1 refused or failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the folder of a new function, or list the templates
    New(new::New),
    /// Make wfn.toml of an app that was written for another platform
    Import(import::Import),
    /// Build the module of a function
    Build(build::Build),
    /// Build, serve and watch a function: every change is served at once
    Dev(dev::Dev),
    /// Start the host
    Up(Box<up::Up>),
    /// Deploy a module as an app, or a new revision of it
    Deploy(Box<deploy::Deploy>),
    /// List the apps
    Ls,
    /// Show an app: what serves, its settings and counts
    Status(status::Status),
    /// List the kept revisions of an app
    Versions(versions::Versions),
    /// Make an earlier revision serve again
    Rollback(rollback::Rollback),
    /// Let a second revision take a percentage of the HTTP requests of an app
    Split(split::Split),
    /// Change the scale settings of an app, as a new revision
    Scale(scale::Scale),
    /// Set, list and remove secrets: settings that are encrypted and never shown
    Secret(secret::Secret),
    /// Replace the key that signs who the apps are
    Identity(identity::Identity),
    /// Remove an app with all its revisions
    Rm(rm::Rm),
    /// Show what an app has written
    Logs(logs::Logs),
    /// Show the latest calls of an app: what each took, and how it ended
    Invocations(invocations::Invocations),
    /// Show what the apps do now, once a second
    Top(top::Top),
    /// Call an app or a URL under load, and say what came of it and which settings fit
    Bench(Box<bench::Bench>),
    /// Show what apps have used, and what that costs
    Usage(usage::Usage),
    /// Call an app through the admin API
    Invoke(invoke::Invoke),
    /// Look at and change what an app has stored
    Kv(kv::Kv),
    /// Look at and change the blobs of an app
    Blob(blob::Blob),
    /// Show what calls the functions of an app besides HTTP, and run timer functions
    Trigger(trigger::Triggers),
    /// Send to queues of an app, look into them and mend them
    Queue(queue::Queues),
    /// List and renew the certificates for HTTPS
    Cert(cert::Cert),
    /// Check this machine and the host
    Doctor,
    /// Print what a shell needs to complete the commands
    Completion(completion::Completion),
    /// Write the manual pages of the commands
    Man(completion::Man),
}

fn main() -> ExitCode {
    // The children of the host come first: they have no environment and need none.
    let arguments: Vec<_> = env::args_os().collect();
    if let [_, command, rest @ ..] = arguments.as_slice() {
        let children: [(&str, &dyn Fn() -> i32); 3] = [
            (compile::JOB.command, &|| compile::child_main(rest)),
            (bundles::JOB.command, &|| bundles::child_main(rest)),
            (scratch::CHILD_COMMAND, &scratch::child_main),
        ];
        if let Some((_, run)) = children.iter().find(|(name, _)| command == name) {
            std::process::exit(run());
        }
    }
    // Wrong usage ends here, with code 2.
    let Cli { command, global } = Cli::parse();
    let done = match command {
        Command::New(new) => new.run(&global),
        Command::Import(import) => import.run(&global),
        Command::Build(build) => build.run(&global),
        Command::Dev(dev) => dev.run(&global),
        Command::Up(up) => up.run(&global),
        Command::Deploy(deploy) => deploy.run(&global),
        Command::Ls => ls::run(&global),
        Command::Status(status) => status.run(&global),
        Command::Versions(versions) => versions.run(&global),
        Command::Rollback(rollback) => rollback.run(&global),
        Command::Split(split) => split.run(&global),
        Command::Scale(scale) => scale.run(&global),
        Command::Secret(secret) => secret.run(&global),
        Command::Identity(identity) => identity.run(&global),
        Command::Rm(rm) => rm.run(&global),
        Command::Logs(logs) => logs.run(&global),
        Command::Invocations(invocations) => invocations.run(&global),
        Command::Top(top) => top.run(&global),
        Command::Bench(bench) => bench.run(&global),
        Command::Usage(usage) => usage.run(&global),
        Command::Invoke(invoke) => invoke.run(&global),
        Command::Cert(cert) => cert.run(&global),
        Command::Kv(kv) => kv.run(&global),
        Command::Blob(blob) => blob.run(&global),
        Command::Trigger(trigger) => trigger.run(&global),
        Command::Queue(queue) => queue.run(&global),
        Command::Doctor => doctor::run(&global),
        Command::Completion(completion) => completion.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&failure.to_string());
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable_too() {
        // What is asked of one call, not set up once, and what an environment cannot repeat.
        let without = [
            "json",
            "template",
            "build",
            "force",
            "dry-run",
            "canary",
            "revision",
            "yes",
            "follow",
            "method",
            "data",
            "header",
            "include",
            "tail",
            "env",
            "why",
            "prefix",
            "with-data",
            "output",
            "content-type",
            "id",
            "session",
            "delay",
            "ttl",
            "waiting",
            "dead",
            "since",
            "search",
            "status",
            "stream",
            "failed",
            "outcome",
            "limit",
            "once",
            "clients",
            "rate",
            "duration",
            "requests",
            "recommend",
        ];
        let cli = Cli::command();
        for command in cli.get_subcommands().flat_map(|one| std::iter::once(one).chain(one.get_subcommands()))
        {
            for flag in command.get_arguments().filter(|argument| !argument.is_positional()) {
                let name = flag.get_long().unwrap_or_default();
                assert!(
                    flag.get_env().is_some() || without.contains(&name),
                    "wfn {} --{name} has no environment variable",
                    command.get_name()
                );
            }
        }
    }
}
