//! What of WebAssembly 3.0 runs, within the same bounds as everything else.

use std::fs;

use crate::harness::Host;

/// Deploys a program of preview 1 in text form as `app`; `say` is a function in it that writes bytes from an address on.
fn deploy(host: &Host, app: &str, address: &str, text: &str) {
    let module = format!(
        "(module
           (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
           (memory (export \"memory\") {address} 2)
           (func $say (param $at i32) (param $length i32)
             (i32.store ({address}.const 0) (local.get $at))
             (i32.store ({address}.const 4) (local.get $length))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
           (data ({address}.const 100) \"Content-Type: text/plain\\n\\n\")
           (func $begin (call $say (i32.const 100) (i32.const 26)))
           {text})"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("module.wasm");
    fs::write(&file, wat::parse_str(module).unwrap()).unwrap();
    host.wfn(&["deploy", file.to_str().unwrap(), "--name", app]).ok();
}

#[test]
fn a_memory_with_64_bit_addresses_is_bounded_as_others() {
    let host = Host::start();
    // Grows as far as it may, then says how many pages it has in hexadecimal, and what is in the last of them.
    let text = "
        (func $digit (param i32)
          (i32.store8 (i64.const 200) (i32.load8_u offset=300 (i64.extend_i32_u (local.get 0))))
          (call $say (i32.const 200) (i32.const 1)))
        (data (i64.const 300) \"0123456789abcdef\")
        (func (export \"_start\") (local $shift i64)
          (loop $more (br_if $more (i64.ne (memory.grow (i64.const 1024)) (i64.const -1))))
          (i64.store (i64.sub (i64.mul (memory.size) (i64.const 65536)) (i64.const 8)) (i64.const 7))
          (call $begin)
          (local.set $shift (i64.const 20))
          (loop $next
            (call $digit (i32.and (i32.wrap_i64 (i64.shr_u (memory.size) (local.get $shift))) (i32.const 15)))
            (local.set $shift (i64.sub (local.get $shift) (i64.const 4)))
            (br_if $next (i64.ge_s (local.get $shift) (i64.const 0))))
          (call $digit
            (i32.load (i64.sub (i64.mul (memory.size) (i64.const 65536)) (i64.const 8)))))";
    deploy(&host, "grows", "i64", text);
    // Two pages, and then 1,024 more at a time, within 2,048 MB.
    assert_eq!(host.get("/grows/").ok(), "007c027");
    for outside in ["0x20000", "0x100000000", "0x10000000000", "-8"] {
        let text =
            format!("(func (export \"_start\") (drop (i64.load (i64.const {outside}))) (call $begin))");
        deploy(&host, "outside", "i64", &text);
        assert_eq!(host.get("/outside/").code(), "trapped", "{outside}");
    }
    assert_eq!(host.get("/grows/").ok(), "007c027");
}

/// What a program does that says a single digit and stops.
const DIGIT: &str = r#"
    (func $digit (param i32)
      (i32.store8 (i32.const 200) (i32.add (i32.const 48) (local.get 0)))
      (call $say (i32.const 200) (i32.const 1)))"#;

#[test]
fn exceptions_are_caught_by_the_guest_or_end_it() {
    let host = Host::start();
    // Throws one for each of 100,000 numbers, adds up what it catches, and says whether that is right.
    let text = format!(
        r#"{DIGIT}
        (tag $odd (param i64))
        (tag $even (param i64))
        (func $throws (param $number i64)
          (if (i64.eqz (i64.and (local.get $number) (i64.const 1)))
            (then (throw $even (local.get $number)))
            (else (throw $odd (i64.mul (local.get $number) (i64.const 2))))))
        (func (export "_start") (local $number i64) (local $sum i64)
          (loop $next
            (local.set $sum (i64.add (local.get $sum)
              (block $caught (result i64)
                (try_table (result i64) (catch $odd $caught) (catch $even $caught)
                  (call $throws (local.get $number))
                  (i64.const 0)))))
            (local.set $number (i64.add (local.get $number) (i64.const 1)))
            (br_if $next (i64.lt_s (local.get $number) (i64.const 100000))))
          (call $begin)
          ;; All numbers below 100,000, and the odd ones once more.
          (call $digit (i64.eq (local.get $sum) (i64.const 7499950000))))"#
    );
    deploy(&host, "catches", "i32", &text);
    assert_eq!(host.get("/catches/").ok(), "1");
    let text = r#"
        (tag $lost (param i32))
        (func (export "_start") (throw $lost (i32.const 7)))"#;
    deploy(&host, "throws", "i32", text);
    let lost = host.get("/throws/");
    assert_eq!((lost.status, lost.code().as_str()), (500, "trapped"));
    let log = host.wfn(&["logs", "throws"]).ok();
    assert!(log.contains("exception"), "{log}");
    let text = r#"
        (tag $lost)
        (func $start (throw $lost))
        (start $start)
        (func (export "_start"))"#;
    let file = host.data.path().with_extension("wasm");
    fs::write(&file, wat::parse_str(format!("(module {text})")).unwrap()).unwrap();
    let refused = host.wfn(&["deploy", file.to_str().unwrap(), "--name", "never"]).refused();
    assert!(refused.contains("exception"), "{refused}");
    assert_eq!(host.get("/catches/").ok(), "1");
}

#[test]
fn objects_of_the_guest_are_collected_and_charged() {
    let host = Host::start();
    // 4 GB of objects, one after the other; the class has 2,048 MB.
    let text = format!(
        r#"{DIGIT}
        (type $cell (struct (field (mut i64)) (field (ref null $cell))))
        (func (export "_start") (local $number i32) (local $last (ref null $cell))
          (loop $next
            (local.set $last (struct.new $cell (i64.extend_i32_u (local.get $number)) (ref.null $cell)))
            (local.set $number (i32.add (local.get $number) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $number) (i32.const 128000000))))
          (call $begin)
          (call $digit (i64.eq (struct.get $cell 0 (local.get $last)) (i64.const 127999999))))"#
    );
    deploy(&host, "drops", "i32", &text);
    assert_eq!(host.get("/drops/").ok(), "1");
    // The same, but each holds the one before.
    let text = text.replace(
        "(struct.new $cell (i64.extend_i32_u (local.get $number)) (ref.null $cell))",
        "(struct.new $cell (i64.extend_i32_u (local.get $number)) (local.get $last))",
    );
    deploy(&host, "keeps", "i32", &text);
    let full = host.get("/keeps/");
    assert_eq!((full.status, full.code().as_str()), (500, "memory-limit"));
    let text = r#"
        (type $bytes (array (mut i8)))
        (func (export "_start") (drop (array.new $bytes (i32.const 1) (i32.const 0x7fffffff))) (call $begin))"#;
    deploy(&host, "large", "i32", text);
    assert_eq!(host.get("/large/").code(), "memory-limit");
    assert_eq!(host.get("/drops/").ok(), "1");
    // What is left are workers made ahead, with the two pages that each begins with.
    let held = host.admin_get("/v1/host")["guest_memory_bytes"].as_u64().unwrap();
    assert!(held < 1 << 20, "{held} bytes");
}
