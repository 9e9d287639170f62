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
