//! Blobs: whole or not there, streamed both ways, and nobody reaches what was not granted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::{Answer, DataDir, Host, Request, guest, run, until};

/// Flags of an app that has the container `images`.
pub const CONTAINER: [&str; 6] = ["--blob-container", "images", "--concurrency", "16", "--timeout", "5m"];

/// Calls an app made of the `fetch` guest, which calls `http://wfn.internal/blobs/…` with `method`.
fn ask_as(host: &Host, app: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let url = format!("/{app}/as?{method}&http://wfn.internal/blobs/{path}");
    let mut request = Request::new("POST", &url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send(&host.functions)
}

pub fn ask(host: &Host, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask_as(host, "fetch", method, path, headers, body)
}

#[track_caller]
fn put(host: &Host, name: &str, body: &[u8]) -> String {
    let answer = ask(host, "PUT", &format!("images/{name}"), &[], body);
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{}", answer.text());
    answer.header("etag").unwrap().to_owned()
}

fn list(host: &Host, query: &str) -> Value {
    let answer = host.get(&format!("/fetch/get?http://wfn.internal/blobs/images{query}")).ok();
    serde_json::from_str(&answer).unwrap()
}

fn names(page: &Value) -> Vec<&str> {
    page["blobs"].as_array().unwrap().iter().map(|blob| blob["name"].as_str().unwrap()).collect()
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let count = |entry: fs::DirEntry| if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    // A folder may go while it is looked at.
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().map(count).sum())
}

/// Waits until there are so many files of blobs, whole ones and leftovers.
fn until_files(data: &DataDir, count: usize) {
    until("only the bytes of blobs are left", || (files(&data.path().join("blobs")) == count).then_some(()));
}

/// What holds wherever the bytes are.
pub fn what_is_put_is_got(host: &Host) {
    let binary: Vec<u8> = (0..=255).collect();
    let typed = ask(host, "PUT", "images/a/b%20%C3%A4", &[("content-type", "image/png")], &binary);
    assert_eq!(typed.status, 204, "{}", typed.text());
    let tag = typed.header("etag").unwrap().to_owned();
    let got = ask(host, "GET", "images/a%2Fb%20%C3%A4", &[], b"");
    assert_eq!((got.status, &got.body), (200, &binary));
    for (name, value) in [
        ("etag", tag.as_str()),
        ("content-type", "image/png"),
        ("accept-ranges", "bytes"),
        ("content-length", "256"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    let head = ask(host, "HEAD", "images/a/b%20%C3%A4", &[("range", "bytes=0-1")], b"");
    assert_eq!(
        (head.status, head.header("length"), head.header("etag")),
        (200, Some("256"), Some(tag.as_str()))
    );

    for (range, status, content_range, bytes) in [
        ("bytes=0-0", 206, "bytes 0-0/256", &binary[..1]),
        ("bytes=250-", 206, "bytes 250-255/256", &binary[250..]),
        ("bytes=-3", 206, "bytes 253-255/256", &binary[253..]),
        ("bytes=1-2,4-5", 200, "", &binary[..]),
    ] {
        let part = ask(host, "GET", "images/a/b%20%C3%A4", &[("range", range)], b"");
        assert_eq!((part.status, part.header("content-range").unwrap_or_default()), (status, content_range));
        assert_eq!(part.body, bytes, "{range}");
    }
    let none = ask(host, "GET", "images/a/b%20%C3%A4", &[("range", "bytes=256-")], b"");
    assert_eq!((none.status, none.header("content-range")), (416, Some("bytes */256")));
    assert_eq!(none.code(), "range-not-satisfiable");

    // A name may be the beginning of another, and a blob may be empty.
    put(host, "a", b"");
    assert_eq!(ask(host, "GET", "images/a", &[], b"").body, b"");
    let page = list(host, "");
    assert_eq!(names(&page), ["a", "a/b ä"]);
    let blob = &page["blobs"][1];
    assert_eq!(
        (&blob["bytes"], &blob["etag"], &blob["content_type"]),
        (&256.into(), &tag.into(), &"image/png".into())
    );
    assert!(blob["modified"].as_str().unwrap().starts_with("20"), "{blob}");
    put(host, "c", b"c");
    assert_eq!(list(host, "?limit=1")["next"], "a");
    assert_eq!(names(&list(host, "?limit=1&after=a")), ["a/b ä"]);
    let last = list(host, "?prefix=c");
    assert_eq!((names(&last), &last["next"]), (vec!["c"], &Value::Null));

    for name in ["a", "a", "c", "a/b%20%C3%A4"] {
        assert_eq!(ask(host, "DELETE", &format!("images/{name}"), &[], b"").status, 204);
        assert_eq!(ask(host, "GET", &format!("images/{name}"), &[], b"").code(), "no-such-blob");
    }
    assert_eq!(list(host, "")["blobs"], serde_json::json!([]));
}

/// The same.
pub fn conditions_hold(host: &Host) {
    // Of one length, within one tick of any clock: each has a tag of its own.
    let tags: Vec<String> = (0..20).map(|n: u8| put(host, "n", &[n])).collect();
    let mut different = tags.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), tags.len(), "{tags:?}");
    let tag = tags.last().unwrap().as_str();
    for (header, value, status) in [
        ("if-none-match", tag, 304),
        ("if-none-match", tags[0].as_str(), 200),
        ("if-match", tag, 200),
        ("if-match", tags[0].as_str(), 412),
    ] {
        assert_eq!(ask(host, "GET", "images/n", &[(header, value)], b"").status, status, "{header}: {value}");
    }
    let part =
        |tag: &str| ask(host, "GET", "images/n", &[("if-range", tag), ("range", "bytes=0-0")], b"").status;
    assert_eq!((part(tag), part(&tags[0])), (206, 200));

    assert_eq!(ask(host, "PUT", "images/n", &[("if-none-match", "*")], b"x").code(), "blob-changed");
    // The whole body is taken before the answer: the guest looks for it no sooner.
    let large = vec![0; 20_000_000];
    assert_eq!(ask(host, "PUT", "images/n", &[("if-none-match", "*")], &large).code(), "blob-changed");
    assert_eq!(ask(host, "PUT", "images/new", &[("if-none-match", "*")], b"x").status, 204);
    assert_eq!(ask(host, "PUT", "images/absent", &[("if-match", "*")], b"x").status, 412);
    assert_eq!(ask(host, "PUT", "images/n", &[("if-match", &tags[0])], b"x").status, 412);
    assert_eq!(ask(host, "DELETE", "images/n", &[("if-match", &tags[0])], b"").status, 412);
    assert_eq!(ask(host, "PUT", "images/n", &[("if-none-match", tag)], b"x").code(), "bad-request");
    // Of many who swap the same version one does.
    let swapped = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..8_u8 {
            let (swapped, tag) = (&swapped, tag);
            scope.spawn(move || {
                let answer = ask(host, "PUT", "images/n", &[("if-match", tag)], &[n; 100_000]);
                assert!([204, 412].contains(&answer.status), "{}", answer.text());
                swapped.fetch_add(u64::from(answer.status == 204), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(swapped.into_inner(), 1);
    for name in ["n", "new"] {
        ask(host, "DELETE", &format!("images/{name}"), &[], b"");
    }
}

#[test]
fn what_is_put_is_got_listed_and_deleted() {
    let host = Host::start();
    host.deploy("fetch", &CONTAINER);
    what_is_put_is_got(&host);
    until_files(&host.data, 0);
    host.wfn(&["deploy", &guest("async-fetch"), "--blob-container", "images"]).ok();
    assert_eq!(
        host.get("/async-fetch/get?http://wfn.internal/blobs/images").ok(),
        "{\"blobs\":[],\"next\":null}\n"
    );
}

#[test]
fn a_tag_stands_for_one_version_and_conditions_are_atomic() {
    let host = Host::start();
    host.deploy("fetch", &CONTAINER);
    conditions_hold(&host);
    until_files(&host.data, 0);
}

#[test]
fn hostile_names_and_requests_are_refused() {
    let host = Host::start();
    host.deploy("fetch", &CONTAINER);
    let long = "x".repeat(1_025);
    for (method, path, status, code) in [
        ("PUT", "images/../secret.key", 400, "invalid-blob-name"),
        ("PUT", "images/%2e%2e/%2e%2e/secret.key", 400, "invalid-blob-name"),
        ("PUT", "images//etc/passwd", 400, "invalid-blob-name"),
        ("PUT", "images/%2Fetc/passwd", 400, "invalid-blob-name"),
        ("PUT", "images/a//b", 400, "invalid-blob-name"),
        ("PUT", "images/a/", 400, "invalid-blob-name"),
        ("PUT", "images/./a", 400, "invalid-blob-name"),
        ("PUT", "images/a%00", 400, "invalid-blob-name"),
        ("PUT", "images/a%0d%0ab", 400, "invalid-blob-name"),
        ("PUT", &format!("images/{long}"), 400, "invalid-blob-name"),
        ("PUT", "images/%ff", 400, "bad-request"),
        ("PUT", "images", 405, "method-not-allowed"),
        ("PATCH", "images/a", 405, "method-not-allowed"),
        ("GET", "images?limit=1001", 400, "bad-request"),
        ("GET", "Images/a", 404, "no-such-container"),
        ("GET", "..%2Fimages/a", 404, "no-such-container"),
        ("GET", "", 404, "no-such-container"),
        ("GET", "images/a", 404, "no-such-blob"),
    ] {
        let answer = ask(&host, method, path, &[], b"x");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    // Taken as they are: decoded once, and never a path of this machine.
    for (name, known) in [
        ("%252e%252e/x", "%2e%2e/x"),
        ("..a/b..", "..a/b.."),
        ("a%5C..%5Cb", "a\\..\\b"),
        ("17%231", "17#1"),
        (&long[1..], &long[1..]),
        ("~%3F*%20%7B", "~?* {"),
    ] {
        put(&host, name, name.as_bytes());
        assert_eq!(ask(&host, "GET", &format!("images/{name}"), &[], b"").text(), name);
        assert!(names(&list(&host, "")).contains(&known), "{name}");
    }
    until_files(&host.data, 6);
    let stored = fs::read_dir(host.data.path().join("blobs/fetch/images")).unwrap();
    let is_number =
        |name: std::ffi::OsString| name.to_str().unwrap().bytes().all(|byte| byte.is_ascii_digit());
    assert!(stored.flatten().all(|entry| is_number(entry.file_name())));
}

#[test]
fn nothing_is_granted_by_default_and_two_apps_are_apart() {
    let host = Host::start();
    host.deploy("fetch", &[]);
    let line = "blob_containers = [\"images\"]";
    let answer = ask(&host, "GET", "images/a", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (403, "access-denied"));
    assert!(answer.text().replace("\\\"", "\"").contains(line), "{}", answer.text());
    assert!(host.logs("fetch").contains(line), "{}", host.logs("fetch"));

    for app in ["one", "other"] {
        host.deploy_as(app, "fetch", &CONTAINER);
        assert_eq!(ask_as(&host, app, "PUT", "images/n", &[], app.as_bytes()).status, 204);
    }
    for app in ["one", "other"] {
        assert_eq!(ask_as(&host, app, "GET", "images/n", &[], b"").ok(), app);
        assert_eq!(ask_as(&host, app, "GET", "one%2Fimages/n", &[], b"").status, 403);
    }
}

#[test]
fn sharing_needs_both_sides_at_every_call() {
    let host = Host::start();
    let deploy = |app: &str, manifest: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wfn.toml");
        fs::write(&file, format!("name = {app:?}\nmodule = {:?}\n{manifest}", guest("fetch"))).unwrap();
        host.wfn(&["deploy", file.to_str().unwrap()]).ok();
    };
    let (own, wants) = ("blob_containers = [\"images\"]\n", "blob_containers = [\"owner/images\"]\n");
    let shares =
        |kind: &str| format!("{own}key_value_stores = [\"images\"]\n[share.{kind}]\nimages = [\"report\"]\n");
    let put = || ask_as(&host, "report", "PUT", "owner%2Fimages/n", &[], b"from report");
    deploy("report", wants);
    assert_eq!(put().status, 403, "there is no owner yet");
    deploy("owner", own);
    assert_eq!(put().status, 403, "the owner does not share it");
    assert!(
        host.logs("report").contains("[share.blob_containers]: images = [\"report\"]"),
        "{}",
        host.logs("report")
    );
    deploy("owner", &shares("key_value_stores"));
    assert_eq!(put().status, 403, "what is shared is a store");
    deploy("owner", &shares("blob_containers"));
    assert_eq!(put().status, 204);
    assert_eq!(ask_as(&host, "owner", "GET", "images/n", &[], b"").ok(), "from report");
    host.wfn(&["rollback", "owner", "1"]).ok();
    assert_eq!(put().status, 403, "what serves does not share it");
}

/// Most bytes of memory that the host has had so far.
fn memory_peak_bytes(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn three_hundred_megabytes_stream_both_ways_in_little_memory() {
    const MEGABYTES: usize = 300;
    let host = Host::start();
    host.deploy("fetch", &CONTAINER);
    host.get("/fetch/get?http://wfn.internal/blobs/images").ok();
    let file = host.data.path().join("large");
    let bytes: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, bytes.repeat(MEGABYTES)).unwrap();
    let before = memory_peak_bytes(&host);
    let file = file.to_str().unwrap();
    host.wfn(&["blob", "put", "fetch", "images", "large", file]).ok();
    // Through the guest: in from one blob, out to another.
    let copied =
        host.get("/fetch/copy?http://wfn.internal/blobs/images/large&http://wfn.internal/blobs/images/copy");
    assert_eq!(copied.status, 204, "{}", copied.text());
    let out = format!("{file}-out");
    host.wfn(&["blob", "get", "fetch", "images", "copy", "-o", &out]).ok();
    assert_eq!(run(std::process::Command::new("cmp").args([file, &out])).code, Some(0));
    let grown = memory_peak_bytes(&host) - before;
    eprintln!("the host's memory grew by {} MiB", grown >> 20);
    // What is held at once is some megabytes; the allocator keeps freed ones for each thread, 30 to 200 MiB in all. One copy
    // that is held whole would be 300 more.
    assert!(grown < 290 << 20, "{grown} bytes");
    let range = format!("bytes={}-", (MEGABYTES << 20) - 4);
    assert_eq!(ask(&host, "GET", "images/copy", &[("range", &range)], b"").body, bytes[bytes.len() - 4..]);
}

/// A number of bytes that is the same for each writer, and large enough for several parts of some.
fn body(writer: usize, round: u8) -> Vec<u8> {
    vec![round; if writer.is_multiple_of(2) { 3_500_000 } else { 1_000 }]
}

#[test]
fn kill_9_leaves_each_blob_old_or_new_and_no_leftovers() {
    const WRITERS: usize = 6;
    let data = DataDir::new();
    let mut host = Host::start_in(&data, &[]);
    host.deploy("fetch", &CONTAINER);
    let mut under_way = 0;
    let mut acknowledged = [0; WRITERS];
    for _ in 0..4 {
        let killed = AtomicBool::new(false);
        let answered: [AtomicU64; WRITERS] = Default::default();
        let address = host.functions.clone();
        let begun: Vec<(u8, u8)> = thread::scope(|scope| {
            let write = |writer: usize, mut round: u8| {
                let (killed, answered, address) = (&killed, &answered[writer], &address);
                move || {
                    let mut last = round;
                    while !killed.load(Ordering::Relaxed) {
                        round = round.wrapping_add(1);
                        let path = format!("/fetch/as?PUT&http://wfn.internal/blobs/images/{writer}");
                        let sent = Request::new("POST", &path).body(body(writer, round)).try_send(address);
                        match sent {
                            Ok(answer) => assert_eq!(answer.status, 204, "{}", answer.text()),
                            Err(_) => break,
                        }
                        last = round;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    (last, round)
                }
            };
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(write(writer, acknowledged[writer]))).collect();
            let enough = |answered: &AtomicU64| answered.load(Ordering::Relaxed) >= 3;
            until("enough are acknowledged", || answered.iter().all(enough).then_some(()));
            host.kill();
            killed.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        host = Host::start_in(&data, &[]);
        for (writer, (last, begun)) in begun.into_iter().enumerate() {
            let got = ask(&host, "GET", &format!("images/{writer}"), &[], b"");
            assert_eq!(got.status, 200, "{}", got.text());
            let round = got.body[0];
            assert!(round == last || round == begun, "{round} after {last} and {begun}");
            assert!(got.body == body(writer, round), "blob {writer} is not whole");
            under_way += usize::from(last != begun);
            acknowledged[writer] = round;
        }
        until_files(&data, WRITERS);
    }
    assert!(under_way > 0, "nothing was under way at any kill");
}

#[test]
fn what_is_stored_outlives_restarts_and_the_app() {
    let host = Host::start();
    host.deploy("fetch", &CONTAINER);
    put(&host, "n", b"kept");
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(ask(&host, "GET", "images/n", &[], b"").ok(), "kept");

    let removed = host.wfn(&["rm", "fetch", "-y"]);
    assert!(removed.stderr.contains("1 blobs, 4 B") && removed.stderr.contains("--with-data"), "{removed:?}");
    assert_eq!(host.wfn(&["blob", "get", "fetch", "images", "n"]).ok(), "kept", "it is still to be had");
    host.deploy("fetch", &CONTAINER);
    assert_eq!(ask(&host, "GET", "images/n", &[], b"").ok(), "kept");

    host.wfn(&["rm", "fetch", "-y"]).ok();
    let removed = host.wfn(&["rm", "fetch", "-y", "--with-data", "--json"]).json();
    assert_eq!(removed["kept"]["blobs"], 0);
    // A kill right after it changes nothing.
    let host = Host::start_in(&host.kill(), &[]);
    until_files(&host.data, 0);
    host.deploy("fetch", &CONTAINER);
    assert_eq!(ask(&host, "GET", "images/n", &[], b"").status, 404);
    assert!(host.wfn(&["rm", "nobody", "-y", "--with-data"]).refused().contains("[no-app]"));
}

#[test]
fn the_command_line_looks_and_changes() {
    let host = Host::start();
    host.deploy("fetch", &["--blob-container", "images,texts"]);
    let blob = |arguments: &[&str]| host.wfn(&[&["blob"], arguments].concat());
    let file = host.data.path().join("file");
    fs::write(&file, [0xff, 0]).unwrap();
    let file = file.to_str().unwrap();
    let put = blob(&["put", "fetch", "images", "a/b ?", file, "--content-type", "image/x"]);
    assert_eq!(put.ok(), "put a/b ? in images: 2 B\n");
    let got = ask(&host, "GET", "images/a/b%20%3F", &[], b"");
    assert_eq!((got.header("content-type"), &got.body[..]), (Some("image/x"), &[0xff, 0][..]));
    let put = blob(&["put", "fetch", "images", "stdin", "--json"]).json();
    assert_eq!((&put["bytes"], &put["name"]), (&0.into(), &"stdin".into()));
    assert_eq!(blob(&["get", "fetch", "images", "stdin"]).ok(), "");
    let out = format!("{file}-out");
    blob(&["get", "fetch", "images", "a/b ?", "-o", &out]).ok();
    assert_eq!(fs::read(&out).unwrap(), [0xff, 0]);
    let listed = blob(&["ls", "fetch", "images", "--prefix", "a/"]).ok();
    assert!(listed.ends_with("2 B  a/b ?\n") && listed.lines().count() == 1, "{listed}");
    let shown: Value =
        serde_json::from_str(&blob(&["ls", "fetch", "images", "--prefix", "s", "--json"]).ok()).unwrap();
    assert_eq!((&shown["name"], &shown["etag"]), (&put["name"], &put["etag"]));
    let containers: BTreeMap<String, String> = blob(&["ls", "fetch"])
        .ok()
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .map(|words| (words[0].clone(), words[1].clone()))
        .collect();
    assert_eq!((containers["images"].as_str(), containers["texts"].as_str()), ("2", "0"));
    assert_eq!(blob(&["rm", "fetch", "images", "stdin"]).ok(), "removed stdin from images\n");
    assert_eq!(blob(&["rm", "fetch", "images", "stdin"]).ok(), "stdin is not in images\n");
    for (arguments, code) in [
        (&["get", "fetch", "images", "stdin"][..], "no-such-blob"),
        (&["put", "fetch", "imagse", "a", file], "no-such-container"),
        (&["get", "fetch", "No", "a"], "invalid-name"),
        (&["put", "fetch", "images", "../a", file], "invalid-blob-name"),
        (&["ls", "nobody"], "no-app"),
    ] {
        let refusal = blob(arguments).refused();
        assert!(refusal.contains(&format!("[{code}]")), "{arguments:?}: {refusal}");
    }
    assert!(host.wfn(&["status", "fetch"]).ok().contains("blobs       images, texts"));
}
