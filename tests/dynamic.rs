//! Dynamic concurrency: the host finds how many invocations an instance has in flight, says what it does, and remembers.

use crate::harness::{Host, Request, until};
use crate::upstream::Upstream;

/// Deploys the guest `fetch` as `shop` with a queue of dynamic concurrency in one instance.
#[track_caller]
fn deploy(host: &Host, upstream: &Upstream) {
    let manifest = format!(
        "queues = [\"work\"]\nallowed_outbound_hosts = [\"{}\"]\n\
         [[trigger.queue]]\nname = \"work\"\nconcurrency = \"dynamic\"\npath = \"/as?POST&{}\"\n[scale]\nmax_instances = 1\n",
        upstream.url(""),
        upstream.url("/sink")
    );
    host.deploy_with("shop", "fetch", &manifest);
}

fn concurrency(host: &Host) -> u64 {
    host.admin_get("/v1/apps/shop")["groups"][1]["concurrency"].as_u64().unwrap()
}

#[test]
fn a_waiting_function_gets_more_at_once_and_the_next_start_goes_on_from_there() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, &upstream);
    assert_eq!(concurrency(&host), 1);
    // So much that it lasts: one at a time would take minutes.
    for _ in 0..400 {
        let answer = Request::new("POST", "/v1/apps/shop/queues/work")
            .header("authorization", &format!("Bearer {}", host.token()))
            .body("slow 500")
            .send(&host.admin);
        assert_eq!(answer.status, 200);
    }
    until("it is tried with one at a time first", || (upstream.sunk().len() >= 2).then_some(()));
    assert_eq!(upstream.most(), 1);
    // Whether the machine is healthy is not up to this test; whether the steps are taken and told is.
    let log =
        until("a step is told", || Some(host.logs("shop")).filter(|log| log.contains("Host.Concurrency")));
    assert!(log.contains("function:work concurrency increased from 1 to 2, 1 in flight"), "{log}");
    until("more are under way at once", || (upstream.most() >= 2).then_some(()));
    let stored = until("what was found is stored", || {
        let database = rusqlite::Connection::open(host.data.path().join("wfn.db")).unwrap();
        let query = "SELECT value FROM learned_concurrency WHERE app = 'shop' AND grp = 'function:work'";
        database.query_row(query, [], |row| row.get::<_, u32>(0)).ok().filter(|value| *value >= 2)
    });
    let data = host.kill();
    let host = Host::start_in(&data, &[]);
    let begun = concurrency(&host);
    assert!(begun >= u64::from(stored), "it goes on from {stored}");
    // What it finds is not stored yet when it is told, unless the host ends in order.
    let found = until("another step", || Some(concurrency(&host)).filter(|found| *found > begun));
    host.terminate();
    let data = host.data.clone();
    assert_eq!(host.ended(), Some(0));
    let host = Host::start_in(&data, &[]);
    assert!(concurrency(&host) >= found, "it goes on from {found}");
    // A new revision goes on from there, too.
    deploy(&host, &upstream);
    assert!(concurrency(&host) >= found);
    let refused = host.wfn(&["scale", "shop", "--concurrency", "many"]);
    assert!(refused.stderr.contains("or dynamic"), "{}", refused.stderr);
}

#[test]
fn http_can_be_dynamic_and_each_group_has_its_own() {
    let host = Host::start();
    host.deploy("hello", &["--concurrency", "dynamic", "--always-ready", "1"]);
    let group = host.group("hello");
    assert_eq!((&group["concurrency"], &group["concurrency_is_dynamic"]), (&1.into(), &true.into()));
    assert_eq!(host.get("/hello").status, 200);
    let shown = host.wfn(&["status", "hello"]).ok();
    assert!(shown.contains("dynamic"), "{shown}");
    host.wfn(&["scale", "hello", "--concurrency", "4"]).ok();
    assert_eq!(host.group("hello")["concurrency"], 4);
    let scaled = host.wfn(&["scale", "hello", "--concurrency", "dynamic"]).ok();
    assert!(scaled.contains("dynamic"), "{scaled}");
    assert_eq!(host.group("hello")["concurrency"], 1);
}
