//! Batches of messages: several in one request, as JSON where they are, acknowledged together or in part.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Host, Request};
use crate::queues::{deploy, deploy_with, held, send, until_delivered};
use crate::upstream::Upstream;

#[test]
fn a_batch_comes_in_one_request_and_may_fail_in_part() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy_with(&host, "shop", "queues = [\"work\"]");
    for number in 0..25 {
        send(&host, "shop", if number == 3 { "fail 2" } else { "fine" });
    }
    deploy(
        &host,
        "shop",
        &upstream,
        "batch = true\nbatch_size = 10\nretry_delay = \"20ms\"\n[scale]\nmax_instances = 2",
    );
    until_delivered(&host, "shop");
    let sizes: Vec<usize> = upstream
        .sunk()
        .iter()
        .map(|event| serde_json::from_str::<Vec<Value>>(&event.body).unwrap().len())
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 25 + 2, "one came three times: {sizes:?}");
    assert!(sizes.len() <= 6 && sizes.iter().all(|size| *size <= 10), "{sizes:?}");
    assert_eq!(upstream.sunk()[0].header("content-type"), "application/cloudevents-batch+json");
    assert_eq!(held(&host, "shop"), (0, 0));
}

#[test]
fn what_is_json_in_a_batch_is_decided_by_its_media_type() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy_with(&host, "shop", "queues = [\"work\"]");
    let types = [
        ("application/json", true),
        ("Application/JSON; charset=UTF-8", true),
        ("application/vnd.shop.order+json", true),
        ("application/problem+JSON;x=y", true),
        ("text/plain", false),
        ("application/jsonp", false),
    ];
    for (content_type, _) in types {
        let request = Request::new("POST", "/v1/apps/shop/queues/work").header("content-type", content_type);
        let token = format!("Bearer {}", host.token());
        request.header("authorization", &token).body("{\"a\": 1}").send(&host.admin).ok();
    }
    deploy(&host, "shop", &upstream, "batch = true");
    until_delivered(&host, "shop");
    let batches = upstream.sunk();
    let events = batches.iter().flat_map(|batch| serde_json::from_str::<Vec<Value>>(&batch.body).unwrap());
    let found: BTreeMap<String, Value> = events
        .map(|event| (event["datacontenttype"].as_str().unwrap().to_owned(), event["data"].clone()))
        .collect();
    for (content_type, is_json) in types {
        let expected = if is_json { serde_json::json!({ "a": 1 }) } else { "{\"a\": 1}".into() };
        assert_eq!(found.get(content_type), Some(&expected), "{content_type}");
    }
}
