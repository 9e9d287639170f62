//! Queues: what is acknowledged is delivered, in order, until it succeeds or is a dead letter; nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Connection, DataDir, Host, Request, guest, until};
use crate::upstream::Upstream;

/// Deploys the guest `fetch` as `app`, whose function `work` hands each message to the upstream's `/sink`.
#[track_caller]
pub fn deploy(host: &Host, app: &str, upstream: &Upstream, trigger: &str) {
    let (sink, allowed) = (upstream.url("/sink"), upstream.url(""));
    let manifest = format!(
        "queues = [\"work\"]\nallowed_outbound_hosts = [\"{allowed}\"]\n\
         [[trigger.queue]]\nname = \"work\"\npath = \"/as?POST&{sink}\"\n{trigger}\n"
    );
    deploy_with(host, app, &manifest);
}

#[track_caller]
pub fn deploy_with(host: &Host, app: &str, manifest: &str) {
    host.deploy_with(app, "fetch", manifest);
}

/// Calls the admin API for the queue `work` of `app`.
pub fn admin(host: &Host, method: &str, path: &str, body: &str) -> crate::harness::Answer {
    Request::new(method, &format!("/v1/apps/{path}"))
        .header("authorization", &format!("Bearer {}", host.token()))
        .body(body)
        .send(&host.admin)
}

pub fn send(host: &Host, app: &str, body: &str) -> Value {
    serde_json::from_str(&admin(host, "POST", &format!("{app}/queues/work"), body).ok()).unwrap()
}

/// Messages and dead letters of the queue `work`.
pub fn held(host: &Host, app: &str) -> (u64, u64) {
    let shown = host.wfn(&["queue", "ls", app, "--json"]).json();
    let queue = &shown["queues"][0];
    (queue["messages"].as_u64().unwrap(), queue["dead"].as_u64().unwrap())
}

pub fn until_delivered(host: &Host, app: &str) {
    until("every message is delivered", || (held(host, app).0 == 0).then_some(()));
}

#[test]
fn a_message_is_an_event_for_the_function_however_it_was_sent() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "");
    let sent =
        host.wfn(&["queue", "send", "shop", "work", "by hand", "--id", "first", "--session", "s 1"]).ok();
    assert_eq!(sent, "sent first to work\n");
    let by_guest = "/shop/as?POST&http://wfn.internal/queues/work";
    let answer = Request::new("POST", by_guest)
        .header("content-type", "text/x-own")
        .body("by guest")
        .send(&host.functions);
    assert_eq!(answer.status, 202, "{}", answer.text());
    send(&host, "shop", "by API");
    until_delivered(&host, "shop");
    let sunk = upstream.sunk();
    let bodies: BTreeSet<&str> = sunk.iter().map(|event| event.body.as_str()).collect();
    assert_eq!((sunk.len(), bodies), (3, BTreeSet::from(["by API", "by guest", "by hand"])));
    let of = |body: &str| sunk.iter().find(|event| event.body == body).unwrap();
    let first = of("by hand");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "first"),
        ("ce-type", "wfn.queue.message"),
        ("ce-source", "/apps/shop/queues/work"),
        ("ce-partitionkey", "s%201"),
        ("ce-deliverycount", "1"),
        ("content-type", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    assert!(first.header("ce-time").ends_with('Z'), "{}", first.header("ce-time"));
    assert_eq!(of("by guest").header("content-type"), "text/x-own");
    let groups = host.wfn(&["status", "shop", "--json"]).json()["groups"].clone();
    assert_eq!((&groups[1]["group"], &groups[1]["concurrency"]), (&"function:work".into(), &24.into()));
    assert_eq!(host.number("shop", "failed"), 0);
}

#[test]
fn a_failed_delivery_comes_again_until_it_is_a_dead_letter() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "max_deliveries = 3\nretry_delay = \"20ms\"\n");
    send(&host, "shop", "fail 2");
    send(&host, "shop", "fail 9");
    send(&host, "shop", "fine");
    until("one is a dead letter", || (held(&host, "shop") == (0, 1)).then_some(()));
    let counts = |body: &str| -> Vec<String> {
        let of = upstream.sunk().into_iter().filter(|event| event.body == body);
        of.map(|event| event.header("ce-deliverycount").to_owned()).collect()
    };
    assert_eq!(
        (counts("fail 2"), counts("fail 9"), counts("fine").len()),
        (vec!["1".into(), "2".into(), "3".into()], vec!["1".into(), "2".into(), "3".into()], 1)
    );
    let firsts: BTreeSet<String> = upstream
        .sunk()
        .iter()
        .filter(|event| event.body == "fail 2")
        .map(|event| event.header("ce-firstdelivery").to_owned())
        .collect();
    assert_eq!(firsts.len(), 1, "each says when the first was");
    let dead = host.wfn(&["queue", "dead", "shop", "work"]).ok();
    assert!(dead.contains("fail 9") && dead.contains("3 failed: status 503"), "{dead}");
    let log = host.logs("shop");
    assert!(log.contains("delivery 3") && log.contains("it is a dead letter now"), "{log}");
    // Once more, from the beginning.
    assert_eq!(host.wfn(&["queue", "replay", "shop", "work"]).ok(), "1 dead letter is delivered again\n");
    until("it is a dead letter again", || {
        (counts("fail 9").len() == 6 && held(&host, "shop") == (0, 1)).then_some(())
    });
    assert!(host.wfn(&["queue", "replay", "shop", "work", "no"]).refused().contains("[no-such-message]"));
    assert_eq!(host.wfn(&["queue", "purge", "shop", "work", "--dead"]).ok(), "removed 1 message\n");
    assert_eq!(held(&host, "shop"), (0, 0));
}

#[test]
fn messages_wait_for_their_time_end_with_it_and_are_stored_once() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "");
    let post =
        |query: &str, body: &str| admin(&host, "POST", &format!("shop/queues/work?{query}"), body).ok();
    post("delay=1.5", "later");
    post("", "now");
    until("the second is there", || (upstream.sunk().len() == 1).then_some(()));
    let waiting = host.wfn(&["queue", "peek", "shop", "work", "--waiting"]).ok();
    assert!(
        waiting.contains("later") && host.wfn(&["queue", "peek", "shop", "work"]).ok().is_empty(),
        "{waiting}"
    );
    until_delivered(&host, "shop");
    let sunk = upstream.sunk();
    assert_eq!((sunk[0].body.as_str(), sunk[1].body.as_str()), ("now", "later"));
    assert!(sunk[1].at - sunk[0].at > Duration::from_millis(1_000), "it comes at its time, never before");

    assert!(post("id=a", "one").contains("\"duplicate\":false"));
    assert!(post("id=a", "two").contains("\"duplicate\":true"));
    until_delivered(&host, "shop");
    assert!(post("id=a", "three").contains("\"duplicate\":true"), "also after it was delivered");
    let said = host.wfn(&["queue", "send", "shop", "work", "four", "--id", "a"]).ok();
    assert_eq!(said, "a was sent before: nothing was stored\n");
    assert_eq!(upstream.sunk().iter().filter(|event| event.header("ce-id") == "a").count(), 1);

    // Nobody takes it in time: its function is gone. Then it is not held any more, whoever looks.
    deploy_with(&host, "shop", "queues = [\"work\"]");
    post("ttl=60", "in time");
    post("ttl=0.2", "short");
    post("ttl=0.2&delay=0.1", "short, too");
    post("", "long");
    until("their time is over", || (held(&host, "shop") == (2, 2)).then_some(()));
    let peeked = host.wfn(&["queue", "peek", "shop", "work"]).ok();
    assert!(!peeked.contains("short") && peeked.contains("long") && peeked.contains("in time"), "{peeked}");
    assert_eq!(host.wfn(&["queue", "peek", "shop", "work", "--waiting"]).ok(), "");
    // A host that was not there sees to it when it starts.
    post("ttl=0.3", "short, and the host is gone");
    let host = Host::start_in(&host.kill(), &[]);
    until("its time is over", || (held(&host, "shop") == (2, 3)).then_some(()));
    deploy(&host, "shop", &upstream, "");
    until_delivered(&host, "shop");
    let dead = host.wfn(&["queue", "dead", "shop", "work"]).ok();
    assert!(dead.contains("short") && dead.contains("its time to live was over"), "{dead}");
    let was_delivered = |body: &str| upstream.sunk().iter().any(|event| event.body == body);
    assert!(was_delivered("long") && was_delivered("in time") && !was_delivered("short"));
}

#[test]
fn the_example_books_every_order_once_and_from_its_queue_alone() {
    let host = Host::start();
    host.wfn(&["deploy", crate::harness::root().join("guest-examples/rust/orders").to_str().unwrap()]).ok();
    let json = |path: &str| Request::new("POST", path).header("content-type", "application/json");
    let order = "{\"article\":\"lamp\",\"quantity\":3}";
    for _ in 0..20 {
        let answer = json("/orders/orders").body(order).send(&host.functions);
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    until("all are booked", || (host.get("/orders/sold/lamp").ok() == "60\n").then_some(()));
    for name in ["wfn-trigger", "Wfn-Trigger"] {
        let forged = json("/orders/book").header(name, "book").header("ce-id", "x");
        let answer = forged.header("ce-deliverycount", "1").body(order).send(&host.functions);
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let answer = json("/orders/orders").body("{\"article\":\"a/b\",\"quantity\":1}").send(&host.functions);
    assert_eq!(answer.status, 422);
    assert_eq!(host.get("/orders/sold/lamp").ok(), "60\n");
}

#[test]
fn one_at_a_time_is_in_order() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "max_in_flight = 1");
    for number in 0..300 {
        send(&host, "shop", &number.to_string());
    }
    until_delivered(&host, "shop");
    let bodies: Vec<String> = upstream.sunk().into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(upstream.most(), 1);
}

#[test]
fn the_backlog_decides_how_many_instances_there_are_and_http_has_its_own() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let scale = "batch_size = 2\nnew_batch_threshold = 1\n[scale]\nmax_instances = 5\n";
    deploy(&host, "shop", &upstream, scale);
    let group = |name: &str| {
        host.wfn(&["status", "shop", "--json"]).json()["groups"][if name == "http" { 0 } else { 1 }].clone()
    };
    for _ in 0..7 {
        send(&host, "shop", "slow 2000");
    }
    until("all are in flight", || (group("work")["in_flight"] == 7).then_some(()));
    assert_eq!(group("work")["instances"], 3, "7 messages, 3 to an instance");
    assert_eq!(group("http")["instances"], 0);
    for _ in 0..60 {
        send(&host, "shop", "slow 1000");
    }
    until("every instance is busy", || (group("work")["in_flight"] == 15).then_some(()));
    // Its queue holds every instance that it may have; those of HTTP are others.
    assert_eq!(host.get(&format!("/shop/get?{}", upstream.url("/ok"))).ok(), "ok from upstream");
    until_delivered(&host, "shop");
    assert_eq!((group("work")["instances_peak"].as_u64(), upstream.sunk().len()), (Some(5), 67));
    assert!(upstream.most() <= 16, "15 messages and one call");
    assert_eq!(host.number("shop", "throttled"), 0);
}

#[test]
fn nobody_sends_to_a_queue_that_was_not_granted() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "");
    let ask = |queue: &str| {
        Request::new("POST", &format!("/guest/as?POST&http://wfn.internal/queues/{queue}"))
            .body("x")
            .send(&host.functions)
    };
    deploy_with(&host, "guest", "");
    for queue in ["work", "shop%2Fwork"] {
        let refused = ask(queue);
        assert_eq!((refused.status, refused.code().as_str()), (403, "access-denied"), "{queue}");
    }
    assert!(host.logs("guest").contains("queues = ["), "{}", host.logs("guest"));
    deploy_with(&host, "guest", "queues = [\"shop/work\"]");
    assert_eq!(ask("shop%2Fwork").status, 403, "the owner does not share it");
    let sink = upstream.url("/sink");
    deploy_with(
        &host,
        "shop",
        &format!(
            "queues = [\"work\"]\nallowed_outbound_hosts = [\"{}\"]\n[share.queues]\nwork = [\"guest\"]\n[[trigger.queue]]\nname = \"work\"\npath = \"/as?POST&{sink}\"\n",
            upstream.url("")
        ),
    );
    assert_eq!(ask("shop%2Fwork").status, 202);
    until("it is delivered to its owner", || (upstream.sunk().len() == 1).then_some(()));
}

#[test]
fn a_queue_changes_its_function_and_the_host_ends_while_messages_wait() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let deploy_as = |function: &str, path: &str| {
        let (sink, allowed) = (upstream.url(path), upstream.url(""));
        deploy_with(
            &host,
            "shop",
            &format!(
                "queues = [\"work\"]\nallowed_outbound_hosts = [\"{allowed}\"]\n[[trigger.queue]]\nname = \"{function}\"\n\
             queue = \"work\"\npath = \"/as?POST&{sink}\"\nsession = true\nretry_delay = \"10m\"\n"
            ),
        );
    };
    for (round, function) in ["one", "two", "one", "three"].into_iter().enumerate() {
        deploy_as(function, "/sink");
        send(&host, "shop", function);
        until("the new function has it", || (upstream.sunk().len() == round + 1).then_some(()));
    }
    until_delivered(&host, "shop");
    // One of a session waits for ten minutes, in its app's next life, too; neither the end of this one nor the host's waits for
    // it.
    admin(&host, "POST", "shop/queues/work?session=s", "fail 1").ok();
    until("it failed once", || (upstream.sunk().len() == 5).then_some(()));
    host.wfn(&["rm", "shop", "-y"]).ok();
    deploy_as("one", "/sink");
    admin(&host, "POST", "shop/queues/work?session=t", "of another").ok();
    until("others are delivered in the next life", || (upstream.sunk().len() == 6).then_some(()));
    until("it waits still", || (held(&host, "shop") == (1, 0)).then_some(()));
    admin(&host, "POST", "shop/queues/work?session=u", "fail 1").ok();
    until("it failed once", || (upstream.sunk().len() == 7).then_some(()));
    host.terminate();
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn bad_messages_and_triggers_are_refused() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "");
    let post = |query: &str, body: &[u8]| {
        let path = format!("/v1/apps/shop/queues/work?{query}");
        let request =
            Request::new("POST", &path).header("authorization", &format!("Bearer {}", host.token()));
        request.body(body).send(&host.admin)
    };
    let large = vec![b'x'; 256 * 1024 + 1];
    assert_eq!(post("", &large[1..]).status, 200);
    for (query, body, status, code) in [
        ("", &large[..], 413, "message-too-large"),
        ("id=%00", b"", 400, "invalid-message"),
        ("id=", b"", 400, "invalid-message"),
        (&format!("session={}", "s".repeat(257)), b"", 400, "invalid-message"),
        ("delay=700000", b"", 400, "bad-request"),
        ("delay=-1", b"", 400, "bad-request"),
        ("ttl=0", b"", 400, "invalid-message"),
        ("ttl=soon", b"", 400, "bad-request"),
    ] {
        let answer = post(query, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query}: {}", answer.text());
    }
    assert!(
        host.wfn(&["queue", "send", "shop", "wrok", "x"])
            .refused()
            .contains("its queues are work [no-such-queue]")
    );
    assert!(host.wfn(&["queue", "send", "nobody", "work", "x"]).refused().contains("[no-app]"));
    until_delivered(&host, "shop");
    assert_eq!(upstream.sunk().len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wfn.toml");
    for (manifest, why) in [
        ("[[trigger.queue]]\nname = \"work\"", "add it to queues"),
        ("queues = [\"work\"]\n[[trigger.queue]]\nname = \"work\"\nbatch_size = 501", "1 to 500"),
        ("queues = [\"work\"]\n[[trigger.queue]]\nname = \"work\"\npath = \"work\"", "path of a URL"),
        ("queues = [\"work\"]\n[[trigger.queue]]\nname = \"work\"\nretry = \"never\"", "`exponential`"),
    ] {
        fs::write(&file, format!("name = \"other\"\nmodule = {:?}\n{manifest}", guest("fetch"))).unwrap();
        let refused = host.wfn(&["deploy", file.to_str().unwrap()]);
        assert!(refused.code != Some(0) && refused.stderr.contains(why), "{manifest}: {}", refused.stderr);
    }
}

#[test]
fn a_queue_outlives_revisions_restarts_and_its_app() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy_with(&host, "shop", "queues = [\"work\"]");
    send(&host, "shop", "kept");
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(held(&host, "shop"), (1, 0), "nobody takes it");
    deploy(&host, "shop", &upstream, "");
    until_delivered(&host, "shop");
    // Revisions change while messages come; none is lost and none comes twice.
    thread::scope(|scope| {
        let sending =
            scope.spawn(|| (0..200).for_each(|number| drop(send(&host, "shop", &format!("n{number}")))));
        while !sending.is_finished() {
            deploy(&host, "shop", &upstream, "");
        }
    });
    until_delivered(&host, "shop");
    let bodies: Vec<String> = upstream.sunk().into_iter().map(|event| event.body).collect();
    let distinct: BTreeSet<&String> = bodies.iter().collect();
    assert_eq!((bodies.len(), distinct.len()), (201, 201));
    deploy_with(&host, "shop", "queues = [\"work\"]");
    send(&host, "shop", "kept");
    host.wfn(&["rm", "shop", "-y"]).ok();
    deploy_with(&host, "shop", "queues = [\"work\"]");
    assert_eq!(held(&host, "shop"), (1, 0), "what was sent stays for the app's next life");
    host.wfn(&["rm", "shop", "-y", "--with-data"]).ok();
    deploy_with(&host, "shop", "queues = [\"work\"]");
    assert_eq!(held(&host, "shop"), (0, 0));
}

/// How often the host is killed: `WFN_TEST_KILLS=1000` for the long form.
fn kills() -> u64 {
    std::env::var("WFN_TEST_KILLS").map_or(50, |count| count.parse().unwrap())
}

/// Kills the host while clients send and a function is called: what was acknowledged is delivered, and again only what
/// was under way at a kill.
#[test]
fn kill_9_loses_no_acknowledged_message() {
    const CLIENTS: u64 = 8;
    let (data, upstream) = (DataDir::new(), Upstream::start());
    let mut host = Some(Host::start_in(&data, &[]));
    deploy(host.as_ref().unwrap(), "shop", &upstream, "max_in_flight = 32");
    let (numbers, acknowledged) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    for round in 0..kills() {
        let living = host.take().unwrap();
        let (address, token, is_killed) = (living.admin.clone(), living.token(), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut connection = Connection::open(&address);
                    while !is_killed.load(Ordering::Relaxed) {
                        let name = format!("m{}", numbers.fetch_add(1, Ordering::Relaxed));
                        let request = format!(
                            "POST /v1/apps/shop/queues/work HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{name}",
                            name.len()
                        );
                        let answer = connection.try_write(request.as_bytes()).and_then(|()| connection.read_answer());
                        match answer {
                            Ok(answer) => {
                                assert_eq!(answer.status, 200, "{}", answer.text());
                                acknowledged.lock().unwrap().insert(name);
                            }
                            Err(_) => return,
                        }
                    }
                });
            }
            // Some number of them, another in each round.
            let wanted = upstream.sunk().len() + 50 + (round as usize * 37) % 200;
            until("enough are delivered", || (upstream.sunk().len() >= wanted).then_some(()));
            living.kill();
            is_killed.store(true, Ordering::Relaxed);
        });
        host = Some(Host::start_in(&data, &[]));
    }
    until_delivered(host.as_ref().unwrap(), "shop");
    let mut deliveries = BTreeMap::<String, u64>::new();
    for event in upstream.sunk() {
        *deliveries.entry(event.body).or_default() += 1;
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !deliveries.contains_key(*name)).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    let again: u64 = deliveries.values().map(|count| count - 1).sum();
    // Under way are those in flight, and those whose removal the commit at the kill would have held.
    let under_way = kills() * (32 + 256);
    assert!(again <= under_way, "{again} of {} were delivered again", acknowledged.len());
    eprintln!("{} acknowledged, {} kills, {again} delivered again", acknowledged.len(), kills());
}
