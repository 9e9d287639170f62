//! Inspects a module before it is compiled: its kind, and what it needs.
//!
//! Reads section headers only; compiling validates the rest. A host does both in a child with limits. `wfn build` calls it
//! directly on what it has built. Every refusal names what is missing or unknown and what to do.

use serde::{Deserialize, Serialize};

use crate::component::instance_size::Footprint;
use crate::component::interfaces;
use crate::component::outside::{Names, Outside};
use crate::manifest::Language;
use crate::text::plain;

/// The kinds of guest this host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A component exporting `wasi:http/incoming-handler@0.2.x`: one invocation at a time per worker.
    P2,
    /// A component exporting `wasi:http/handler@0.3.x`: asynchronous, many invocations per worker.
    P3,
    /// A core module exporting `_start`, for WASI preview 1: run once per invocation as CGI.
    Command,
}

impl GuestKind {
    /// The short name in `wfn status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P2 => "p2",
            Self::P3 => "p3",
            Self::Command => "command",
        }
    }
}

/// What has to be done with a module before it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    Complete(GuestKind),
    /// A core module with a component-type section: it becomes a component first.
    ToComponentize,
}

impl Form {
    /// What to call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete(kind) => kind.as_str(),
            Self::ToComponentize => "module",
        }
    }
}

/// What is known of a module before it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// What has to be done with it.
    pub form: Form,
    /// The language it was written in.
    pub language: Language,
    /// What an instance takes besides its memories.
    pub footprint: Footprint,
    /// How many functions there are to compile.
    pub functions: usize,
}

/// Why a module was refused. The code is stable, the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InspectError {
    /// Not WebAssembly at all.
    #[error("this is not a WebAssembly module: it {0}; deploy the .wasm file that your compiler writes")]
    NotWasm(String),
    /// WebAssembly that ends early or is malformed.
    #[error(
        "this WebAssembly module is damaged: {0}; build it again and check that the file was copied whole"
    )]
    Malformed(String),
    /// WebAssembly in an encoding that this wfn does not read; says which.
    #[error("this is {0}: build it again with current tools")]
    Encoding(String),
    /// Needs what the sandbox does not offer.
    #[error("this module needs {0}, which wfn does not run: build it without")]
    Unsupported(String),
    /// A module without an export that the host can call.
    #[error("{0}")]
    NoEntry(String),
    /// Imports that the host does not provide.
    #[error("unknown imports: {imports}; {advice}")]
    UnknownImports {
        /// Their names, or how many there are.
        imports: Names,
        /// What is provided to this kind of guest.
        advice: String,
    },
}

impl InspectError {
    /// The stable code of the refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm(_) => "not-wasm",
            Self::Malformed(_) => "malformed-module",
            Self::Encoding(_) | Self::Unsupported(_) => "unsupported-feature",
            Self::NoEntry(_) => "no-entry",
            Self::UnknownImports { .. } => "unknown-imports",
        }
    }
}

/// Returns what `bytes` are, or why they cannot run here.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    check_preamble(bytes)?;
    let outside = Outside::read(bytes).map_err(damaged)?;
    if outside.shared_memory {
        return Err(InspectError::Unsupported("threads (shared memory)".into()));
    }
    let form = if outside.is_component {
        Form::Complete(component_kind(bytes, &outside)?)
    } else if outside.has_component_type {
        Form::ToComponentize
    } else {
        command(bytes, &outside)?;
        Form::Complete(GuestKind::Command)
    };
    let footprint = outside.instance_size.footprint();
    Ok(Inspection { form, language: outside.language, footprint, functions: outside.functions })
}

fn damaged(error: wasmparser::BinaryReaderError) -> InspectError {
    InspectError::Malformed(plain(&error.to_string()))
}

/// Checks the first eight bytes: four that every module begins with, a version, and whether it is a module or a component.
fn check_preamble(bytes: &[u8]) -> Result<(), InspectError> {
    let not_wasm = |what: &str| Err(InspectError::NotWasm(what.into()));
    let other = |what: String| Err(InspectError::Encoding(what));
    match bytes {
        [] => not_wasm("is empty"),
        [0x7f, b'E', b'L', b'F', ..] => {
            not_wasm("is a native program (ELF); precompiled code is never accepted")
        }
        [b'P', b'K', 3, 4, ..] => not_wasm("is a zip archive"),
        [0, b'a', b's', b'm', rest @ ..] => match *rest {
            [1, 0, 0, 0, ..] | [0x0d, 0, 1, 0, ..] => Ok(()),
            [version @ 0..0x0d, 0, 1, 0, ..] => other(format!(
                "a component in encoding {version}, from before WASI 0.2; wfn reads encoding 13"
            )),
            [version, 0, 0, 0, ..] if version > 1 => {
                other(format!("a module of version {version}, a draft from before WebAssembly 1.0"))
            }
            [_, _, _, _, ..] => {
                other("WebAssembly in an encoding that this wfn does not know, or damaged".into())
            }
            _ => Err(InspectError::Malformed("it ends within its first eight bytes".into())),
        },
        _ => not_wasm("does not start with \"\\0asm\""),
    }
}

fn component_kind(bytes: &[u8], outside: &Outside) -> Result<GuestKind, InspectError> {
    // If there are two, the one with which invocations share a worker.
    if outside.entries.p3_handler {
        refuse_unknown(bytes, interfaces::is_provided_to_p3, interfaces::PROVIDED_TO_P3)?;
        Ok(GuestKind::P3)
    } else if outside.entries.p2_handler {
        refuse_unknown(bytes, interfaces::is_provided_to_p2, interfaces::PROVIDED_TO_P2)?;
        Ok(GuestKind::P2)
    } else {
        Err(no_handler(outside))
    }
}

fn no_handler(outside: &Outside) -> InspectError {
    let (exports, entries) = (&outside.exports, &outside.entries);
    let has = if exports.is_empty() { "no interface".into() } else { exports.to_string() };
    let advice = if entries.draft_of_p3 {
        "a draft of WASI 0.3: build it with a compiler or binding crate for 0.3.0 (in Rust: wasip3 0.10 or later)"
    } else if entries.draft_of_p2 {
        "a draft of WASI 0.2: build it with a compiler or binding crate for 0.2.0 or later"
    } else if entries.run {
        "this is a program, which is called once and not for each request: build it for WASI preview 1 (in Rust: \
         --target wasm32-wasip1), then it answers as CGI, or export wasi:http/incoming-handler@0.2"
    } else {
        "neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3: export an HTTP handler \
         (in Rust: crate wfn-sdk, wstd, wasip2 or wasip3; 'wfn new' begins one in five languages)"
    };
    InspectError::NoEntry(format!("this component exports {has}: {advice}"))
}

/// A core module without a component-type section runs as a command or not at all.
fn command(bytes: &[u8], outside: &Outside) -> Result<(), InspectError> {
    let entries = &outside.entries;
    let what = if entries.spin_1 {
        "this is a module for Spin 1 (it exports handle-http-request or handle-redis-message, which only Spin calls)"
    } else if entries.start {
        return refuse_unknown(bytes, interfaces::is_provided_to_commands, interfaces::PROVIDED_TO_COMMANDS);
    } else if entries.initialize {
        "this is a core WebAssembly reactor (it exports _initialize, not _start): there is nothing to call per request"
    } else {
        "this is a core WebAssembly module that exports neither _start nor a component type"
    };
    Err(InspectError::NoEntry(format!(
        "{what}; build a command for WASI preview 1 (a program with main, which answers as CGI) or a component that \
         exports wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3"
    )))
}

fn refuse_unknown(bytes: &[u8], is_provided: fn(&str) -> bool, advice: &str) -> Result<(), InspectError> {
    let imports = Outside::unknown_imports(bytes, is_provided).map_err(damaged)?;
    if imports.is_empty() {
        return Ok(());
    }
    let drafts = imports.has(|name| name.starts_with("wasi:") && name.contains("-rc-"));
    let drafts =
        if drafts { "those with -rc- are drafts of WASI, build for the released version; " } else { "" };
    Err(InspectError::UnknownImports { imports, advice: format!("{drafts}{advice}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_wasm_is_named() {
        for (bytes, code) in [
            (&b""[..], "not-wasm"),
            (b"hello", "not-wasm"),
            (b"\x7fELF\x02\x01", "not-wasm"),
            (b"PK\x03\x04", "not-wasm"),
            (b"\0asm", "malformed-module"),
            (b"\0asm\x01\0\0\0", "no-entry"),
            (b"\0asm\x0d\0\x01\0", "no-entry"),
            (b"\0asm\x0c\0\x01\0", "unsupported-feature"),
            (b"\0asm\x0b\0\0\0", "unsupported-feature"),
            (b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x02", "unsupported-feature"),
            (b"\0asm\x01\0\0\0\x05\xff\x01", "malformed-module"),
        ] {
            assert_eq!(inspect(bytes).map_err(|error| error.code()), Err(code), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), component in any::<bool>()) {
            let mut module = if component { b"\0asm\x0d\0\x01\0".to_vec() } else { b"\0asm\x01\0\0\0".to_vec() };
            module.extend(bytes);
            prop_assert!(inspect(&module).is_err());
        }
    }
}
