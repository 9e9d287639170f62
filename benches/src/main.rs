//! `wfn-benches`: measures a release build of wfn, next to its peers and against its own promises.
//!
//! No bench fails because wfn is slow; it fails only if what it measures does not work. Everything runs on 127.0.0.1,
//! and every process that a bench starts is ended by it.

mod apps;
mod client;
mod cold_start;
mod converge;
mod deploys;
mod depth;
mod hyper_server;
mod instances;
mod load;
mod messages;
mod neighbours;
mod outbound;
mod peers;
mod process;
mod queue;
mod report;
mod restart;
mod scale;
mod side_by_side;
mod stats;
mod table;
mod wfn;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(about = "Measures wfn side by side with its peers, and its own promises", max_term_width = 100)]
struct Arguments {
    /// The wfn binary [default: target/release/wfn]
    #[arg(long, global = true, value_name = "PATH")]
    wfn: Option<std::path::PathBuf>,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Requests per second, latency, CPU and memory: bare hyper, wfn, wasmtime serve, interleaved
    SideBySide(side_by_side::SideBySide),
    /// Makes many always-ready instances at once, then calls each
    Instances(instances::Instances),
    /// Requests that meet no instance, against requests that meet a warm one
    ColdStart(cold_start::ColdStart),
    /// From the start of a killed host to the first answer of its last app
    Restart(restart::Restart),
    /// The same load on one app, on a hundred, on a thousand
    Apps(apps::Apps),
    /// From nothing to a thousand clients: throughput, instances, time until both are there, cost
    Scale(scale::Scale),
    /// What an app feels of another one that computes on every core
    Neighbours(neighbours::Neighbours),
    /// Functions that wait for another server: instances, connections, memory, and what the policy costs
    Outbound(outbound::Outbound),
    /// Deploys in a row while requests keep coming
    Deploys(deploys::Deploys),
    /// Orders through a durable queue: how many are taken, and how long until they are booked
    Queue(queue::Queue),
    /// Sending to a queue and taking from it, when it is empty and when it holds a million messages
    Depth(depth::Depth),
    /// A queue drained with fixed concurrencies, and with the one that the host finds
    Converge(converge::Converge),
    #[command(hide = true)]
    HyperServer(hyper_server::HyperServer),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wfn-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    raise_file_limit();
    let workspace = Workspace::find(arguments.wfn)?;
    match arguments.bench {
        Bench::SideBySide(bench) => bench.run(&workspace),
        Bench::Instances(bench) => bench.run(&workspace),
        Bench::ColdStart(bench) => bench.run(&workspace),
        Bench::Restart(bench) => bench.run(&workspace),
        Bench::Apps(bench) => bench.run(&workspace),
        Bench::Scale(bench) => bench.run(&workspace),
        Bench::Neighbours(bench) => bench.run(&workspace),
        Bench::Outbound(bench) => bench.run(&workspace),
        Bench::Deploys(bench) => bench.run(&workspace),
        Bench::Queue(bench) => bench.run(&workspace),
        Bench::Depth(bench) => bench.run(&workspace),
        Bench::Converge(bench) => bench.run(&workspace),
        Bench::HyperServer(server) => server.run(),
    }
}

/// Raises the limit of open files: each connection is a file, on both sides.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it may not be raised, opening many connections reports the problem.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
