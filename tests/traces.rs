//! Traces: what comes in goes through and out, and a collector hears of it.

use serde_json::Value;

use crate::harness::{Host, Load, Request, metric, until};
use crate::upstream::Upstream;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// All spans that came to the collector.
fn spans(collector: &Upstream) -> Vec<Value> {
    let bodies = collector.sunk().into_iter().map(|sunk| serde_json::from_str::<Value>(&sunk.body).unwrap());
    let mut spans = Vec::new();
    for body in bodies {
        for resource in body["resourceSpans"].as_array().unwrap() {
            for scope in resource["scopeSpans"].as_array().unwrap() {
                spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
    }
    spans
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
    found.map_or(&Value::Null, |attribute| attribute["value"].as_object().unwrap().values().next().unwrap())
}

/// Calls the app `fetch`, which asks the upstream for the headers that it sees.
fn fetch(host: &Host, upstream: &Upstream, flags: &str) -> String {
    let request = Request::get(&format!("/fetch/get?{}", upstream.url("/headers")));
    request.header("traceparent", &traceparent(flags)).send(&host.functions).ok()
}

fn deploy(host: &Host, upstream: &Upstream) {
    host.deploy("fetch", &["--allow-outbound", &upstream.url("")]);
}

#[test]
fn what_comes_in_goes_through_and_out_and_is_told() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    let endpoint = collector.url("");
    let host = Host::start_with(&["--otlp-endpoint", &endpoint, "--otlp-headers", "x-key=secret"]);
    deploy(&host, &upstream);
    let seen = fetch(&host, &upstream, "01");
    let spans = until("the collector has them", || {
        let spans = spans(&collector);
        (spans.len() >= 3).then_some(spans)
    });
    let of_kind = |kind: u64| spans.iter().find(|span| span["kind"] == kind).unwrap();
    let (server, client) = (of_kind(2), of_kind(3));
    for span in &spans {
        assert_eq!(span["traceId"], TRACE, "{span}");
    }
    assert_eq!(server["parentSpanId"], CALLER);
    assert_eq!(client["parentSpanId"], server["spanId"]);
    // The upstream is told to go on from the request, not from the caller.
    let client_id = client["spanId"].as_str().unwrap();
    assert!(seen.contains(&format!("00-{TRACE}-{client_id}-01")), "{seen}");
    assert_eq!(
        (attribute(server, "faas.name"), attribute(server, "wfn.outcome")),
        (&"fetch".into(), &"answered".into())
    );
    assert_eq!(attribute(server, "faas.coldstart"), true, "{server}");
    assert_eq!(attribute(server, "messaging.system"), &Value::Null);
    let start = spans.iter().find(|span| span["name"] == "start a worker").unwrap();
    assert_eq!(start["parentSpanId"], server["spanId"]);
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time(server, "startTimeUnixNano") <= time(client, "startTimeUnixNano"));
    assert!(time(client, "endTimeUnixNano") <= time(server, "endTimeUnixNano"));
    assert_eq!(collector.sunk()[0].header("x-key"), "secret");
}

#[test]
fn what_its_caller_does_not_record_is_passed_on_and_not_told() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    let host = Host::start_with(&["--otlp-endpoint", &collector.url(""), "--trace-share", "1"]);
    deploy(&host, &upstream);
    let seen = fetch(&host, &upstream, "00");
    assert!(seen.contains(TRACE) && seen.contains("-00\""), "{seen}");
    // One that begins here is told; then all before it would have been, too.
    host.get(&format!("/fetch/get?{}", upstream.url("/ok"))).ok();
    let spans = until("the collector has some", || {
        let spans = spans(&collector);
        (!spans.is_empty()).then_some(spans)
    });
    assert!(spans.iter().all(|span| span["traceId"] != TRACE), "{spans:?}");
}

#[test]
fn of_a_trace_that_is_not_sent_nothing_is_passed_on() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    let host = Host::start_with(&["--otlp-endpoint", &collector.url(""), "--trace-share", "0"]);
    deploy(&host, &upstream);
    let none = host.get(&format!("/fetch/get?{}", upstream.url("/headers"))).ok();
    assert!(!none.contains("traceparent"), "{none}");
    host.terminate();
    host.ended();
    assert!(collector.sunk().is_empty());
}

#[test]
fn failures_are_told_and_a_host_that_ends_tells_the_rest() {
    let collector = Upstream::start();
    let host = Host::start_with(&["--otlp-endpoint", &collector.url("")]);
    host.deploy("faults", &[]);
    host.get("/faults/trap");
    host.terminate();
    host.ended();
    let spans = spans(&collector);
    let failed = spans.iter().find(|span| attribute(span, "wfn.outcome") == "trapped").unwrap();
    assert_eq!(failed["status"]["code"], 2, "{failed}");
    assert!(failed["status"]["message"].as_str().unwrap().contains("unreachable"), "{failed}");
}

#[test]
fn without_a_collector_the_trace_of_the_caller_is_passed_on_as_it_is() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, &upstream);
    let seen = fetch(&host, &upstream, "01");
    assert!(seen.contains(&traceparent("01")), "{seen}");
    let none = host.get(&format!("/fetch/get?{}", upstream.url("/headers"))).ok();
    assert!(!none.contains("traceparent"), "{none}");
}

/// Calls the app `fetch` in a trace of which others say `states`; gives the headers that the upstream sees.
fn fetch_with_state(host: &Host, upstream: &Upstream, traceparent: &str, states: &[&str]) -> String {
    let request = Request::get(&format!("/fetch/get?{}", upstream.url("/headers")));
    let request = request.header("traceparent", traceparent);
    states
        .iter()
        .fold(request, |request, state| request.header("tracestate", state))
        .send(&host.functions)
        .ok()
}

#[test]
fn what_other_tracers_say_is_passed_on_within_its_bounds() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    let endpoint = collector.url("");
    for flags in [&[][..], &["--otlp-endpoint", endpoint.as_str()]] {
        let host = Host::start_with(flags);
        deploy(&host, &upstream);
        let asked =
            |traceparent: &str, states: &[&str]| fetch_with_state(&host, &upstream, traceparent, states);
        let seen = asked(&traceparent("01"), &["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "last=1"]);
        assert!(
            seen.contains("\"tracestate\": \"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,last=1\""),
            "{seen}"
        );
        let long = format!("long={}", "x".repeat(250));
        let seen = asked(&traceparent("00"), &["a=1", &long, "b=2", &long, "c=3"]);
        assert!(seen.contains(&format!("\"a=1,{long},b=2,c=3\"")), "{seen}");
        let many: Vec<String> = (0..33).map(|number| format!("k{number}=1")).collect();
        for (traceparent, states) in [
            (traceparent("01"), many.join(",")),
            (traceparent("01"), "no member".to_owned()),
            ("00-not-a-trace-01".to_owned(), "a=1".to_owned()),
        ] {
            let seen = asked(&traceparent, &[&states]);
            assert!(!seen.contains("tracestate"), "{traceparent} {states}: {seen}");
        }
    }
}

#[test]
fn deliveries_are_told_as_what_they_are() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    let host = Host::start_with(&["--otlp-endpoint", &collector.url("")]);
    let path = format!("path = \"/as?POST&{}\"", upstream.url("/sink"));
    let manifest = format!(
        "queues = [\"work\", \"much\"]\nblob_containers = [\"photos\"]\nallowed_outbound_hosts = [\"{}\"]\n\
         [[trigger.queue]]\nname = \"one\"\nqueue = \"work\"\n{path}\n\
         [[trigger.queue]]\nname = \"many\"\nqueue = \"much\"\nbatch = true\n{path}\n\
         [[trigger.blob]]\nname = \"seen\"\ncontainer = \"photos\"\n{path}\n\
         [[trigger.timer]]\nname = \"yearly\"\nschedule = \"@yearly\"\n{path}\n",
        upstream.url("")
    );
    host.deploy_with("shop", "fetch", &manifest);
    host.wfn(&["queue", "send", "shop", "work", "by hand", "--id", "first"]).ok();
    host.wfn(&["queue", "send", "shop", "much", "by hand"]).ok();
    let file = tempfile::NamedTempFile::new().unwrap();
    host.wfn(&["blob", "put", "shop", "photos", "a.png", file.path().to_str().unwrap()]).ok();
    host.wfn(&["trigger", "fire", "shop", "yearly"]).ok();
    let of_group = |spans: &[Value], function: &str| -> Option<Value> {
        let group = format!("function:{function}");
        spans.iter().find(|span| attribute(span, "wfn.group") == group.as_str()).cloned()
    };
    let told = until("all are told", || {
        let spans = spans(&collector);
        ["one", "many", "seen", "yearly"]
            .into_iter()
            .map(|name| of_group(&spans, name))
            .collect::<Option<Vec<_>>>()
    });
    for (span, kind, name, from) in [
        (&told[0], 5, "process work", Some("work")),
        (&told[1], 5, "process much", Some("much")),
        (&told[2], 5, "process photos", Some("photos")),
        (&told[3], 1, "timer of shop", None),
    ] {
        assert_eq!((&span["kind"], &span["name"]), (&kind.into(), &name.into()), "{span}");
        let destination = attribute(span, "messaging.destination.name");
        assert_eq!(destination, &from.map_or(Value::Null, Value::from), "{span}");
        let expected = from.map_or(Value::Null, |_| "process".into());
        assert_eq!(attribute(span, "messaging.operation.type"), &expected, "{span}");
        assert_eq!(attribute(span, "faas.name"), "shop", "{span}");
        assert_eq!(attribute(span, "url.path"), &Value::Null, "{span}");
        assert_eq!(span.get("droppedAttributesCount"), None, "{span}");
    }
    assert_eq!(attribute(&told[0], "messaging.message.id"), "first");
    assert_eq!(attribute(&told[1], "messaging.batch.message_count"), "1");
    // What the functions have sent is part of the same.
    let all = spans(&collector);
    let client = all.iter().find(|span| span["kind"] == 3 && span["parentSpanId"] == told[0]["spanId"]);
    assert!(client.is_some_and(|client| client["traceId"] == told[0]["traceId"]), "{all:?}");
}

fn dropped(host: &Host) -> u64 {
    metric(&host.metrics(), "wfn_trace_spans_dropped_total") as u64
}

#[test]
fn what_a_collector_refuses_is_counted() {
    let collector = Upstream::start();
    let host = Host::start_with(&["--otlp-endpoint", &collector.url("/refusing")]);
    host.deploy("hello", &["--always-ready", "1"]);
    assert_eq!(dropped(&host), 0);
    for _ in 0..3 {
        host.get("/hello/").ok();
    }
    until("the spans were refused", || (dropped(&host) >= 3).then_some(()));
    assert_eq!(dropped(&host), 3, "one for each invocation");
}

#[test]
fn a_collector_that_never_answers_costs_its_spans_and_nothing_else() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let collector = format!("http://{}", silent.local_addr().unwrap());
    let host = Host::start_with(&["--otlp-endpoint", &collector, "--trace-share", "1"]);
    host.deploy("hello", &[]);
    // What finds no room is dropped at once, long before a batch is given up.
    let load = Load::start(&host, "/hello/", 8, "Hello from wfn!\n");
    until("there is no room for more", || (dropped(&host) > 0).then_some(()));
    let answered = load.end();
    until("all have ended", || (host.number("hello", "in_flight") == 0).then_some(()));
    // Those that wait, and those on their way.
    let kept = 8_192 + 512;
    assert!(answered > 8_192 && dropped(&host) + kept >= answered, "{answered}, {}", dropped(&host));
}
