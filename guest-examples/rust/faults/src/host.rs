//! What a guest asks of its host besides HTTP: clocks, randomness, files, network, its output, its exit.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use wfn_sdk::wasip2::cli::exit as wasi_exit;
use wfn_sdk::wasip2::clocks::monotonic_clock;
use wfn_sdk::wasip2::random::random::get_random_bytes;
use wfn_sdk::wasip2::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Network,
};
use wfn_sdk::wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket};
use wfn_sdk::{Error, IntoResponse as _, Request, RequestExt as _, Response, StatusCode};

use crate::{compute, text};

pub(crate) fn sleep(request: Request) -> Result<Response, Error> {
    thread::sleep(Duration::from_millis(request.query("ms")?.unwrap_or(100)));
    text("slept\n")
}

pub(crate) fn env(request: Request) -> Result<Response, Error> {
    let key: String = request.query("key")?.unwrap_or_default();
    let value = env::vars().find_map(|(name, value)| (name == key).then_some(value));
    match value {
        Some(value) => text(value),
        None => Ok((StatusCode::NOT_FOUND, format!("no environment variable \"{key}\"\n")).into_response()),
    }
}

pub(crate) fn random(_: Request) -> Result<Response, Error> {
    let digits: String = get_random_bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
    text(digits + "\n")
}

pub(crate) fn clock(_: Request) -> Result<Response, Error> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    text(format!("wall {} ms\nmonotonic {} ns\n", wall.as_millis(), monotonic_clock::now()))
}

pub(crate) fn fs(_: Request) -> Result<Response, Error> {
    came_of(fs::read_dir("/").map(|entries| format!("{} entries", entries.count())))
}

pub(crate) fn connect(request: Request) -> Result<Response, Error> {
    let port = request.query("port")?.unwrap_or(1);
    // With the bare interface: some builds of std have no sockets in WASI.
    let connect = || -> Result<String, ErrorCode> {
        let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
        let network: Network = instance_network::instance_network();
        let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
        socket.start_connect(&network, address)?;
        socket.subscribe().block();
        socket.finish_connect().map(|_| "connected".to_owned())
    };
    came_of(connect())
}

pub(crate) fn dns(request: Request) -> Result<Response, Error> {
    let name: String = request.query("name")?.unwrap_or_else(|| "localhost".to_owned());
    let resolve = || -> Result<String, ErrorCode> {
        let addresses = ip_name_lookup::resolve_addresses(&instance_network::instance_network(), &name)?;
        addresses.subscribe().block();
        let first = addresses.resolve_next_address()?;
        Ok(format!("first address {first:?}"))
    };
    came_of(resolve())
}

/// Answers 200 in either case: what the guest was told is the answer.
fn came_of<E: std::fmt::Display>(result: Result<String, E>) -> Result<Response, Error> {
    match result {
        Ok(said) => text(format!("allowed: {said}\n")),
        Err(error) => text(format!("refused: {error}\n")),
    }
}

pub(crate) fn flood(request: Request) -> Result<Response, Error> {
    let lines = request.query("lines")?.unwrap_or(1000u64);
    for line in 1..=lines {
        println!("line {line} of {lines}");
    }
    text(format!("printed {lines} lines\n"))
}

pub(crate) fn mumble(request: Request) -> Result<Response, Error> {
    let words: String = request.query("text")?.unwrap_or_else(|| "mm".to_owned());
    print!("{words}");
    eprint!("{words}");
    std::io::stdout().flush()?;
    text("printed without a line end\n")
}

pub(crate) fn mumble_then_trap(request: Request) -> Result<Response, Error> {
    mumble(request)?;
    compute::unreachable()
}

pub(crate) fn stdout_then_trap(_: Request) -> Result<Response, Error> {
    println!("the last words of this guest");
    compute::unreachable()
}

pub(crate) fn exit(_: Request) -> Result<Response, Error> {
    wasi_exit::exit(Err(()));
    text("the host lets guests go on after exit\n")
}
