//! A split: a second revision takes an exact share of the HTTP requests, and no request is lost with it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Connection, DataDir, Held, Host, Load, Request, guest, run, until};

/// Deploys revisions `one` and `two` of an app that says which it is, the second one as a canary.
fn split_host(percent: &str) -> Host {
    let host = Host::start();
    host.deploy("faults", &["-e", "V=one"]);
    host.deploy("faults", &["-e", "V=two", "--canary", percent]);
    host
}

/// How many of a hundred requests, one after the other, the revision `two` answers.
#[track_caller]
fn of_a_hundred(host: &Host) -> usize {
    let answers = (0..100).map(|_| host.get("/faults/env?key=V").ok().trim().to_owned());
    let answers: Vec<String> = answers.collect();
    assert!(answers.iter().all(|answer| answer == "one" || answer == "two"), "{answers:?}");
    answers.iter().filter(|answer| *answer == "two").count()
}

fn percents(host: &Host) -> Vec<Value> {
    let versions = host.wfn(&["versions", "faults", "--json"]).json();
    versions["revisions"].as_array().unwrap().iter().map(|revision| revision["percent"].clone()).collect()
}

#[test]
fn a_second_revision_takes_exactly_its_share_until_it_has_none_or_all() {
    let host = split_host("10");
    assert_eq!(of_a_hundred(&host), 10);
    host.wfn(&["split", "faults", "25"]).ok();
    assert_eq!(of_a_hundred(&host), 25);
    assert_eq!(percents(&host), [25, 75]);
    assert_eq!(host.number("faults", "invocations"), 200, "counts are of the app, whoever answers");
    let ended = host.wfn(&["split", "faults", "0"]).ok();
    assert!(ended.contains("serves revision 1, the split with revision 2 has ended"), "{ended}");
    assert_eq!(of_a_hundred(&host), 0);
    assert_eq!(percents(&host), [0, 100]);
    // The latest is found by itself, also for all of the requests.
    host.wfn(&["split", "faults", "99"]).ok();
    assert_eq!(of_a_hundred(&host), 99);
    let promoted = host.wfn(&["split", "faults", "100"]).ok();
    assert!(promoted.contains("faults serves revision 2: http://"), "{promoted}");
    assert_eq!(of_a_hundred(&host), 100);
    assert_eq!(host.admin_get("/v1/apps/faults")["split"], Value::Null);
    // The way back can be gone in steps, too.
    host.wfn(&["split", "faults", "60", "--revision", "1"]).ok();
    assert_eq!(of_a_hundred(&host), 40);
    let log = host.logs("faults");
    for line in [
        "revision 2 takes 10 % of the HTTP requests beside revision 1",
        "revision 2 takes 25 % of the HTTP requests beside revision 1",
        "revision 2 takes no more HTTP requests, revision 1 takes all",
        "revision 2 is active",
        "revision 1 takes 60 % of the HTTP requests beside revision 2",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[test]
fn a_split_is_seen_wherever_the_app_is() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "1"]);
    let said =
        host.wfn(&["deploy", &guest("hello"), "--canary", "20", "--always-ready", "2", "--memory", "4096"]);
    let said = said.ok();
    let expected =
        "deployed hello revision 2 (p2) beside revision 1, revision 2 takes 20 % of the HTTP requests: http";
    assert!(said.starts_with(expected), "{said}");
    for _ in 0..10 {
        host.get("/hello/").ok();
    }
    let status = host.wfn(&["status", "hello"]).ok();
    assert!(status.contains("split       20 % of the HTTP requests to 2 (p2), made 2"), "{status}");
    assert!(status.lines().any(|line| line.starts_with("http (2)")), "{status}");
    let split = host.admin_get("/v1/apps/hello")["split"].clone();
    let numbers = ["revision", "percent", "instances", "always_ready", "memory_mb"].map(|key| &split[key]);
    assert_eq!(numbers, [2, 20, 2, 2, 4096]);
    let versions = host.wfn(&["versions", "hello"]).ok();
    assert!(versions.contains("serves 20 %") && versions.contains("serves 80 %"), "{versions}");
    let listed = host.wfn(&["ls"]).ok();
    let row: Vec<&str> = listed.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(row[..8], ["hello", "1,", "20", "%", "2", "p2", "2048", "3"], "{listed}");
    let top = host.wfn(&["top", "--once"]).ok();
    assert!(top.contains("hello (2)"), "{top}");
    let invocations = host.wfn(&["invocations", "hello", "--json"]).ok();
    assert!(
        invocations.contains("\"revision\":1") && invocations.contains("\"revision\":2"),
        "{invocations}"
    );
    host.wfn(&["rm", "hello", "-y"]).ok();
    until("nothing of both is left", || {
        (host.admin_get("/v1/host")["memory_reserved_mb"] == 0).then_some(())
    });
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let host = split_host("10");
    host.deploy_as("other", "faults", &[]);
    let before = host.admin_get("/v1/apps/faults/revisions");
    let module = guest("faults");
    let wrong = [
        (vec!["split", "faults", "101"], "0 to 100"),
        (vec!["split", "faults", "-1"], "0 to 100"),
        (vec!["split", "faults", "half"], "0 to 100"),
        (vec!["split", "faults"], "PERCENT"),
        (vec!["deploy", &module, "--canary", "0"], "1 to 99"),
        (vec!["deploy", &module, "--canary", "100"], "1 to 99"),
    ];
    for (arguments, part) in wrong {
        let output = host.wfn(&arguments);
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:#?}");
        assert!(output.stderr.contains(part), "{arguments:?}: {}", output.stderr);
    }
    let refused = [
        (vec!["split", "faults", "10", "--revision", "7"], "[no-revision]", "no revision 7"),
        (vec!["split", "faults", "10", "--revision", "1"], "[already-active]", "revision 1"),
        (vec!["split", "faults", "100", "--revision", "1"], "[already-active]", "name another"),
        (vec!["split", "faults", "0", "--revision", "1"], "[no-split]", "wfn status faults"),
        (vec!["split", "nobody", "10"], "[no-app]", "nobody"),
        (vec!["split", "other", "0"], "[no-split]", "other"),
        (vec!["split", "other", "10"], "[no-revision]", "--canary PERCENT"),
        (vec!["deploy", &module, "--name", "first", "--canary", "10"], "[no-app]", "without --canary"),
        (vec!["bench", "faults", "--concurrency", "1,2"], "faults is split", "wfn split faults 0"),
    ];
    for (arguments, code, part) in refused {
        let message = host.wfn(&arguments).refused();
        assert!(message.contains(code) && message.contains(part), "{arguments:?}: {message}");
    }
    let post = |body: &str| {
        let request = Request::new("POST", "/v1/apps/faults/split").header("wfn-token", &host.token());
        request.body(body).send(&host.admin)
    };
    for body in [
        r#"{"percent":101}"#,
        r#"{"percent":-1}"#,
        r#"{"percent":10.5}"#,
        r#"{"percent":"10"}"#,
        r#"{"percent":18446744073709551615}"#,
        r#"{"percent":10,"revision":-1}"#,
        r#"{"percent":10,"weight":1}"#,
        "{}",
        "",
    ] {
        let answer = post(body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-json"), "{body}");
    }
    let answer = Request::new("POST", "/v1/apps/faults/split").body(r#"{"percent":50}"#).send(&host.admin);
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
    let tried = host.wfn(&["deploy", &module, "--name", "faults", "--canary", "50", "--dry-run"]).ok();
    assert!(tried.contains("revision 3 (p2) beside revision 1; nothing has changed"), "{tried}");
    assert_eq!(host.admin_get("/v1/apps/faults/revisions"), before);
    assert_eq!(of_a_hundred(&host), 10);
}

#[test]
fn no_request_is_lost_while_a_split_begins_changes_ends_and_takes_over() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "1"]);
    let load = Load::start(&host, "/hello", 4, "Hello from wfn!\n");
    let module = guest("hello");
    for _ in 0..10 {
        host.wfn(&["deploy", &module, "--canary", "50", "--always-ready", "1"]).ok();
        host.wfn(&["split", "hello", "80"]).ok();
        host.wfn(&["split", "hello", "0"]).ok();
        host.wfn(&["split", "hello", "30"]).ok();
        host.wfn(&["split", "hello", "100"]).ok();
    }
    let answered = load.end();
    let group = host.group("hello");
    assert_eq!((&group["invocations"], &group["failed"]), (&answered.into(), &0.into()), "{group}");
    assert_eq!(host.admin_get("/v1/apps/hello")["revision"], 11);
    until("old pools are gone", || (host.admin_get("/v1/host")["memory_reserved_mb"] == 2048).then_some(()));
}

#[test]
fn instances_that_are_warm_stay_when_the_second_revision_takes_over() {
    let host = Host::start();
    host.deploy("echo", &[]);
    host.deploy("echo", &["--canary", "99", "--concurrency", "1"]);
    let held = Held::begin(&host, "echo");
    let in_flight = |status: &Value| status["split"]["in_flight"].as_u64().unwrap_or_default();
    // The first of a hundred may be of the active one.
    let held = [held, Held::begin(&host, "echo")];
    until("one is in flight there", || (in_flight(&host.admin_get("/v1/apps/echo")) >= 1).then_some(()));
    host.wfn(&["split", "echo", "100"]).ok();
    assert!(host.number("echo", "in_flight") >= 1, "its pool is that of the active revision now");
    for answer in Held::end_all(held.into()) {
        assert_eq!(answer.ok(), "begun");
    }
}

#[test]
fn a_deploy_and_a_roll_back_end_a_split_and_changes_of_settings_go_on_with_it() {
    let host = split_host("10");
    // Settings of the active one, and secrets of both.
    let scaled = host.wfn(&["scale", "faults", "--concurrency", "3"]).ok();
    assert!(scaled.contains("revision 3: --concurrency 3, revision 2 takes 10 %"), "{scaled}");
    let command = format!(
        "printf later | {} --server http://{} --data-dir {} secret put faults S",
        env!("CARGO_BIN_EXE_wfn"),
        host.admin,
        host.data.path().display()
    );
    let set = run(Command::new("sh").args(["-c", &command])).ok();
    assert!(set.contains("revision 4, revision 2 takes 10 %"), "{set}");
    assert_eq!(of_a_hundred(&host), 10);
    for _ in 0..20 {
        assert_eq!(host.get("/faults/env?key=S").ok().trim(), "later");
    }
    assert_eq!(host.group("faults")["concurrency"], 3);
    assert_eq!(host.admin_get("/v1/apps/faults")["split"]["concurrency"], 16);
    // Back from a canary is what was there before it, not what was before that.
    let back = host.wfn(&["rollback", "faults"]).ok();
    assert!(back.contains("serves revision 4 (p2) again, the split with revision 2 has ended"), "{back}");
    assert_eq!(of_a_hundred(&host), 0);
    host.wfn(&["split", "faults", "40", "--revision", "2"]).ok();
    host.wfn(&["rollback", "faults", "1"]).ok();
    assert_eq!((of_a_hundred(&host), percents(&host)), (0, vec![0.into(), 0.into(), 0.into(), 100.into()]));
    host.wfn(&["split", "faults", "40", "--revision", "2"]).ok();
    let deployed = host.wfn(&["deploy", &guest("faults"), "-e", "V=two"]).ok();
    assert!(deployed.contains("revision 5 (p2), the split with revision 2 has ended: http"), "{deployed}");
    assert_eq!(of_a_hundred(&host), 100);
    // One canary after another.
    host.deploy("faults", &["-e", "V=one", "--canary", "20"]);
    let second = host.deploy("faults", &["-e", "V=one", "--canary", "30"]);
    assert_eq!(
        (&second["revision"], &second["active"], &second["split_ended"]),
        (&7.into(), &5.into(), &6.into())
    );
    assert_eq!(of_a_hundred(&host), 70);
}

#[test]
fn hosts_are_those_of_the_active_revision() {
    let host = Host::start();
    host.deploy("hello", &["--host", "a.example"]);
    host.deploy("hello", &["--host", "b.example", "--canary", "50"]);
    let status = |name: &str| {
        let mut connection = Connection::open(&host.functions);
        connection.write(format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n").as_bytes());
        connection.read_answer().unwrap().status
    };
    assert_eq!((status("a.example"), status("b.example")), (200, 404));
    host.deploy_as("other", "hello", &["--host", "b.example"]);
    let taken = host.wfn(&["split", "hello", "100"]).refused();
    assert!(taken.contains("[host-taken]") && taken.contains("other"), "{taken}");
    host.wfn(&["rm", "other", "-y"]).ok();
    host.wfn(&["split", "hello", "100"]).ok();
    assert_eq!((status("a.example"), status("b.example")), (404, 200));
}

#[test]
fn functions_of_triggers_are_those_of_the_active_revision() {
    let host = Host::start();
    let timer = "[[trigger.timer]]\nname = \"tick\"\nschedule = \"@yearly\"\npath = \"/ok\"\n";
    host.deploy_with("faults", "faults", timer);
    host.deploy("faults", &["--canary", "99"]);
    for _ in 0..5 {
        host.wfn(&["trigger", "fire", "faults", "tick"]).ok();
        host.get("/faults/ok").ok();
    }
    let seen = host.admin_get("/v1/apps/faults/invocations");
    let seen = seen["invocations"].as_array().unwrap();
    let of =
        |group: &str| seen.iter().filter(|one| one["group"] == group).map(|one| &one["revision"]).collect();
    let (timers, http): (Vec<_>, Vec<_>) = (of("function:tick"), of("http"));
    assert!(!timers.is_empty() && timers.iter().all(|revision| **revision == 1), "{timers:?}");
    assert!(http.iter().any(|revision| **revision == 2), "{http:?}");
    host.wfn(&["split", "faults", "100"]).ok();
    host.wfn(&["trigger", "fire", "faults", "tick"]).refused();
}

#[test]
fn both_revisions_count_in_the_quota() {
    let host = Host::start_with(&["--memory-quota-mb", "8192"]);
    host.deploy("hello", &["--always-ready", "2"]);
    let module = guest("hello");
    let refused = host.wfn(&["deploy", &module, "--canary", "5", "--always-ready", "3"]).refused();
    let sum = "2 always-ready × 2,048 MB + 3 always-ready × 2,048 MB = 10,240 MB > quota 8,192 MB";
    assert!(refused.contains(sum), "{refused}");
    host.deploy("hello", &["--canary", "5", "--always-ready", "2"]);
    let refused = host.wfn(&["deploy", &guest("echo"), "--always-ready", "1"]).refused();
    assert!(refused.contains("with 8,192 MB of always-ready instances of other apps"), "{refused}");
    host.wfn(&["split", "hello", "0"]).ok();
    host.deploy("echo", &["--always-ready", "1"]);
}

#[test]
fn a_revision_that_serves_is_kept_however_old_it_is() {
    let host = split_host("10");
    for i in 0..55 {
        host.wfn(&["scale", "faults", "--timeout", if i % 2 == 0 { "10s" } else { "20s" }]).ok();
    }
    let ids = |host: &Host| -> Vec<u64> {
        let versions = host.admin_get("/v1/apps/faults/revisions");
        versions["revisions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["revision"].as_u64().unwrap())
            .collect()
    };
    assert_eq!((ids(&host).len(), ids(&host).last()), (51, Some(&2)));
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(of_a_hundred(&host), 10);
    host.wfn(&["split", "faults", "0"]).ok();
    assert_eq!(ids(&host).len(), 50);
}

#[test]
fn a_split_survives_kill_9() {
    let host = split_host("10");
    host.wfn(&["split", "faults", "35"]).ok();
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!((of_a_hundred(&host), percents(&host)), (35, vec![35.into(), 65.into()]));
    assert_eq!(host.deploy("faults", &["-e", "V=one"])["revision"], 3, "numbers go on");
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!((of_a_hundred(&host), percents(&host)), (0, vec![100.into(), 0.into(), 0.into()]));
    host.wfn(&["rm", "faults", "-y"]).ok();
}

#[test]
fn kill_9_while_shares_change_leaves_one_that_was_asked_for() {
    let data = DataDir::new();
    let host = Host::start_in(&data, &[]);
    host.deploy("faults", &["-e", "V=one"]);
    host.deploy("faults", &["-e", "V=two", "--canary", "1"]);
    host.kill();
    let mut asked = 1;
    for round in 0..8 {
        let host = Host::start_in(&data, &[]);
        let (admin, token) = (host.admin.clone(), host.token());
        let first = asked;
        let changer = std::thread::spawn(move || {
            let mut acknowledged = first;
            loop {
                let next = acknowledged % 99 + 1;
                let request = Request::new("POST", "/v1/apps/faults/split").header("wfn-token", &token);
                match request.body(json!({ "percent": next }).to_string()).try_send(&admin) {
                    Ok(answer) if answer.status == 200 => acknowledged = next,
                    _ => return acknowledged,
                }
            }
        });
        // Some requests: moments that differ from round to round.
        for _ in 0..7 * round {
            host.get("/faults/env?key=V").ok();
        }
        host.kill();
        let acknowledged = changer.join().unwrap();
        let host = Host::start_in(&data, &[]);
        asked = host.admin_get("/v1/apps/faults")["split"]["percent"].as_u64().unwrap();
        let next = acknowledged % 99 + 1;
        assert!(
            asked == acknowledged || asked == next,
            "round {round}: {acknowledged} was acknowledged, {asked} is there"
        );
        assert_eq!(of_a_hundred(&host) as u64, asked, "round {round}");
    }
}

#[test]
fn a_second_revision_that_cannot_come_back_does_not_keep_the_app_away() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy_as("hello", "faults", &["--canary", "50"]);
    let module = host.admin_get("/v1/apps/hello")["split"]["module"].as_str().unwrap().to_owned();
    let data = host.kill();
    fs::remove_dir_all(data.path().join("artifacts")).unwrap();
    fs::remove_file(data.path().join(format!("modules/{module}.wasm"))).unwrap();
    let host = Host::start_in(&data, &[]);
    for _ in 0..10 {
        assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    }
    let status = host.admin_get("/v1/apps/hello");
    assert_eq!((&status["revision"], &status["split"]), (&1.into(), &Value::Null));
    assert!(host.logs("hello").contains("revision 2 cannot be brought back, its split has ended"));
    let refused = host.wfn(&["split", "hello", "50"]).refused();
    assert!(refused.contains(&module), "{refused}");
    // The end is stored: the module alone does not bring the split back.
    host.deploy("faults", &[]);
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(host.admin_get("/v1/apps/hello")["split"], Value::Null);
    host.wfn(&["split", "hello", "50"]).ok();
}
