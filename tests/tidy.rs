//! The tree itself: small files that say what they are for, documents that are true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{root, run};

/// Source files of ours, without what is built.
fn sources(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            sources(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn texts(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&root(), ending, &mut found);
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_source_file_says_what_it_is_for_and_is_small() {
    for (name, text) in texts(".rs") {
        assert!(text.starts_with("//! "), "{name} does not open with a sentence of purpose");
        assert!(text.lines().count() <= 500, "{name} has {} lines: split it", text.lines().count());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not contain them.
    let marks = ["TO", "FIX", "X"].map(|start| {
        format!(
            "{start}{}",
            if start == "TO" {
                "DO"
            } else if start == "FIX" {
                "ME"
            } else {
                "XX"
            }
        )
    });
    for (name, text) in texts(".rs").into_iter().chain(texts(".md")) {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{name} contains {mark}");
        }
        let machine_path = ["/wo", "rk/"].concat();
        assert!(!text.contains(&machine_path), "{name} names a path of some machine");
    }
}

#[test]
fn guests_are_entered_in_a_few_files_and_polled_in_one() {
    // What these files make is a `GuestTask`, which only `instance/guest_task.rs` polls.
    let enter = [
        "instance/template.rs",
        "instance/worker_command.rs",
        "instance/worker_p2.rs",
        "instance/worker_p3.rs",
    ];
    let calls = [
        "instantiate_async(",
        "call_async(",
        "call_handle(",
        "run_concurrent(",
        "call_concurrent(",
        ".instantiate(",
    ];
    for (name, text) in texts(".rs") {
        let Some(file) = name.strip_prefix("runtime/src/") else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap();
        let enters = calls.iter().find(|call| code.contains(*call));
        assert!(
            enters.is_none() || enter.contains(&file) || file.starts_with("component/"),
            "{name} calls {}: only a GuestTask may enter a guest",
            enters.unwrap()
        );
        let polls = code.contains("guest_runs(") || code.contains(".beat(");
        assert!(
            !polls || ["instance/guest_task.rs", "event_loop.rs"].contains(&file),
            "{name} polls a guest"
        );
    }
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for (name, text) in texts(".md") {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{name} links to {target}, which does not exist");
            }
        }
    }
}

#[test]
fn every_code_is_documented() {
    let document = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let mut codes = 0;
    for file in [
        "invocation.rs",
        "capability/internal.rs",
        "capability/blobs/error.rs",
        "capability/blobs/http.rs",
        "capability/key_value/error.rs",
        "capability/key_value/http.rs",
        "component/inspect.rs",
        "ingress/connection.rs",
        "ingress/head.rs",
        "persist/db.rs",
        "ingress/http.rs",
        "ingress/malformed.rs",
        "admin/error.rs",
        "admin/upload.rs",
        "admin/access.rs",
        "admin/api.rs",
        "admin/dashboard.rs",
        "admin/invocations.rs",
        "admin/statuses.rs",
        "admin/blobs.rs",
        "admin/kv.rs",
        "admin/queues.rs",
        "admin/triggers.rs",
        "capability/queues/error.rs",
    ] {
        let text = fs::read_to_string(root().join("runtime/src").join(file)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        // Codes are the words with a hyphen, or one of the few without, in quotes after `=>` or a status.
        for line in code.lines().filter(|line| {
            line.contains("=>") || line.contains("StatusCode::") || line.contains("bad_request(\"")
        }) {
            for word in line.split('"').skip(1).step_by(2) {
                let is_code =
                    word.contains('-') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                if is_code {
                    codes += 1;
                    assert!(
                        document.contains(&format!("`{word}`")),
                        "docs/errors.md does not explain {word} ({file})"
                    );
                }
            }
        }
    }
    assert!(codes > 25, "only {codes} codes were found: did the sources change their shape?");
}

#[test]
fn the_readme_names_commands_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for command in ["cargo xtask demo", "cargo xtask test", "wfn up --demo", "wfn deploy"] {
        assert!(readme.contains(command), "README.md does not show '{command}'");
    }
}

/// The parts of `1.95` or `1.95.0`, to be compared.
fn version(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    [0; 3].map(|missing| parts.next().unwrap_or(missing))
}

#[test]
fn the_oldest_rust_that_is_promised_is_enough() {
    let about = run(Command::new("rustc").arg("-vV").current_dir(root())).ok();
    let said = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    // Only what is compiled here: packages for other platforms may not have been downloaded.
    let ask =
        ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", said("host: ")];
    let metadata = run(Command::new(env!("CARGO")).args(ask).current_dir(root())).json();

    let is_ours =
        |package: &&Value| metadata["workspace_members"].as_array().unwrap().contains(&package["id"]);
    let (ours, others): (Vec<_>, Vec<_>) = metadata["packages"].as_array().unwrap().iter().partition(is_ours);
    let promised = ours[0]["rust_version"].as_str().expect("rust-version is inherited");
    for package in ours {
        assert_eq!(package["rust_version"], promised, "{}", package["name"]);
    }
    assert!(version(promised) <= version(said("release: ")), "rust-version {promised} is newer than {about}");
    assert!(others.len() > 100, "only {} dependencies were found", others.len());
    for package in others {
        let needed = package["rust_version"].as_str().unwrap_or("1.0");
        assert!(
            version(needed) <= version(promised),
            "{} {} needs Rust {needed}, rust-version is {promised}",
            package["name"],
            package["version"]
        );
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("Rust {promised} or later")), "README.md names another Rust");
}
