//! Timers: a function is called when its schedule says so, never twice at once, and what was missed is made up for as the
//! manifest says.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Host, until};
use crate::upstream::{Sunk, Upstream};

/// The manifest of an app of the guest `fetch` whose timers hand their events to the upstream's `/sink`.
fn manifest(upstream: &Upstream, timers: &[(&str, &str)]) -> String {
    let mut manifest = format!("allowed_outbound_hosts = [\"{}\"]\n", upstream.url(""));
    for (name, settings) in timers {
        let url = upstream.url("/sink");
        let path = if settings.contains("path = ") { String::new() } else { as_path(&url) };
        manifest += &format!("[[trigger.timer]]\nname = {name:?}\n{path}{settings}\n");
    }
    manifest
}

fn as_path(url: &str) -> String {
    format!("path = \"/as?POST&{url}\"\n")
}

/// The events of one timer.
fn of(upstream: &Upstream, timer: &str) -> Vec<Sunk> {
    let is_of = |sunk: &Sunk| sunk.header("ce-source").ends_with(&format!("/timers/{timer}"));
    upstream.sunk().into_iter().filter(is_of).collect()
}

/// When an event was due, in seconds since 1970.
fn due(sunk: &Sunk) -> u64 {
    let ms: u64 = sunk.header("ce-id").parse().unwrap();
    assert_eq!(ms % 1_000, 0, "{ms}");
    ms / 1_000
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_schedule_calls_its_function_once_for_each_of_its_moments() {
    let (host, upstream) = (Host::start(), Upstream::start());
    host.deploy_with("shop", "fetch", &manifest(&upstream, &[("tick", "schedule = \"* * * * * *\"")]));
    let events = until("three runs", || Some(of(&upstream, "tick")).filter(|events| events.len() >= 3));
    let seconds: Vec<u64> = events.iter().map(due).collect();
    assert!(seconds.windows(2).all(|two| two[1] == two[0] + 1), "each second once: {seconds:?}");
    let first = &events[0];
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "wfn.timer.due"),
        ("ce-source", "/apps/shop/timers/tick"),
        ("ce-pastdue", "false"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    let data: Value = serde_json::from_str(&events[1].body).unwrap();
    assert_eq!((&data["schedule"], &data["time_zone"]), (&"* * * * * *".into(), &"UTC".into()));
    assert_eq!((&data["past_due"], &data["by_hand"]), (&false.into(), &false.into()));
    assert_eq!(data["due"], events[1].header("ce-time"));
    assert_eq!(data["last"], events[0].header("ce-time"));
    let shown = host.wfn(&["trigger", "ls", "shop"]).ok();
    assert!(shown.contains("tick") && shown.contains("* * * * * * UTC"), "{shown}");
    // With another schedule it goes by that, and without an app by none.
    host.deploy_with("shop", "fetch", &manifest(&upstream, &[("tick", "schedule = \"@yearly\"")]));
    let next_ms = || {
        let shown = host.wfn(&["trigger", "ls", "shop", "--json"]).json();
        shown["triggers"][0]["next_ms"].as_u64().unwrap_or_default()
    };
    until("the next run is far away", || (next_ms() > (now() + 3) * 1_000).then_some(()));
    let runs = of(&upstream, "tick").len();
    let later = now() + 2;
    until("two seconds later", || (now() >= later).then_some(()));
    assert_eq!(of(&upstream, "tick").len(), runs);
    host.wfn(&["rm", "shop", "-y"]).ok();
    host.deploy_with("shop", "fetch", &manifest(&upstream, &[("tick", "schedule = \"* * * * * *\"")]));
    let again = until("it runs again", || of(&upstream, "tick").get(runs).cloned());
    assert_eq!(again.header("ce-pastdue"), "false", "an app that was removed has missed nothing");
}

#[test]
fn a_timer_is_fired_by_hand_and_says_how_it_went() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let failing = format!("schedule = \"@yearly\"\n{}", as_path(&upstream.url("/sink?fail")));
    let slow = format!("schedule = \"@yearly\"\n{}", as_path(&upstream.url("/sink?slow%201500")));
    let timers = [
        ("nightly", "schedule = \"0 0 2 * * *\"\ntime_zone = \"Europe/Berlin\""),
        ("failing", failing.as_str()),
        ("slow", slow.as_str()),
    ];
    let queue = "queues = [\"work\"]\n";
    let functions = "[[trigger.queue]]\nname = \"work\"\n";
    host.deploy_with("shop", "fetch", &format!("{queue}{}{functions}", manifest(&upstream, &timers)));
    let before = host.wfn(&["trigger", "ls", "shop"]).ok();
    let said = host.wfn(&["trigger", "fire", "shop", "nightly"]).ok();
    assert!(said.starts_with("nightly has run in ") && said.contains("invocation "), "{said}");
    let events = of(&upstream, "nightly");
    let data: Value = serde_json::from_str(&events[0].body).unwrap();
    assert_eq!((events.len(), &data["by_hand"]), (1, &true.into()));
    assert_eq!(data["time_zone"], "Europe/Berlin");
    assert!(events[0].header("ce-id").ends_with("-by-hand"));
    assert_eq!(host.wfn(&["trigger", "ls", "shop"]).ok(), before, "the schedule goes on as before");

    let refused = host.wfn(&["trigger", "fire", "shop", "failing"]).refused();
    assert!(refused.contains("status 503") && refused.contains("[run-failed]"), "{refused}");
    assert!(host.logs("shop").contains("run of timer failing failed: status 503"));
    let shown = host.wfn(&["trigger", "ls", "shop"]).ok();
    assert!(shown.contains("status 503"), "{shown}");
    let unknown = host.wfn(&["trigger", "fire", "shop", "monthly"]).refused();
    assert!(unknown.contains("[no-such-timer]") && unknown.contains("nightly, failing, slow"), "{unknown}");
    assert!(host.wfn(&["trigger", "fire", "shop", "work"]).refused().contains("wfn queue send shop work"));

    std::thread::scope(|scope| {
        let first = scope.spawn(|| host.wfn(&["trigger", "fire", "shop", "slow"]).ok());
        until("it runs", || (of(&upstream, "slow").len() == 1).then_some(()));
        assert!(host.wfn(&["trigger", "fire", "shop", "slow"]).refused().contains("[timer-runs]"));
        first.join().unwrap();
    });
    assert_eq!(of(&upstream, "slow").len(), 1);
}

#[test]
fn runs_of_a_function_never_overlap_and_late_ones_say_so() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let settings = format!("schedule = \"* * * * * *\"\n{}", as_path(&upstream.url("/sink?slow%202300")));
    host.deploy_with("shop", "fetch", &manifest(&upstream, &[("slow", &settings)]));
    let events = until("three runs", || Some(of(&upstream, "slow")).filter(|events| events.len() >= 3));
    assert_eq!(upstream.most(), 1);
    for two in events.windows(2) {
        assert!(two[1].at - two[0].at >= Duration::from_millis(2_300));
    }
    let seconds: BTreeSet<u64> = events.iter().map(due).collect();
    assert_eq!(seconds.len(), events.len(), "no moment is run twice: {seconds:?}");
    assert!(
        events[1..].iter().all(|event| event.header("ce-pastdue") == "true"),
        "one run for those it missed"
    );
    assert!(host.logs("shop").contains("runs of timer slow were missed"), "{}", host.logs("shop"));
}

#[test]
fn what_a_killed_host_missed_is_made_up_for_as_the_manifest_says() {
    let upstream = Upstream::start();
    let timers = ["one", "all", "none"]
        .map(|missed| (missed, format!("schedule = \"* * * * * *\"\nmissed_runs = \"{missed}\"")));
    let timers: Vec<(&str, &str)> =
        timers.iter().map(|(name, settings)| (*name, settings.as_str())).collect();
    let host = Host::start();
    host.deploy_with("shop", "fetch", &manifest(&upstream, &timers));
    until("each has run", || timers.iter().all(|(name, _)| of(&upstream, name).len() >= 2).then_some(()));
    let data = host.kill();
    let killed = now();
    until("some runs are missed", || (now() >= killed + 4).then_some(()));
    let counts: Vec<usize> = timers.iter().map(|(name, _)| of(&upstream, name).len()).collect();
    let _host = Host::start_in(&data, &[]);
    let after = |index: usize| of(&upstream, timers[index].0)[counts[index]..].to_vec();
    until("each has run again", || (0..3).all(|index| after(index).len() >= 3).then_some(()));
    until("all are made up for", || (due(after(1).last().unwrap()) >= killed + 5).then_some(()));

    let one = after(0);
    assert_eq!((one[0].header("ce-pastdue"), one[1].header("ce-pastdue")), ("true", "false"));
    assert!(due(&one[0]) >= killed + 3, "it stands for the latest");
    let all: Vec<u64> = of(&upstream, "all").iter().map(due).collect();
    let each: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(
        each.len() as u64,
        each.last().unwrap() - each.first().unwrap() + 1,
        "none is left out: {all:?}"
    );
    assert!(all.len() - each.len() <= 1, "only the run that was cut off may have come twice: {all:?}");
    let none: Vec<u64> = after(2).iter().map(due).collect();
    assert!(none.iter().all(|due| *due >= killed + 3), "killed in {killed}: {none:?}");
}

#[test]
fn a_run_that_a_kill_cut_off_comes_again() {
    let upstream = Upstream::start();
    let settings = format!("schedule = \"* * * * * *\"\n{}", as_path(&upstream.url("/sink?slow%2020000")));
    let host = Host::start();
    host.deploy_with("shop", "fetch", &manifest(&upstream, &[("long", &settings)]));
    until("it runs", || (of(&upstream, "long").len() == 1).then_some(()));
    let data = host.kill();
    let killed = now();
    until("it is late", || (now() >= killed + 3).then_some(()));
    let _host = Host::start_in(&data, &[]);
    let again = until("it comes again", || of(&upstream, "long").get(1).cloned());
    assert_eq!(again.header("ce-pastdue"), "true");
    assert!(due(&again) >= due(&of(&upstream, "long")[0]));
}
