//! Guests that compute while they start: refused, or marked, and nobody else's loss.

use crate::harness::{DataDir, Host, Load, Request, until};

/// A program that computes for ever as soon as it is instantiated.
const SPINS: &str = r#"(module
  (memory (export "memory") 1)
  (func $spin (loop $for_ever (br $for_ever)))
  (start $spin)
  (func (export "_start")))"#;

/// A program that computes while it is instantiated when the clock says so: in the last of any three seconds.
const SPINS_LATER: &str = r#"(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "content-type: text/plain\n\nstarted\n")
  (func $start
    (drop (call $now (i32.const 0) (i64.const 1) (i32.const 0)))
    (i64.rem_u (i64.div_u (i64.load (i32.const 0)) (i64.const 1000000000)) (i64.const 3))
    (if (i64.eq (i64.const 2)) (then (loop $for_ever (br $for_ever)))))
  (start $start)
  (func (export "_start")
    (i32.store (i32.const 8) (i32.const 32))
    (i32.store (i32.const 12) (i32.const 34))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#;

/// Writes a module and gives its path.
fn module(data: &DataDir, name: &str, text: &str) -> String {
    let path = data.path().with_extension(name);
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ready(host: &Host) -> u16 {
    Request::get("/.well-known/wfn/ready").send(&host.functions).status
}

#[test]
fn a_guest_that_computes_at_its_start_is_refused_while_others_are_served_and_deployed() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let spins = module(&host.data, "spins.wasm", SPINS);
    let load = Load::start(&host, "/hello/", 4, "Hello from wfn!\n");
    let refused = std::thread::scope(|scope| {
        let deploy = scope.spawn(|| host.wfn(&["deploy", &spins, "--name", "spins"]).refused());
        // It goes on for seconds; these do not wait for it.
        host.deploy_as("other", "hello", &["--always-ready", "2"]);
        assert!(!deploy.is_finished(), "another deploy waited for it");
        host.get("/other/").ok();
        deploy.join().unwrap()
    });
    assert!(refused.contains("did not start") || refused.contains("does not start"), "{refused}");
    assert!(load.end() > 0);
    assert_eq!(host.get("/spins/").status, 404);
    host.terminate();
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn an_app_that_does_not_start_any_more_is_marked_and_all_others_come_back() {
    let data = DataDir::new();
    let spins = module(&data, "spins.wasm", SPINS);
    // No room for a trial: what does not start is committed.
    let host = Host::start_in(&data, &["--memory-quota-mb", "2048"]);
    host.deploy("hello", &["--always-ready", "1"]);
    host.wfn(&["deploy", &spins, "--name", "spins"]).ok();
    host.get("/hello/").ok();
    drop(host.kill());

    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/.well-known/wfn/live").ok(), "live\n");
    host.get("/hello/").ok();
    host.deploy_as("new", "hello", &[]);
    host.get("/new/").ok();
    until("the host is ready", || (ready(&host) == 200).then_some(()));
    let apps = host.admin_get("/v1/apps");
    assert!(apps["broken"][0]["reason"].as_str().unwrap().contains("start"), "{apps}");
    assert_eq!(host.get("/spins/").status, 404);
    // It can be removed, and deployed again as something that starts.
    host.deploy_as("spins", "hello", &[]);
    host.get("/spins/").ok();
    host.terminate();
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn a_guest_that_begins_to_compute_at_its_start_costs_nobody_else() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let later = module(&host.data, "later.wasm", SPINS_LATER);
    until("it starts", || {
        let flags = ["deploy", &later, "--name", "later", "--timeout", "200ms", "--always-ready", "1"];
        (host.wfn(&flags).code == Some(0)).then_some(())
    });
    let load = Load::start(&host, "/hello/", 4, "Hello from wfn!\n");
    let mut seen = std::collections::BTreeSet::new();
    until("it has started, and failed to", || {
        let answer = host.get("/later/");
        seen.insert(answer.status);
        (seen.contains(&200) && seen.len() > 1).then_some(())
    });
    // Its time is over, whatever it was used for.
    assert!(seen.iter().all(|status| [200, 429, 504].contains(status)), "{seen:?}");
    assert!(load.end() > 0);
    until("it serves again", || (host.get("/later/").status == 200).then_some(()));
}
