//! One path for each way a guest can have its host hold memory, files or time; `GET /` lists them. Each takes `?n=N` things,
//! keeps them until all of the request's body has come, and says how many it got.

use std::any::Any;
use std::fs::File;
use std::time::{Duration, Instant};

use wfn_sdk::wasip2::clocks::monotonic_clock;
use wfn_sdk::wasip2::filesystem::preopens;
use wfn_sdk::wasip2::http::types::{Fields, Method, OutgoingRequest, OutgoingResponse};
use wfn_sdk::wasip2::random::random::get_random_bytes;
use wfn_sdk::wasip2::sockets::network::IpAddressFamily;
use wfn_sdk::wasip2::sockets::{tcp_create_socket, udp_create_socket};
use wfn_sdk::{Error, IntoResponse as _, Request, RequestExt as _, Response, StatusCode, handler};

/// Takes `n` things of `bytes` bytes each and gives what it got.
type Hoard = fn(n: u64, bytes: usize) -> Kept;

/// How many things there were, and those that can be kept.
type Kept = (u64, Option<Box<dyn Any>>);

/// A path, what it takes, and its code.
const HOARDS: &[(&str, &str, Hoard)] = &[
    ("/nothing", "nothing", |_, _| (0, None)),
    ("/memory", "pieces of its own memory", memory),
    ("/fields", "sets of header fields, each with a value of ?bytes=B", fields),
    ("/copies", "copies of a set with one value of ?bytes=B", copies),
    ("/requests", "requests with a method and a path of ?bytes=B", requests),
    ("/bodies", "answers that are never sent, with ?bytes=B in their bodies", bodies),
    ("/pollables", "things to wait for", pollables),
    ("/files", "open files in /tmp", files),
    ("/lists", "lists of the files in /tmp, each read in part", lists),
    ("/sockets", "sockets", sockets),
    ("/random", "times ?bytes=B of randomness", random),
    ("/output", "times ?bytes=B of output without a line end", output),
    ("/time", "milliseconds of computing", time),
];

/// Answers one request.
#[handler]
fn main(mut request: Request) -> Result<Response, Error> {
    let n = request.query("n")?.unwrap_or(100);
    let bytes = request.query("bytes")?.unwrap_or(1_000);
    let path = request.uri().path().to_owned();
    match HOARDS.iter().find(|(known, _, _)| *known == path) {
        Some((_, what, hoard)) => {
            let (count, kept) = hoard(n, bytes);
            if request.query("tell")?.unwrap_or(false) {
                println!("kept {count}");
            }
            request.body_mut().read_bytes(1_000_000)?;
            drop(kept);
            Ok(format!("{count} of {n} {what}\n").into_response())
        }
        None => {
            let help: String = HOARDS.iter().map(|(path, what, _)| format!("{path:<12} {what}\n")).collect();
            let status = if path == "/" { StatusCode::OK } else { StatusCode::NOT_FOUND };
            Ok((status, help).into_response())
        }
    }
}

/// As many as `make` gives, up to `n`.
fn count<T: 'static>(n: u64, make: impl FnMut(u64) -> Option<T>) -> Kept {
    let kept = (0..n).map_while(make).collect::<Vec<T>>();
    (kept.len() as u64, Some(Box::new(kept)))
}

fn memory(n: u64, bytes: usize) -> Kept {
    count(n, |number| {
        let mut piece = Vec::new();
        piece.try_reserve_exact(bytes).ok()?;
        piece.resize(bytes, number as u8);
        Some(std::hint::black_box(piece))
    })
}

fn fields(n: u64, bytes: usize) -> Kept {
    let value = vec![b'x'; bytes];
    count(n, |_| {
        let fields = Fields::new();
        fields.append("x-hoard", &value).ok().map(|()| fields)
    })
}

fn copies(n: u64, bytes: usize) -> Kept {
    let original = Fields::new();
    if original.append("x-hoard", &vec![b'x'; bytes]).is_err() {
        return (0, None);
    }
    count(n, |number| {
        let copy = original.clone();
        // Until something is changed, it may be one and the same.
        copy.append("x-number", number.to_string().as_bytes()).ok().map(|()| copy)
    })
}

fn requests(n: u64, bytes: usize) -> Kept {
    let method = Method::Other("M".repeat(bytes));
    let path = format!("/{}", "p".repeat(bytes));
    count(n, |_| {
        let request = OutgoingRequest::new(Fields::new());
        request.set_method(&method).ok()?;
        request.set_path_with_query(Some(&path)).ok()?;
        Some(request)
    })
}

fn bodies(n: u64, bytes: usize) -> Kept {
    let piece = vec![b'x'; bytes];
    count(n, |_| {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().ok()?;
        let stream = body.write().ok()?;
        let room = usize::try_from(stream.check_write().ok()?).unwrap_or(usize::MAX);
        stream.write(&piece[..bytes.min(room)]).ok()?;
        Some((stream, body, response))
    })
}

fn pollables(n: u64, _: usize) -> Kept {
    count(n, |_| Some(monotonic_clock::subscribe_duration(3_600_000_000_000)))
}

fn files(n: u64, _: usize) -> Kept {
    if File::create("/tmp/hoard").is_err() {
        return (0, None);
    }
    count(n, |_| File::open("/tmp/hoard").ok())
}

fn lists(n: u64, _: usize) -> Kept {
    for number in 0..20 {
        if File::create(format!("/tmp/file-{number}")).is_err() {
            return (0, None);
        }
    }
    let folders = preopens::get_directories();
    let Some((folder, _)) = folders.iter().find(|(_, path)| path == "/tmp") else { return (0, None) };
    count(n, |_| {
        let list = folder.read_directory().ok()?;
        list.read_directory_entry().ok()?;
        Some(list)
    })
}

fn sockets(n: u64, _: usize) -> Kept {
    count(n, |_| {
        let tcp = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).ok();
        let udp = udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6).ok();
        (tcp.is_some() || udp.is_some()).then_some((tcp, udp))
    })
}

fn random(n: u64, bytes: usize) -> Kept {
    ((0..n).filter(|_| get_random_bytes(bytes as u64).len() == bytes).count() as u64, None)
}

fn output(n: u64, bytes: usize) -> Kept {
    let text = "x".repeat(bytes);
    for _ in 0..n {
        print!("{text}");
    }
    (n, None)
}

fn time(n: u64, _: usize) -> Kept {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(n) {
        std::hint::spin_loop();
    }
    (n, None)
}
