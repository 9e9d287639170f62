//! Functions of blobs: each version of a blob is one event, whatever happens to the host.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{DataDir, Host, Request, until};
use crate::upstream::Upstream;

/// Deploys the guest `fetch` as `shop`, whose function `seen` hands each event of container `photos` to the upstream's
/// `/sink`.
#[track_caller]
fn deploy(host: &Host, upstream: &Upstream, settings: &str) {
    let manifest = format!(
        "blob_containers = [\"photos\"]\nallowed_outbound_hosts = [\"{}\"]\n\
         [[trigger.blob]]\nname = \"seen\"\ncontainer = \"photos\"\npath = \"/as?POST&{}\"\n{settings}\n",
        upstream.url(""),
        upstream.url("/sink")
    );
    host.deploy_with("shop", "fetch", &manifest);
}

fn put(host: &Host, name: &str, body: &str) -> Option<String> {
    let answer = Request::new("PUT", &format!("/v1/apps/shop/blobs/photos/{name}"))
        .header("authorization", &format!("Bearer {}", host.token()))
        .header("content-type", "image/x-own")
        .body(body)
        .try_send(&host.admin)
        .ok()?;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    answer.header("etag").map(str::to_owned)
}

/// The data of every event.
fn events(upstream: &Upstream) -> Vec<Value> {
    upstream.sunk().iter().map(|sunk| serde_json::from_str(&sunk.body).unwrap()).collect()
}

#[test]
fn each_version_of_a_blob_is_one_event_however_it_was_written() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, &upstream, "prefix = \"in/\"\nsuffix = \".png\"");
    let first = put(&host, "in/a%20b.png", "one").unwrap();
    put(&host, "out/a.png", "other");
    put(&host, "in/a.txt", "other");
    let second = put(&host, "in/a%20b.png", "one").unwrap();
    let by_guest = "/shop/as?PUT&http://wfn.internal/blobs/photos/in/g.png";
    let answer = Request::new("POST", by_guest)
        .header("content-type", "image/png")
        .body("guest")
        .send(&host.functions);
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    until("three events", || (events(&upstream).len() == 3).then_some(()));
    let event = |name: &str, etag: &str, bytes: u64, content_type: &str| json!({ "container": "photos", "name": name, "etag": etag, "bytes": bytes, "content_type": content_type });
    let mut all = events(&upstream);
    all.sort_by_key(|event| event["etag"].to_string());
    assert_eq!(
        all[..2],
        [event("in/a b.png", &first, 3, "image/x-own"), event("in/a b.png", &second, 3, "image/x-own")]
    );
    assert_eq!((&all[2]["name"], &all[2]["bytes"]), (&"in/g.png".into(), &5.into()));
    let sunk = upstream.sunk();
    let of_first = sunk.iter().find(|sunk| sunk.body.contains(&first.replace('"', "\\\""))).unwrap();
    for (name, value) in [
        ("ce-type", "wfn.blob.written"),
        ("ce-source", "/apps/shop/blobs/photos"),
        ("ce-subject", "in/a%20b.png"),
        ("ce-deliverycount", "1"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(of_first.header(name), value, "{name}");
    }
    // Deleting is none, and a refused write is none.
    let refused = Request::new("PUT", "/v1/apps/shop/blobs/photos/in/a%20b.png")
        .header("authorization", &format!("Bearer {}", host.token()))
        .header("if-match", &first)
        .body("stale")
        .send(&host.admin);
    assert_eq!(refused.status, 412);
    host.wfn(&["blob", "rm", "shop", "photos", "in/g.png"]).ok();
    put(&host, "in/last.png", "last");
    until("the next event", || (events(&upstream).len() >= 4).then_some(()));
    assert_eq!(events(&upstream)[3]["name"], "in/last.png");
    let shown = host.wfn(&["trigger", "ls", "shop"]).ok();
    assert!(shown.contains("photos/in/*.png"), "{shown}");
    let groups = host.wfn(&["status", "shop", "--json"]).json()["groups"].clone();
    assert_eq!(groups[1]["group"], "function:seen");
}

#[test]
fn an_event_that_fails_comes_again_and_ends_as_a_dead_letter() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let manifest = format!(
        "blob_containers = [\"photos\"]\nallowed_outbound_hosts = [\"{}\"]\n\
         [[trigger.blob]]\nname = \"seen\"\ncontainer = \"photos\"\npath = \"/as?POST&{}\"\n\
         max_deliveries = 2\nretry_delay = \"20ms\"\n",
        upstream.url(""),
        upstream.url("/sink?fail")
    );
    host.deploy_with("shop", "fetch", &manifest);
    let etag = put(&host, "a.png", "one").unwrap();
    let dead = || host.wfn(&["queue", "dead", "shop", "seen"]).ok();
    let dead = until("it is a dead letter", || Some(dead()).filter(|dead| !dead.is_empty()));
    assert!(dead.contains("2 failed: status 503") && dead.contains("a.png"), "{dead}");
    assert_eq!(events(&upstream).len(), 2);
    deploy(&host, &upstream, "");
    host.wfn(&["queue", "replay", "shop", "seen"]).ok();
    until("it is delivered", || (events(&upstream).len() == 3).then_some(()));
    assert_eq!(events(&upstream)[2]["etag"], etag.as_str());
    let listed = host.wfn(&["queue", "ls", "shop", "--json"]).json();
    until("nothing is left", || {
        let listed = host.wfn(&["queue", "ls", "shop", "--json"]).json();
        (listed["queues"][0]["messages"] == 0 && listed["queues"][0]["dead"] == 0).then_some(())
    });
    assert_eq!(listed["queues"][0]["queue"], "seen");
}

#[test]
fn no_version_that_was_answered_is_without_an_event_after_kills() {
    let upstream = Upstream::start();
    let data = DataDir::new();
    let mut answered: BTreeMap<String, String> = BTreeMap::new();
    let kills: usize = std::env::var("WFN_TEST_KILLS").map_or(20, |kills| kills.parse().unwrap());
    for round in 0..kills {
        let host = Host::start_in(&data, &[]);
        if round == 0 {
            deploy(&host, &upstream, "");
        }
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let host = &host;
                    scope.spawn(move || {
                        let mut put_by_me = Vec::new();
                        for number in 0.. {
                            let name = format!("{round}-{writer}-{number}");
                            match put(host, &name, "x") {
                                Some(etag) => put_by_me.push((name, etag)),
                                None => break,
                            }
                        }
                        put_by_me
                    })
                })
                .collect();
            let seen = upstream.sunk().len();
            until("some events", || (upstream.sunk().len() >= seen + 3 + round % 5).then_some(()));
            let killed = std::process::Command::new("kill").args(["-KILL", &host.pid().to_string()]).status();
            assert!(killed.unwrap().success());
            for writer in writers {
                answered.extend(writer.join().unwrap());
            }
        });
    }
    let host = Host::start_in(&data, &[]);
    until("every event is delivered", || {
        let listed = host.wfn(&["queue", "ls", "shop", "--json"]).json();
        (listed["queues"][0]["messages"] == 0).then_some(())
    });
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events(&upstream) {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        told.entry(text("name")).or_default().push(text("etag"));
    }
    for (name, etag) in &answered {
        assert!(
            told.get(name).is_some_and(|tags| tags.contains(etag)),
            "{name} was answered and nobody told"
        );
    }
    // Events are of what is there, and each has one message: twice only what a kill interrupted.
    let twice = told.values().filter(|tags| tags.len() > 1).count();
    assert!(twice <= kills * 24, "{twice} of {} came twice", told.len());
    for tags in told.values() {
        assert!(tags.windows(2).all(|two| two[0] == two[1]), "one version each: {tags:?}");
    }
}
