//! What a guest makes the host hold: charged, refused to the guest alone, and gone when its invocation is over.

use std::{fs, io};

use crate::harness::{Connection, Host, Load, Request, until};

/// Every path of the guest, with amounts that a worker may hold.
const HOARDS: &[&str] = &[
    "/memory?n=50&bytes=10000",
    "/fields?n=50&bytes=10000",
    "/copies?n=20&bytes=10000",
    "/requests?n=20&bytes=10000",
    "/bodies?n=20&bytes=50000",
    "/pollables?n=100",
    "/files?n=20",
    "/lists?n=10",
    "/sockets?n=20",
    "/random?n=5&bytes=10000",
    "/output?n=5&bytes=1000",
    "/time?n=1",
];

/// What a thousand requests may leave behind.
const GROWTH_KB_MAX: u64 = 5 * 1024;

/// Kilobytes of memory of the host that no file lies behind.
fn resident_kb(host: &Host) -> u64 {
    status_of(host, "RssAnon:")
}

/// A figure that the kernel has of the host's process.
fn status_of(host: &Host, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Descriptors of the host, but for those of its database, which come and go by themselves.
fn descriptors(host: &Host) -> usize {
    let all = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
    let leads_to = |entry: io::Result<fs::DirEntry>| fs::read_link(entry.unwrap().path()).unwrap_or_default();
    all.map(leads_to).filter(|path| !path.to_string_lossy().contains("/wfn.db")).count()
}

fn guest_memory(host: &Host) -> u64 {
    host.admin_get("/v1/host")["guest_memory_bytes"].as_u64().unwrap()
}

#[test]
fn a_thousand_times_each_leaves_nothing_behind_and_a_neighbour_notices_nothing() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "1"]);
    host.deploy_with("hoards", "hoards", "scratch_mb = 16\n[scale]\nmax_instances = 1\nconcurrency = 2\n");
    let mut connections = [Connection::open(&host.functions), Connection::open(&host.functions)];
    let mut run = |path: &str, times: usize| {
        std::thread::scope(|scope| {
            for connection in &mut connections {
                scope.spawn(move || {
                    let request = format!("GET /hoards{path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                    for _ in 0..times / 2 {
                        connection.write(request.as_bytes());
                        let answer = connection.read_answer().unwrap();
                        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                    }
                });
            }
        });
    };
    // As many workers as there will be.
    let both = [0, 1].map(|_| Held::begin(&host, "/hoards/nothing?tell=true"));
    until("both run", || (host.logs("hoards").matches("kept").count() == 2).then_some(()));
    both.into_iter().for_each(Held::end);
    let load = Load::start(&host, "/hello/", 1, "Hello from wfn!\n");
    for path in HOARDS {
        // Until everything that is made once has been made.
        run(path, 100);
    }
    for path in HOARDS {
        run(path, 50);
        let mut grows = || {
            let (memory, files) = (resident_kb(&host), descriptors(&host));
            run(path, 1_000);
            until("its files are closed", || (descriptors(&host) <= files).then_some(()));
            resident_kb(&host).saturating_sub(memory)
        };
        let grown = grows();
        // The host may have made something of its own meanwhile, once; what a path leaves behind comes each time.
        let grown = if grown > GROWTH_KB_MAX { grows() } else { grown };
        assert!(grown <= GROWTH_KB_MAX, "{path}: {grown} kB more than before");
    }
    assert!(load.end() > 0);
}

#[test]
fn what_the_host_holds_for_a_guest_is_within_its_memory() {
    let host = Host::start_with(&["--guest-memory-mb", "64"]);
    host.deploy("hello", &["--always-ready", "1"]);
    host.deploy_with("hoards", "hoards", "[scale]\nmax_instances = 4\nconcurrency = 4\n");
    host.get("/hoards/nothing").ok();
    for path in ["/fields?n=4000&bytes=100000", "/copies?n=4000&bytes=100000", "/requests?n=4000&bytes=60000"]
    {
        let before = resident_kb(&host);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let answer = host.get(&format!("/hoards{path}"));
                    assert!(
                        [("memory-limit", 500), ("throttled", 429)]
                            .contains(&(answer.code().as_str(), answer.status)),
                        "{path}: {} {}",
                        answer.status,
                        answer.text()
                    );
                });
            }
        });
        let grown = resident_kb(&host).saturating_sub(before);
        assert!(grown < 160 * 1024, "{path}: {grown} kB");
        until("it is given back", || (guest_memory(&host) < 16 << 20).then_some(()));
        host.get("/hoards/nothing").ok();
        host.get("/hello/").ok();
    }
    let logs = host.logs("hoards");
    assert!(logs.contains("memory that all functions of this host may hold"), "{logs}");
}

#[test]
fn what_the_host_itself_holds_beyond_its_share_guests_get_less() {
    let withheld = |host: &Host| host.admin_get("/v1/host")["guest_memory_withheld_bytes"].as_u64().unwrap();
    let host = Host::start_with(&["--guest-memory-mb", "16"]);
    host.deploy("hello", &[]);
    host.get("/hello/").ok();
    let share = (resident_kb(&host) / 1024 + 8).to_string();
    let data = host.kill();

    let host = Host::start_in(&data, &["--guest-memory-mb", "16", "--host-memory-mb", &share]);
    host.get("/hello/").ok();
    assert_eq!((withheld(&host), host.number("hello", "instances")), (0, 1));
    // What clients have sent of heads that do not end is held for them, and charged to no guest.
    let clients: Vec<_> = (0..2_000)
        .map(|_| {
            let mut client = Connection::open(&host.functions);
            client.write(format!("GET /hello/ HTTP/1.1\r\nx: {}", "x".repeat(15_000)).as_bytes());
            client
        })
        .collect();
    until("guests get nothing", || (withheld(&host) >= 15 << 20).then_some(()));
    until("the idle instance is retired", || (host.number("hello", "instances") == 0).then_some(()));
    assert_eq!(host.get("/hello/").code(), "throttled");
    let said = host.wfn(&["doctor"]).stdout;
    assert!(said.contains("--host-memory-mb"), "{said}");
    drop(clients);
    until("guests get it back", || (host.get("/hello/").status == 200).then_some(()));
}

/// A program that opens one file again and again until it may no more, and answers with five digits: how many it got, and
/// three: the error of the last attempt.
const OPENS_FILES: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "content-type: text/plain\n\n00000 000\n")
  (data (i32.const 100) "file")
  (func $one (result i32)
    (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 1)
      (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 200)))
  (func $digits (param $value i32) (param $at i32) (param $count i32)
    (loop $more
      (i32.store8 (i32.add (local.get $at) (i32.sub (local.get $count) (i32.const 1)))
        (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
      (br_if $more (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
  (func (export "_start") (local $opened i32) (local $error i32)
    (loop $more
      (local.set $error (call $one))
      (if (i32.eqz (local.get $error)) (then
        (local.set $opened (i32.add (local.get $opened) (i32.const 1)))
        (br $more))))
    ;; THEN
    (call $digits (local.get $opened) (i32.const 58) (i32.const 5))
    (call $digits (local.get $error) (i32.const 64) (i32.const 3))
    (i32.store (i32.const 8) (i32.const 32))
    (i32.store (i32.const 12) (i32.const 36))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#;

/// What is closed makes room for the same program; if all programs have as many as they may, another may be there first.
const OPENS_ANOTHER: &str = "
    (drop (call $close (i32.load (i32.const 200))))
    (if (call $one) (then unreachable))";

#[test]
fn files_are_bounded_for_each_worker_and_the_host_keeps_some_for_itself() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let folder = tempfile::TempDir::new().unwrap();
    let deploy = |name: &str, module: &str| {
        fs::write(folder.path().join(format!("{name}.wasm")), wat::parse_str(module).unwrap()).unwrap();
        let manifest = folder.path().join(format!("{name}.toml"));
        let settings = "scratch_mb = 16\n[scale]\nconcurrency = 64\nidle_timeout = \"1s\"\n";
        fs::write(&manifest, format!("name = \"{name}\"\nmodule = \"{name}.wasm\"\n{settings}")).unwrap();
        host.wfn(&["deploy", manifest.to_str().unwrap()]).ok();
    };
    deploy("opens", OPENS_FILES);
    deploy("reopens", &OPENS_FILES.replace(";; THEN", OPENS_ANOTHER));
    let before = descriptors(&host);
    // 33 is EMFILE there.
    assert_eq!(host.get("/reopens/").ok(), "01024 033\n");
    // More than the process has descriptors for: others still connect, and the operator too.
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let (opened, error) = host.get("/opens/").ok().trim().split_once(' ').map(own).unwrap();
                assert!(opened <= 1_024 && error == 33, "{opened} {error}");
            });
        }
        for _ in 0..20 {
            host.get("/hello/").ok();
            host.admin_get("/v1/host");
        }
    });
    until("all are closed", || (descriptors(&host) <= before + 10).then_some(()));
}

fn own((opened, error): (&str, &str)) -> (u32, u32) {
    (opened.parse().unwrap(), error.parse().unwrap())
}

/// Something that is held for a guest until `end`: its answer waits for a body that is too long to be read beforehand.
struct Held(Connection);

const BODY_BYTES: usize = 200_000;

impl Held {
    fn begin(host: &Host, path: &str) -> Self {
        let mut connection = Connection::open(&host.functions);
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
        connection.write(head.as_bytes());
        Self(connection)
    }

    fn end(mut self) {
        self.0.write(&[b'x'; BODY_BYTES]);
        let answer = self.0.read_answer().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Has each event loop serve a request: the first one of a loop takes some megabytes, once. Connections that are open at the
/// same time go to different loops.
fn serve_on_every_core(host: &Host) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut open: Vec<_> = (0..2 * cores).map(|_| Connection::open(&host.functions)).collect();
    for connection in &mut open {
        connection.write(b"GET /hoards/memory?n=2&bytes=1000 HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(connection.read_answer().unwrap().status, 200);
    }
}

#[test]
fn what_is_said_to_be_held_is_within_a_fifth_of_what_the_memory_rose_by() {
    for (path, tells) in [
        ("/memory?n=600&bytes=100000", "kept 600"),
        ("/fields?n=3000&bytes=60000", "kept 3000"),
        ("/requests?n=1000&bytes=30000", "kept 1000"),
        ("/bodies?n=1200&bytes=60000", "kept 1200"),
    ] {
        // Each on a host of its own: what another has left to the allocator would be used again.
        let host = Host::start();
        host.deploy_with("hoards", "hoards", "[scale]\nmax_instances = 1\n");
        serve_on_every_core(&host);
        let (resident, held) = (resident_kb(&host), guest_memory(&host));
        let request = Held::begin(&host, &format!("/hoards{path}&tell=true"));
        until("all is held", || host.logs("hoards").contains(tells).then_some(()));
        let rose = (resident_kb(&host) - resident) * 1_024;
        let charged = guest_memory(&host) - held;
        request.end();
        assert!(rose.abs_diff(charged) * 5 <= rose, "{path}: {charged} bytes charged, memory rose by {rose}");
        if !path.starts_with("/memory") {
            // Linear memory stays with its worker.
            until("it is given back", || (guest_memory(&host) < held + (2 << 20)).then_some(()));
        }
    }
}

#[test]
fn what_an_instance_takes_by_its_size_is_charged() {
    let host = Host::start();
    let globals = "(global (mut i64) (i64.const 1))".repeat(600_000);
    let module = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (table 100000 funcref)
          {globals}
          (data (i32.const 32) "content-type: text/plain\n\nread\n")
          (func (export "_start")
            (i32.store (i32.const 8) (i32.const 100))
            (i32.store (i32.const 12) (i32.const 1))
            (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16)))
            (i32.store (i32.const 8) (i32.const 32))
            (i32.store (i32.const 12) (i32.const 31))
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#
    );
    let file = host.data.path().with_extension("globals.wasm");
    fs::write(&file, wat::parse_str(module).unwrap()).unwrap();
    host.wfn(&["deploy", file.to_str().unwrap(), "--name", "globals"]).ok();
    assert_eq!(guest_memory(&host), 0);
    let held = Held::begin(&host, "/globals/");
    let size = until("it runs", || Some(guest_memory(&host)).filter(|held| *held > 10_400_000));
    assert!(size < 11_000_000, "{size}");
    held.end();
    // The next one may have been made ahead.
    host.wfn(&["rm", "globals", "--yes"]).ok();
    until("it is given back", || (guest_memory(&host) == 0).then_some(()));
}

#[test]
fn what_waits_in_bodies_and_lists_is_charged_too() {
    let host = Host::start();
    host.deploy_with("hoards", "hoards", "scratch_mb = 16\n");
    host.get("/hoards/nothing").ok();
    let before = resident_kb(&host);
    let answer = host.get("/hoards/bodies?n=1300&bytes=50000");
    assert!(answer.status == 200 || answer.code() == "memory-limit", "{}", answer.text());
    let memory = Request::get("/v1/host").header("authorization", &format!("Bearer {}", host.token()));
    let peak = memory.send(&host.admin);
    assert_eq!(peak.status, 200);
    until("it is freed", || (guest_memory(&host) < 40 << 20).then_some(()));
    assert!(resident_kb(&host).saturating_sub(before) < 300 * 1024);
}

/// What is held beside the budget: what guests write until it is charged, and what the host itself takes while it serves a hundred
/// clients.
const BESIDE_THE_BUDGET_KB: u64 = 64 * 1024;

#[test]
fn guests_that_suddenly_write_all_of_their_memory_stay_within_the_budget() {
    const BUDGET_KB: u64 = 512 * 1024;
    const GUESTS: usize = 200;
    let host = Host::start_with(&["--guest-memory-mb", "512"]);
    assert_eq!(status_of(&host, "THP_enabled:"), 0, "one fault would write a large page");
    host.deploy("hello", &["--always-ready", "1"]);
    host.deploy_with(
        "pages",
        "pages",
        "[scale]\nmax_instances = 200\nconcurrency = 1\nscale_out_burst = 200\n",
    );
    // From here on it is known how little it writes.
    assert_eq!(host.get("/pages/").ok(), "0 pages\n");
    let before_kb = resident_kb(&host);
    let running: Vec<_> = (0..GUESTS).map(|_| Held::begin(&host, "/pages/?mb=0")).collect();
    // They declare nine times the budget.
    until("all run at once", || (host.group("pages")["instances"] == GUESTS).then_some(()));
    running.into_iter().for_each(Held::end);

    let load = Load::start(&host, "/hello/", 1, "Hello from wfn!\n");
    let writer = || {
        let mut connection = Connection::open(&host.functions);
        connection.write(b"GET /pages/?mb=24 HTTP/1.1\r\nhost: h\r\n\r\n");
        connection.read_answer().unwrap().status
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..GUESTS).map(|_| scope.spawn(writer)).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    load.end();
    let (peak_kb, now_kb) = (status_of(&host, "VmHWM:") - status_of(&host, "RssFile:"), resident_kb(&host));
    println!("before {before_kb} KB, at most {peak_kb} KB, now {now_kb} KB; {statuses:?}");
    assert!(peak_kb <= before_kb + BUDGET_KB + BESIDE_THE_BUDGET_KB);
    assert!(guest_memory(&host) <= BUDGET_KB * 1024);
    assert!(statuses.contains(&200), "some have their memory");
    assert!(statuses.contains(&500), "there is not enough for all");
    assert!(host.logs("pages").contains("the memory that all functions of this host may hold"));
}
