//! The house: which floor each part of the runtime lives on, and that no file imports from above its own.
//!
//! A room is a top-level module of `runtime/src`, or of `runtime/manifest/src`, which is a crate of its own. A file imports its own room and those of lower floors, neither a room of
//! a higher floor nor another of the same one; so no circle goes through two rooms. What is for tests alone
//! (`#[cfg(test)]`) is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::harness::root;

/// Top floor first.
const FLOORS: &[&[&str]] = &[
    // Builds the parts, runs them, ends them.
    &["host"],
    &["config"],
    // The control path.
    &["admin"],
    // What calls functions.
    &["ingress", "trigger"],
    // The one door.
    &["dispatch"],
    // Certificates from an authority.
    &["acme"],
    // Registry, revisions, what serves, routes.
    &["app"],
    // One call, from the guest's first poll to the end of its answer.
    &["run"],
    // The instances of one group: ledger, wait queue, scale.
    &["pool"],
    // What lives in an instance: workers, sandbox, the data of a guest's store.
    &["instance"],
    // What a guest can reach.
    &["capability"],
    // A request as guests get it.
    &["request"],
    &["budget", "trace"],
    // Inspect, compile, keep; count, log, bill.
    &["component", "meter"],
    &["refusal"],
    &["persist", "invocation"],
    // What an app says, all pure.
    &["manifest"],
    &["event_loop", "descriptors", "limited", "tls"],
    &["text"],
    &["names", "limits", "clock", "short_queue", "media_type"],
];

/// Files that only decide: neither they nor what they import do I/O or know a clock or a runtime.
const PURE: &[&str] = &[
    "limits.rs",
    "media_type.rs",
    "names.rs",
    "invocation.rs",
    "refusal.rs",
    "request.rs",
    "text.rs",
    "acme/schedule.rs",
    "admin/description.rs",
    "app/revision.rs",
    "app/route.rs",
    "app/share.rs",
    "capability/blobs/event.rs",
    "capability/blobs/name.rs",
    "capability/blobs/range.rs",
    "capability/queues/message.rs",
    "capability/request.rs",
    "component/features.rs",
    "component/inspect.rs",
    "component/instance_size.rs",
    "component/interfaces.rs",
    "component/outside.rs",
    "ingress/head.rs",
    "instance/cgi.rs",
    "manifest.rs",
    "manifest/egress.rs",
    "manifest/egress/address.rs",
    "manifest/file.rs",
    "manifest/function.rs",
    "manifest/grants.rs",
    "manifest/scale.rs",
    "manifest/schedule.rs",
    "manifest/schedule/cron.rs",
    "manifest/triggers.rs",
    "manifest/triggers/pull.rs",
    "manifest/triggers/timer.rs",
    "manifest/values.rs",
    "meter/histogram.rs",
    "meter/line.rs",
    "meter/metrics.rs",
    "meter/redactor.rs",
    "meter/sampling.rs",
    "meter/scaling.rs",
    "meter/usage.rs",
    "meter/usage/book.rs",
    "meter/usage/hours.rs",
    "meter/usage/instance.rs",
    "meter/usage/price.rs",
    "pool/dynamic.rs",
    "pool/placement.rs",
    "pool/ledger.rs",
    "pool/pace.rs",
    "trace/cause.rs",
    "trace/context.rs",
    "trace/span.rs",
    "trace/state.rs",
    "trigger/cloudevent.rs",
    "trigger/leases.rs",
];

/// A file of the runtime, by its path below `runtime/src` or `runtime/manifest/src`.
type File = String;

/// Each file without what is for tests, and the files that it imports.
fn house() -> BTreeMap<File, (String, BTreeSet<File>)> {
    let mut texts = BTreeMap::new();
    for source in ["runtime/src", "runtime/manifest/src"].map(|source| root().join(source)) {
        read(&source, &source, &mut texts);
    }
    let imports = |file: &str, text: &str| {
        let module: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
        let found = paths(text, &module).into_iter().filter_map(|path| file_of(&path, &texts));
        found.filter(|found| found != file).collect()
    };
    texts.iter().map(|(file, text)| (file.clone(), (text.clone(), imports(file, text)))).collect()
}

fn read(folder: &Path, source: &Path, texts: &mut BTreeMap<File, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, source, texts);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let name = path.strip_prefix(source).unwrap().display().to_string();
        // A whole file may be for tests: its parent says so.
        let parent = path.parent().unwrap().with_extension("rs");
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_for_tests = |parent: String| {
            [format!("#[cfg(test)]\nmod {module};"), format!("#[cfg(test)]\npub mod {module};")]
                .iter()
                .any(|declared| parent.contains(declared.as_str()))
        };
        let is_test = name.contains("tests/") || fs::read_to_string(parent).is_ok_and(is_for_tests);
        if name.ends_with(".rs") && name != "lib.rs" && !is_test {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            texts.insert(name, code.join("\n"));
        }
    }
}

/// The paths of this crate that `text`, the file of `module`, names: `crate::a::b`, with what braces hold told apart.
fn paths(text: &str, module: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, start) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        let is_begin =
            text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != ':');
        let parents = text[at..].split("super::").take_while(|between| between.is_empty()).count();
        let (base, rest) = match start {
            "crate::" => (Vec::new(), &text[at + start.len()..]),
            _ => {
                let kept = module.len().saturating_sub(parents);
                let base = module[..kept].iter().map(|name| (*name).to_owned()).collect();
                (base, &text[at + parents * start.len()..])
            }
        };
        if is_begin {
            tree(rest, &base, &mut found);
        }
    }
    found
}

/// Reads `a::{b, c::d}` after `base`; gives back how far that went.
fn tree(text: &str, base: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let word = text.find(|part: char| !part.is_alphanumeric() && part != '_').unwrap_or(text.len());
    let mut path = base.to_vec();
    if word > 0 {
        path.push(text[..word].to_owned());
        if let Some(rest) = text[word..].strip_prefix("::") {
            return word + 2 + tree(rest, &path, found);
        }
        found.push(path);
        return word;
    }
    if !text.starts_with('{') {
        found.push(path);
        return 0;
    }
    let mut at = 1;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches([',', ' ', '\n']).len();
        if text[at..].starts_with('}') || at >= text.len() {
            return at + 1;
        }
        at += tree(&text[at..], &path, found);
        // `as Name`, or what cannot be read.
        at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
    }
}

/// The file that holds what `path` names.
fn file_of(path: &[String], texts: &BTreeMap<File, String>) -> Option<File> {
    let mut files = (1..=path.len()).rev().map(|length| format!("{}.rs", path[..length].join("/")));
    files.find(|file| texts.contains_key(file))
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn floor(file: &str) -> usize {
    let found = FLOORS.iter().position(|rooms| rooms.contains(&room(file)));
    found.unwrap_or_else(|| panic!("{file} is in no room of the table of floors"))
}

#[test]
fn no_file_imports_from_above() {
    let house = house();
    let mut upward = Vec::new();
    for (file, (_, imports)) in &house {
        for imported in imports {
            if floor(imported) <= floor(file) && room(imported) != room(file) {
                upward.push(format!(
                    "{file} (floor {}) imports {imported} ({})",
                    floor(file),
                    floor(imported)
                ));
            }
        }
    }
    assert!(upward.is_empty(), "imports that run up, floor 0 on top:\n{}", upward.join("\n"));
    let known: usize = house.values().map(|(_, imports)| imports.len()).sum();
    assert!(known > 1_000, "only {known} imports were found: can this test still read them?");
}

/// Circles that stay: a part and what it is a part of, in one room.
const CIRCLES: &[&[&str]] = &[
    // An upload is of a store of blobs, which sweeps what an upload has left.
    &["capability/blobs.rs", "capability/blobs/upload.rs"],
    // A slot gives itself back to its pool; the pools of a host find each other by what they share.
    &[
        "pool.rs",
        "pool/dynamic_pool.rs",
        "pool/prewarm.rs",
        "pool/resources.rs",
        "pool/slot.rs",
        "pool/wait_queue.rs",
    ],
];

#[test]
fn no_files_import_each_other_but_those_that_are_parts_of_one_another() {
    let house = house();
    let reached = |from: &File| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(file) = next.pop() {
            let imports = house.get(&file).into_iter().flat_map(|(_, imports)| imports);
            next.extend(imports.filter(|file| reached.insert((*file).clone())).cloned());
        }
        reached
    };
    let reached: BTreeMap<_, _> = house.keys().map(|file| (file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(*file) {
            let circle = others.iter().filter(|other| reached[*other].contains(*file));
            circles.insert(circle.cloned().collect::<Vec<_>>());
        }
    }
    let known: BTreeSet<Vec<_>> =
        CIRCLES.iter().map(|files| files.iter().map(|file| (*file).to_owned()).collect()).collect();
    assert_eq!(circles, known, "files that import each other");
}

#[test]
fn the_files_that_decide_do_not_act_nor_import_what_does() {
    let house = house();
    for name in PURE {
        let (text, imports) = house.get(*name).unwrap_or_else(|| panic!("{name} does not exist"));
        for acting in ["tokio::", "hyper::", "wasmtime::", "std::fs", "Instant::now", "SystemTime"] {
            assert!(!text.contains(acting), "{name} uses {acting}, but it only decides");
        }
        let impure: Vec<_> = imports.iter().filter(|file| !PURE.contains(&file.as_str())).collect();
        assert!(impure.is_empty(), "{name} only decides, but imports {impure:?}, which may act");
    }
}

#[test]
fn imports_are_read_as_rust_reads_them() {
    let text = "use crate::a::b::{self, C as D, e::{F, G}};\nlet x = crate::h::I::new(super::super::j::K);";
    let read: Vec<_> = paths(text, &["m", "n", "o"]).iter().map(|path| path.join("::")).collect();
    let expected = ["a::b::self", "a::b::C", "a::b::e::F", "a::b::e::G", "h::I::new", "m::j::K"];
    assert_eq!(read, expected);
}
