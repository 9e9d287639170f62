//! Names what a module needs that the engines do not run: to people it is a feature that is missing, not a module that is
//! wrong.

use wasmparser::{Validator, WasmFeatures};

/// What is off in the engines ([`crate::component::engine`]), and what to call it.
const OFF: [(WasmFeatures, &str); 24] = [
    (WasmFeatures::EXCEPTIONS, "exceptions"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "exceptions in their old encoding"),
    (WasmFeatures::GC_TYPES, "garbage collection (GC)"),
    (WasmFeatures::MEMORY64, "64-bit memory"),
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

/// Those of the features that are off which `bytes` need; none, if they are not valid whatever is on.
pub fn missing(bytes: &[u8]) -> Vec<&'static str> {
    let everything = OFF.iter().fold(WasmFeatures::default(), |all, (feature, _)| all.union(*feature));
    let is_valid = |features| Validator::new_with_features(features).validate_all(bytes).is_ok();
    if !is_valid(everything) {
        return Vec::new();
    }
    let needed = |feature: &WasmFeatures| !is_valid(everything.difference(*feature));
    OFF.iter().filter(|(feature, _)| needed(feature)).map(|(_, name)| *name).collect()
}
