//! Tests what a run promises, against real servers.

#![expect(clippy::unwrap_used, reason = "in a test an error is the failure it reports")]

mod server;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use wfn_load::{Errors, Mode, Plan, Report, Snapshot, Target, run};

use crate::server::{Asked, Gate, Reply, Server};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A plan that is long enough, with one client.
fn plan(port: u16) -> Plan {
    let target = Target {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        authority: "hello.example".to_owned(),
        path: "/path?query".to_owned(),
    };
    Plan {
        target,
        method: "GET".to_owned(),
        headers: vec![("x-one".to_owned(), "1".to_owned())],
        body: Bytes::new(),
        mode: Mode::Closed { clients: 1 },
        duration: Duration::from_secs(600),
        limit: None,
        timeout: Duration::from_secs(60),
        threads: 1,
    }
}

fn run_quietly(plan: &Plan) -> Report {
    run(plan, |_| {}).unwrap()
}

/// Opens the gate when the first second is over.
fn run_with_gate(plan: &Plan, gate: &Gate) -> Report {
    run(plan, |_| gate.open()).unwrap()
}

#[test]
fn as_many_are_answered_as_the_limit_says() {
    for (mode, threads) in [
        (Mode::Closed { clients: 1 }, 1),
        (Mode::Closed { clients: 7 }, 3),
        (Mode::Closed { clients: 2 }, 4),
        (Mode::Open { per_second: 1_000_000, clients: 7 }, 3),
    ] {
        let server = Server::start(|_| Reply::Keep(ANSWER.into()));
        let report = run_quietly(&Plan { mode, threads, limit: Some(1_001), ..plan(server.port) });
        assert_eq!((report.requests, server.requests()), (1_001, 1_001), "{mode:?}");
        assert_eq!(report.statuses, [(200, 1_001)].into());
        assert_eq!((report.errors, report.late, report.unsent), (Errors::default(), 0, 0));
        assert_eq!(report.bytes, 1_001 * ANSWER.len() as u64);
        assert!(server.connections() <= 7, "connections are kept alive");
        assert!(report.duration < plan(0).duration, "the run was over with the last answer");
        assert!(report.per_second > 1_001.0 / 600.0 && report.cpu.is_some_and(|cpu| !cpu.is_zero()));
        let latency = report.latency;
        assert!(latency.p50 <= latency.p90 && latency.p99 <= latency.p999 && latency.p999 <= latency.max);
    }
}

#[test]
fn the_request_is_sent_as_planned() {
    let server = Server::start(|asked: &Asked| {
        let is_right =
            asked.head.starts_with("POST /path?query HTTP/1.1\r\nhost: hello.example\r\nx-one: 1\r\n");
        let status = if is_right && asked.body == b"a body" { "200 Right" } else { "400 Wrong" };
        Reply::Keep(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
    });
    let body = Bytes::from_static(b"a body");
    let report = run_quietly(&Plan { method: "POST".to_owned(), body, limit: Some(10), ..plan(server.port) });
    assert_eq!(report.statuses, [(200, 10)].into());
}

#[test]
fn statuses_and_outcomes_are_told_apart() {
    let server = Server::start(|asked: &Asked| {
        Reply::Keep(match asked.number % 4 {
            0 => ANSWER.to_owned(),
            1 => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            2 => "HTTP/1.1 429 Slow\r\nwfn-outcome: throttled\r\ncontent-length: 0\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 500 No\r\nwfn-outcome: trapped\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
        })
    });
    let report = run_quietly(&Plan { limit: Some(40), ..plan(server.port) });
    assert_eq!(report.statuses, [(200, 10), (204, 10), (429, 10), (500, 10)].into());
    assert_eq!([2, 3, 4, 5].map(|class| report.of_class(class)), [20, 0, 10, 10]);
    assert_eq!(report.outcomes, [("throttled".to_owned(), 10), ("trapped".to_owned(), 10)].into());
    assert_eq!((report.errors.total(), server.connections()), (0, 1));
}

#[test]
fn an_answer_that_ends_its_connection_is_no_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let server = Server::start(|_| Reply::Close(answer.into()));
        let report = run_quietly(&Plan { limit: Some(20), ..plan(server.port) });
        assert_eq!((report.requests, report.errors), (20, Errors::default()), "{answer:?}");
        assert_eq!((server.requests(), server.connections()), (20, 20));
    }
}

#[test]
fn errors_are_told_by_kind_and_made_up_for() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
    for (bad, errors) in [
        (Reply::Close(String::new()), Errors { closed: 3, ..Errors::default() }),
        (Reply::Close(half.to_owned()), Errors { closed: 3, ..Errors::default() }),
        (Reply::Keep("220 smtp.example\r\n".to_owned()), Errors { malformed: 3, ..Errors::default() }),
        (Reply::Keep(half.to_owned()), Errors { timeout: 3, ..Errors::default() }),
    ] {
        // Without errors an open loop would end after five requests. Here both modes end when five were answered.
        for mode in [Mode::Closed { clients: 1 }, Mode::Open { per_second: 1_000, clients: 1 }] {
            let reply = bad.clone();
            let server = Server::start(move |asked: &Asked| match asked.number {
                1..=3 => reply.clone(),
                _ => Reply::Keep(ANSWER.into()),
            });
            // The timeout is long for answers that come, because the machine may be busy.
            let timeout = Duration::from_millis(if errors.timeout > 0 { 1_000 } else { 60_000 });
            let report = run_quietly(&Plan { mode, timeout, limit: Some(5), ..plan(server.port) });
            assert_eq!((report.requests, report.errors), (5, errors), "{bad:?} {mode:?}");
            assert_eq!((server.requests(), server.connections()), (8, 4));
            assert_eq!(report.timeline.iter().map(|piece| piece.errors).sum::<u64>(), 3);
        }
    }
}

#[test]
fn a_server_that_is_down_is_asked_until_the_end() {
    let duration = Duration::from_millis(100);
    for mode in [Mode::Closed { clients: 2 }, Mode::Open { per_second: 100, clients: 2 }] {
        let report = run_quietly(&Plan { duration, mode, limit: Some(5), ..plan(Server::unused_port()) });
        let failed = report.errors.connect;
        assert_eq!((report.requests, report.errors), (0, Errors { connect: failed, ..Errors::default() }));
        assert!(failed > 0 && report.per_second == 0.0);
    }
}

#[test]
fn at_the_end_what_is_in_flight_is_waited_for() {
    let gate = Gate::default();
    let shut = gate.clone();
    let server = Server::start(move |_| {
        shut.pass();
        Reply::Keep(ANSWER.into())
    });
    let duration = Duration::from_millis(950);
    let mode = Mode::Closed { clients: 3 };
    let report = run_with_gate(&Plan { duration, mode, ..plan(server.port) }, &gate);
    assert_eq!((report.requests, report.late, server.requests()), (3, 3, 3));
    assert_eq!((report.per_second, report.duration), (0.0, duration));
    let pieces: Vec<u64> = report.timeline.iter().map(|piece| piece.requests).collect();
    assert_eq!((pieces[0], pieces.iter().sum::<u64>()), (0, 3));
}

#[test]
fn client_and_server_agree_when_time_ends_the_run() {
    for mode in [Mode::Closed { clients: 5 }, Mode::Open { per_second: 2_000, clients: 5 }] {
        let server = Server::start(|_| Reply::Keep(ANSWER.into()));
        let duration = Duration::from_millis(1_200);
        let mut seen: Vec<Snapshot> = Vec::new();
        let plan = Plan { duration, mode, threads: 2, ..plan(server.port) };
        let report = run(&plan, |piece| seen.push(*piece)).unwrap();
        assert_eq!((report.requests, report.errors.total()), (server.requests(), 0));
        assert_eq!(report.requests, report.statuses[&200]);
        assert_eq!(seen, report.timeline);
        assert_eq!(report.timeline.iter().map(|piece| piece.requests).sum::<u64>(), report.requests);
        for pair in report.timeline.windows(2) {
            assert_eq!(pair[0].until, pair[1].from);
        }
        if let Mode::Open { .. } = mode {
            assert_eq!(report.requests + report.unsent, 2_400);
        }
    }
}

#[test]
fn the_open_loop_charges_a_stall_to_all_that_were_due() {
    // The first request is answered after a second, when the other 99 are due. Each of those is quick.
    let run_in = |mode| {
        let gate = Gate::default();
        let shut = gate.clone();
        let server = Server::start(move |_| {
            shut.pass();
            Reply::Keep(ANSWER.into())
        });
        run_with_gate(&Plan { mode, limit: Some(100), ..plan(server.port) }, &gate)
    };
    let open = run_in(Mode::Open { per_second: 100, clients: 1 });
    // Request 50 was due half a second before the stall ended.
    assert!(open.latency.p50 >= Duration::from_millis(490), "{:?}", open.latency);
    assert!(open.latency.max >= Duration::from_millis(990));
    let closed = run_in(Mode::Closed { clients: 1 });
    assert!(closed.latency.p50 < open.latency.p50, "{:?}", closed.latency);
}

#[test]
fn the_open_loop_tells_what_it_could_not_send() {
    // Three fail, and the next is answered after the end: four of those that were due were tried.
    for (limit, unsent) in [(None, 91), (Some(5), 4), (Some(1), 0)] {
        let gate = Gate::default();
        let shut = gate.clone();
        let server = Server::start(move |asked: &Asked| {
            if asked.number <= 3 {
                return Reply::Close(String::new());
            }
            shut.pass();
            Reply::Keep(ANSWER.into())
        });
        let duration = Duration::from_millis(950);
        let mode = Mode::Open { per_second: 100, clients: 1 };
        let report = run_with_gate(&Plan { duration, mode, limit, ..plan(server.port) }, &gate);
        assert_eq!((report.requests, report.errors.closed, report.unsent), (1, 3, unsent), "{limit:?}");
        let lag = if unsent == 0 { Duration::ZERO } else { Duration::from_millis(910) };
        assert_eq!(report.lag, lag);
    }
}

/// TLS settings of a server at 127.0.0.1, and of a client that trusts it.
fn trusted() -> (ServerConfig, ClientConfig) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = signing_key.serialize_der().try_into().unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (server.with_single_cert(vec![cert.der().clone()], key).unwrap(), client)
}

fn plan_over_tls(port: u16, client: ClientConfig) -> Plan {
    let plan = plan(port);
    Plan { target: Target { tls: Some(Arc::new(client)), ..plan.target }, ..plan }
}

#[test]
fn https_needs_a_certificate_that_is_trusted() {
    let (config, trusting) = trusted();
    let (_, untrusting) = trusted();
    let server = Server::start_tls(config, Gate::opened(), |_| Reply::Keep(ANSWER.into()));
    let report = run_quietly(&Plan { limit: Some(10), ..plan_over_tls(server.port, trusting) });
    assert_eq!((report.requests, report.errors, server.connections()), (10, Errors::default(), 1));

    let duration = Duration::from_millis(50);
    let report = run_quietly(&Plan { duration, ..plan_over_tls(server.port, untrusting) });
    assert_eq!(report.requests, 0);
    assert!(report.errors.connect > 0);
}

#[test]
fn a_connection_that_comes_after_the_end_is_not_used() {
    let (config, trusting) = trusted();
    let gate = Gate::default();
    let server = Server::start_tls(config, gate.clone(), |_| Reply::Keep(ANSWER.into()));
    let duration = Duration::from_millis(950);
    let report = run_with_gate(&Plan { duration, ..plan_over_tls(server.port, trusting) }, &gate);
    assert_eq!((report.requests, report.errors), (0, Errors::default()));
    assert_eq!((server.requests(), server.connections()), (0, 1));
}

#[test]
fn a_plan_out_of_bounds_is_refused() {
    let good = plan(1);
    for bad in [
        Plan { mode: Mode::Closed { clients: 0 }, ..good.clone() },
        Plan { mode: Mode::Closed { clients: 1_000_000 }, ..good.clone() },
        Plan { mode: Mode::Open { per_second: 0, clients: 1 }, ..good.clone() },
        Plan { threads: 0, ..good.clone() },
        Plan { duration: Duration::ZERO, ..good.clone() },
        Plan { duration: Duration::from_secs(100_000), ..good.clone() },
        Plan { timeout: Duration::ZERO, ..good.clone() },
        Plan { limit: Some(0), ..good.clone() },
        Plan { method: "NO METHOD".to_owned(), ..good.clone() },
        Plan { target: Target { host: String::new(), ..good.target.clone() }, ..good.clone() },
    ] {
        assert!(run(&bad, |_| {}).is_err(), "{bad:?}");
    }
}
