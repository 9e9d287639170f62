//! Settings and secrets: given to the app's own guests, encrypted on disk, shown to nobody.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::commands;
use crate::harness::{Host, Output, until};

/// Long and odd enough to be found anywhere.
const VALUE: &str = "correct-horse-battery-staple";

/// Runs `wfn secret …` with `input` as standard input.
fn secret(host: &Host, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wfn"))
        .args(["--server", &format!("http://{}", host.admin), "--data-dir"])
        .arg(host.data.path())
        .arg("secret")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn settings_reach_the_guest_in_every_way() {
    let host = Host::start();
    host.deploy("settings", &["-e", "GREETING=hello", "-e", "OTHER=x"]);
    for way in ["env", "config", "http"] {
        assert_eq!(host.get(&format!("/settings/{way}/GREETING")).ok(), "hello");
        assert_eq!(host.get(&format!("/settings/{way}/MISSING")).status, 404, "{way}");
    }
    assert_eq!(host.get("/settings/config").ok(), "GREETING OTHER");
}

#[test]
fn a_secret_is_served_at_once_as_a_new_revision() {
    let host = Host::start();
    host.deploy("settings", &["-e", "TOKEN=from the manifest"]);
    assert_eq!(host.get("/settings/env/TOKEN").ok(), "from the manifest");
    let said = secret(&host, &["put", "settings", "TOKEN"], &format!("{VALUE}\n")).ok();
    assert!(said.contains("revision 2") && !said.contains(VALUE), "{said}");
    for way in ["env", "config", "http"] {
        assert_eq!(host.get(&format!("/settings/{way}/TOKEN")).ok(), VALUE);
    }
    // It stays with the app through redeploys, roll-backs and restarts.
    host.deploy("settings", &[]);
    assert_eq!(host.get("/settings/env/TOKEN").ok(), VALUE);
    host.wfn(&["rollback", "settings", "1"]).ok();
    assert_eq!(host.get("/settings/env/TOKEN").ok(), VALUE);
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(host.get("/settings/env/TOKEN").ok(), VALUE);
    let said = secret(&host, &["rm", "settings", "TOKEN"], "").ok();
    assert!(said.contains("removed TOKEN"), "{said}");
    assert_eq!(host.get("/settings/env/TOKEN").ok(), "from the manifest");
    let refused = secret(&host, &["rm", "settings", "TOKEN"], "").refused();
    assert!(refused.contains("has no secret TOKEN"), "{refused}");
}

#[test]
fn many_are_imported_as_one_change_even_before_the_first_deploy() {
    let host = Host::start();
    let lines = "# a comment\nONE=1111\n\nexport TWO=\"22 22\"\nTHREE='3=3'\n";
    let said = secret(&host, &["import", "settings"], lines).ok();
    assert!(said.contains("when it is deployed"), "{said}");
    host.deploy("settings", &[]);
    for (name, value) in [("ONE", "1111"), ("TWO", "22 22"), ("THREE", "3=3")] {
        assert_eq!(host.get(&format!("/settings/env/{name}")).ok(), value);
    }
    assert_eq!(host.admin_get("/v1/apps/settings")["revision"], 1);
    let listed = secret(&host, &["list", "settings"], "").ok();
    assert!(listed.contains("THREE") && !listed.contains("3=3"), "{listed}");
    let status = host.wfn(&["status", "settings"]).ok();
    assert!(status.contains("ONE") && !status.contains("1111"), "{status}");
}

#[test]
fn no_other_app_has_it_and_it_goes_with_the_app() {
    let host = Host::start();
    host.deploy_as("one", "settings", &[]);
    host.deploy_as("two", "settings", &[]);
    secret(&host, &["put", "one", "TOKEN"], VALUE).ok();
    assert_eq!(host.get("/one/env/TOKEN").ok(), VALUE);
    for way in ["env", "config", "http"] {
        assert_eq!(host.get(&format!("/two/{way}/TOKEN")).status, 404);
    }
    host.wfn(&["rm", "one", "-y"]).ok();
    host.deploy_as("one", "settings", &[]);
    assert_eq!(host.get("/one/env/TOKEN").status, 404);
}

#[test]
fn its_value_is_in_no_file_no_answer_and_no_log() {
    let host = Host::start();
    host.deploy("settings", &[]);
    secret(&host, &["put", "settings", "TOKEN"], VALUE).ok();
    host.get("/settings/print/TOKEN").ok();
    assert_eq!(host.get("/settings/trap/TOKEN").status, 500);
    let logs = until("the panic is in the log", || {
        Some(host.logs("settings")).filter(|logs| logs.contains("the value is"))
    });
    assert!(logs.contains("[secret TOKEN]") && !logs.contains(VALUE), "{logs}");
    for path in [
        "/v1/apps/settings",
        "/v1/apps",
        "/v1/apps/settings/revisions",
        "/v1/apps/settings/secrets",
        "/v1/host",
    ] {
        assert!(!host.admin_get(path).to_string().contains(VALUE), "{path}");
    }
    let data = host.kill();
    let mut folders = vec![data.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
            assert!(!found, "{} holds the value", path.display());
        }
    }
    assert!(files >= 4, "{files} files were read");
}

#[test]
fn another_key_breaks_the_app_and_nothing_else_and_the_right_one_repairs_it() {
    let host = Host::start();
    host.deploy("settings", &[]);
    host.deploy("hello", &[]);
    secret(&host, &["put", "settings", "TOKEN"], VALUE).ok();
    let data = host.kill();
    let key = data.path().join("secret.key");
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, [7; 32]).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    assert_eq!(host.get("/settings/env/TOKEN").status, 404);
    let refused = host.wfn(&["status", "settings"]).refused();
    assert!(refused.contains("secret TOKEN cannot be decrypted"), "{refused}");
    let data = host.kill();
    std::fs::write(&key, right).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/settings/env/TOKEN").ok(), VALUE);
}

#[test]
fn a_lost_key_is_mended_by_setting_the_secrets_again() {
    let host = Host::start();
    host.deploy("settings", &[]);
    secret(&host, &["put", "settings", "TOKEN"], VALUE).ok();
    secret(&host, &["put", "settings", "OTHER"], "other").ok();
    let data = host.kill();
    std::fs::remove_file(data.path().join("secret.key")).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/settings/env/TOKEN").status, 404);
    secret(&host, &["put", "settings", "TOKEN"], "new").ok();
    let refused = host.wfn(&["status", "settings"]).refused();
    assert!(refused.contains("secret OTHER cannot be decrypted"), "{refused}");
    // With the last one it is served again, at once.
    secret(&host, &["rm", "settings", "OTHER"], "").ok();
    assert_eq!(host.get("/settings/env/TOKEN").ok(), "new");
    assert_eq!(host.get("/settings/env/OTHER").status, 404);
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(host.get("/settings/env/TOKEN").ok(), "new");
}

#[test]
fn what_cannot_be_a_secret_is_refused_and_changes_nothing() {
    let host = Host::start();
    host.deploy("settings", &[]);
    let long = "x".repeat(40_000);
    let cases: [(&[&str], &str, &str); 6] = [
        (&["put", "settings", "1A"], "v", "letters, digits"),
        (&["put", "settings", "A"], "", "no value"),
        (&["put", "settings", "A"], "a\0b", "without NUL"),
        (&["put", "settings", "A"], &long, "up to 32768 bytes"),
        (&["import", "settings"], "A=1\nnonsense\n", "line 2"),
        (&["put", "Settings", "A"], "v", "a-z"),
    ];
    for (arguments, input, expected) in cases {
        let output = secret(&host, arguments, input);
        assert!(output.code != Some(0) && output.stderr.contains(expected), "{arguments:?}: {output:?}");
    }
    assert_eq!(host.admin_get("/v1/apps/settings")["revision"], 1);
    assert_eq!(host.admin_get("/v1/apps/settings/secrets")["secrets"].as_array().unwrap().len(), 0);
}

/// No part of `value` of five characters and more, as a reader of all lines together would find it.
#[track_caller]
fn assert_hidden(text: &str, value: &str) {
    let joined: String = text.lines().collect();
    for start in 0..value.len() - 4 {
        let part = &value[start..start + 5];
        assert!(!joined.contains(part), "{part:?} of {value:?} is in {text}");
    }
}

#[test]
fn a_value_that_lies_across_a_cut_is_in_no_piece_of_the_line() {
    let host = Host::start();
    host.deploy("settings", &[]);
    secret(&host, &["put", "settings", "TOKEN"], VALUE).ok();
    // A line is cut after 8,192 bytes.
    for letters in (8_192 - VALUE.len()..=8_192).step_by(3) {
        host.get(&format!("/settings/long/{letters}/TOKEN")).ok();
    }
    let count = (VALUE.len() / 3) + 1;
    let texts = until("all are told", || {
        let lines = host.wfn(&["logs", "settings", "--stream", "stdout", "-o", "json"]).ok();
        let texts: Vec<String> = lines
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
            })
            .collect();
        // A cut may fall into these words, too.
        (texts.concat().matches(" and after").count() == count).then_some(texts)
    });
    assert!(texts.iter().all(|text| text.len() <= 8_192));
    let all = texts.concat();
    assert_hidden(&all, VALUE);
    assert_eq!(all.matches("[secret TOKEN]").count(), count);
}

#[test]
fn a_value_is_hidden_however_it_is_escaped() {
    let host = Host::start();
    let value = "open \"sesame\" \\ now";
    host.deploy("settings", &[]);
    secret(&host, &["put", "settings", "TOKEN"], value).ok();
    host.get("/settings/print/TOKEN").ok();
    host.get("/settings/json/TOKEN").ok();
    assert_eq!(host.get("/settings/trap/TOKEN").status, 500);
    let logs = until("the panic is in the log", || {
        Some(host.logs("settings")).filter(|logs| logs.contains("the value is"))
    });
    assert_hidden(&logs, "sesame");
    assert!(logs.matches("[secret TOKEN]").count() >= 3, "{logs}");
}

#[test]
fn a_value_in_a_path_is_in_no_record() {
    let host = Host::start();
    host.deploy("settings", &[]);
    secret(&host, &["put", "settings", "TOKEN"], VALUE).ok();
    // Across the cut of a kept path, too, which has 256 bytes.
    for before in [0, 250] {
        host.get(&format!("/settings/env/{}{VALUE}", "y".repeat(before)));
    }
    let kept = until("both are kept", || {
        let kept = host.wfn(&["invocations", "settings", "--json"]).ok();
        (kept.lines().count() >= 2).then_some(kept)
    });
    assert_hidden(&kept, VALUE);
    assert!(kept.contains("[secret TOKEN]"), "{kept}");
}

#[test]
fn a_value_that_a_program_writes_where_its_header_lines_belong_is_in_no_reason() {
    let host = Host::start();
    for before in [0, 40, 59, 4_090] {
        let app = format!("program-{before}");
        let program = commands::program(&format!("{}{VALUE}\n\n", "x".repeat(before)), "(call $text)");
        commands::deploy(&host, &app, &program, &[]);
        secret(&host, &["put", &app, "TOKEN"], VALUE).ok();
        let answer = host.get(&format!("/{app}/"));
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_hidden(&answer.text(), VALUE);
        let failed = until("it is kept", || {
            Some(host.wfn(&["invocations", &app, "--failed", "--json"]).ok())
                .filter(|failed| !failed.is_empty())
        });
        assert_hidden(&failed, VALUE);
        let logs = until("it is in the log", || {
            Some(host.logs(&app)).filter(|logs| logs.contains("invalid-response"))
        });
        assert_hidden(&logs, VALUE);
        assert!(logs.contains("[secret TOKEN]"), "{logs}");
    }
}
