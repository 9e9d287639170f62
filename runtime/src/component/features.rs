//! Names what a module needs and the engines do not support, so that people learn of a missing feature instead of an invalid
//! module.

use wasmparser::{Validator, WasmFeatures};

/// The features that are off in the engines ([`crate::component::engine`]), with their names for people.
const OFF: [(WasmFeatures, &str); 21] = [
    (WasmFeatures::LEGACY_EXCEPTIONS, OLD_EXCEPTIONS),
    (WasmFeatures::THREADS, "threads"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "threads that share everything"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::COMPACT_IMPORTS, "compact import sections"),
    (WasmFeatures::CM_ASYNC, "asynchronous functions, which only guests of WASI 0.3 may have"),
    (WasmFeatures::CM_ASYNC_STACKFUL, "asynchronous functions with stacks of their own"),
    (WasmFeatures::CM_MORE_ASYNC_BUILTINS, "further asynchronous built-ins"),
    (WasmFeatures::CM_THREADING, "threads of the component model"),
    (WasmFeatures::CM_ERROR_CONTEXT, "error contexts"),
    (WasmFeatures::CM_FIXED_LENGTH_LISTS, "lists of fixed length"),
    (WasmFeatures::CM_GC, "garbage collection (GC) in the component model"),
    (WasmFeatures::CM_VALUES, "values of the component model"),
    (WasmFeatures::CM_NESTED_NAMES, "nested names of the component model"),
    (WasmFeatures::CM_MAP, "maps of the component model"),
    (WasmFeatures::CM64, "64-bit memory in the component model"),
    (WasmFeatures::CM_IMPLEMENTS, "implemented interfaces of the component model"),
];

/// Compilers still write them by default, so the name says what to do.
const OLD_EXCEPTIONS: &str = "exceptions in their old encoding ('wasm-opt --translate-to-exnref' turns them into those of the standard)";

/// Returns the features that `bytes` need and that are off; none, if `bytes` are not valid with any features.
pub fn missing(bytes: &[u8]) -> Vec<&'static str> {
    let everything = OFF.iter().fold(WasmFeatures::default(), |all, (feature, _)| all.union(*feature));
    let is_valid = |features| Validator::new_with_features(features).validate_all(bytes).is_ok();
    if !is_valid(everything) {
        return Vec::new();
    }
    let needed = |feature: &WasmFeatures| !is_valid(everything.difference(*feature));
    OFF.iter().filter(|(feature, _)| needed(feature)).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::engine::{EngineKind, compiling_engine};

    #[test]
    fn what_the_engine_refuses_is_named_and_what_it_runs_is_not() {
        let engine = compiling_engine(EngineKind::Sequential, None).unwrap();
        let cases: [(&str, &[&str]); 16] = [
            ("(func try catch_all end)", &[OLD_EXCEPTIONS]),
            ("(memory 1 1 shared)", &["threads"]),
            ("(memory 1 (pagesize 1))", &["custom page sizes"]),
            ("(func try catch_all end) (memory 1 1 shared)", &[OLD_EXCEPTIONS, "threads"]),
            (
                "(func (param i64 i64) (result i64 i64)
                   local.get 0 local.get 1 local.get 0 local.get 1 i64.add128)",
                &["wide arithmetic"],
            ),
            // Of WebAssembly 3.0, and run.
            ("(tag $e) (func (throw $e))", &[]),
            ("(func (param externref))", &[]),
            ("(type $s (struct)) (func (drop (struct.new $s)))", &[]),
            ("(func $f (return_call $f))", &[]),
            ("(memory 1) (memory 1)", &[]),
            ("(memory i64 1)", &[]),
            ("(global i32 (i32.add (i32.const 1) (i32.const 2)))", &[]),
            ("(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))", &[]),
            ("(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))", &[]),
            // Wrong, whatever is on.
            ("(func (result i32))", &[]),
            ("(memory i64 1) (func (result i32))", &[]),
        ];
        for (text, expected) in cases {
            let module = wat::parse_str(format!("(module {text})")).unwrap();
            assert_eq!(missing(&module), expected, "{text}");
            let is_wrong = text.contains("(func (result i32))");
            assert_eq!(engine.precompile_module(&module).is_ok(), expected.is_empty() && !is_wrong, "{text}");
        }
    }
}
