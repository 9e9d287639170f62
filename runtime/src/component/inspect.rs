//! What was handed in: looks at a module's outside before anything is compiled.
//!
//! Reads section headers only; the whole validation happens in the compiling child. Every refusal names
//! what is missing or unknown and what to do.

use serde::{Deserialize, Serialize};
use wasmparser::{
    ComponentExternalKind, ComponentTypeRef, CustomSectionReader, KnownCustom, Parser, Payload, TypeRef,
};

use crate::component::interfaces;

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

/// The language a guest was written in, where that decides a default (SPEC 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Python: an interpreter that runs one thing at a time.
    Python,
    /// JavaScript: StarlingMonkey's event loop ends with the first `fetch` event it has answered.
    JavaScript,
    /// Any other.
    #[default]
    Other,
}

impl Language {
    /// The name under which it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Other => "other",
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

/// What can be told from a module's outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// What it is.
    pub form: Form,
    /// What it was written in.
    pub language: Language,
}

/// Why a module was refused. The code is stable, the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// Not WebAssembly at all.
    #[error("this is not a WebAssembly module: it {0}; deploy the .wasm file that your compiler writes")]
    NotWasm(&'static str),
    /// WebAssembly that ends early or is malformed.
    #[error(
        "this WebAssembly module is damaged: {0}; build it again and check that the file was copied whole"
    )]
    Malformed(String),
    /// Needs what the sandbox does not offer.
    #[error("this module needs {0}, which wfn does not run; build it without")]
    Unsupported(&'static str),
    /// A module without an entry that the host can call.
    #[error("{0}")]
    NoEntry(String),
    /// Imports nobody provides.
    #[error("unknown imports: {}; {}", .imports.join(", "), .advice)]
    UnknownImports {
        /// All of them.
        imports: Vec<String>,
        /// What is provided to this kind of guest.
        advice: &'static str,
    },
}

impl InspectError {
    /// The stable code of the refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm(_) => "not-wasm",
            Self::Malformed(_) => "malformed-module",
            Self::Unsupported(_) => "unsupported-feature",
            Self::NoEntry(_) => "no-entry",
            Self::UnknownImports { .. } => "unknown-imports",
        }
    }
}

/// Says what `bytes` are, or why they cannot run here.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    if bytes.is_empty() {
        return Err(InspectError::NotWasm("is empty"));
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(InspectError::NotWasm("is a native program (ELF); precompiled code is never accepted"));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(InspectError::NotWasm("is a zip archive"));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm("does not start with \"\\0asm\""));
    }
    let outside = Outside::read(bytes)?;
    if outside.shared_memory {
        return Err(InspectError::Unsupported("threads (shared memory)"));
    }
    let form = if outside.is_component {
        Form::Complete(outside.component_kind()?)
    } else if outside.has_component_type {
        Form::ToComponentize
    } else {
        Form::Complete(outside.command()?)
    };
    Ok(Inspection { form, language: outside.language })
}

/// The imports and exports of the outermost module or component, and what its makers noted anywhere in it.
#[derive(Default)]
struct Outside {
    is_component: bool,
    has_component_type: bool,
    language: Language,
    imports: Vec<String>,
    exports: Vec<String>,
    shared_memory: bool,
}

impl Outside {
    fn read(bytes: &[u8]) -> Result<Self, InspectError> {
        let damaged = |error: wasmparser::BinaryReaderError| InspectError::Malformed(error.to_string());
        let mut outside = Self { is_component: Parser::is_component(bytes), ..Self::default() };
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(damaged)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) => {
                    outside.has_component_type |= depth == 0 && section.name().starts_with("component-type");
                    outside.language = language_by_producers(&section).unwrap_or(outside.language);
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        outside.shared_memory |= memory.map_err(damaged)?.shared;
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(damaged)?;
                        outside.shared_memory |=
                            matches!(import.ty, TypeRef::Memory(memory) if memory.shared);
                        if depth == 0 {
                            outside.imports.push(format!("{}/{}", import.module, import.name));
                        } else if import.module == "env" && is_of_python(import.name) {
                            outside.language = Language::Python;
                        }
                    }
                }
                Payload::ExportSection(exports) if depth == 0 => {
                    for export in exports {
                        outside.exports.push(export.map_err(damaged)?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import.map_err(damaged)?;
                        // Type imports are names for types of other imports, not things to provide.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            outside.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export.map_err(damaged)?;
                        if export.kind == ComponentExternalKind::Instance {
                            outside.exports.push(export.name.name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(outside)
    }

    fn exports(&self, name: &str) -> bool {
        self.exports.iter().any(|export| export == name)
    }

    fn component_kind(&self) -> Result<GuestKind, InspectError> {
        let handles = |interface, version| {
            self.exports.iter().any(|export| interfaces::is_version(export, interface, version))
        };
        // Of two ways to call it, the one that lets invocations share a worker.
        let (kind, provided, advice): (_, fn(&str) -> bool, _) = if handles("wasi:http/handler", "0.3") {
            (GuestKind::P3, interfaces::is_provided_to_p3, interfaces::PROVIDED_TO_P3)
        } else if handles("wasi:http/incoming-handler", "0.2") {
            (GuestKind::P2, interfaces::is_provided_to_p2, interfaces::PROVIDED_TO_P2)
        } else {
            return Err(self.no_handler());
        };
        self.refuse_unknown(provided, advice)?;
        Ok(kind)
    }

    fn no_handler(&self) -> InspectError {
        let has = if self.exports.is_empty() { "no interface".into() } else { self.exports.join(", ") };
        let draft = self.exports.iter().any(|export| export.starts_with("wasi:http/handler@0.3."));
        let advice = if draft {
            "a draft of WASI 0.3: build it with a compiler or binding crate for 0.3.0 (in Rust: wasip3 0.10 or later)"
        } else {
            "neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3: export an HTTP handler \
             (in Rust: crate wfn-sdk, wstd, wasip2 or wasip3; 'wfn new' begins one in five languages)"
        };
        InspectError::NoEntry(format!("this component exports {has}: {advice}"))
    }

    /// A core module without a component-type section runs as a command or not at all.
    fn command(&self) -> Result<GuestKind, InspectError> {
        if self.exports("_start") {
            self.refuse_unknown(interfaces::is_provided_to_commands, interfaces::PROVIDED_TO_COMMANDS)?;
            return Ok(GuestKind::Command);
        }
        let what = if self.exports("_initialize") {
            "this is a core WebAssembly reactor (it exports _initialize, not _start): there is nothing to call per request"
        } else {
            "this is a core WebAssembly module that exports neither _start nor a component type"
        };
        Err(InspectError::NoEntry(format!(
            "{what}; build a command for WASI preview 1 (a program with main, which answers as CGI) or a component that \
             exports wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3"
        )))
    }

    fn refuse_unknown(
        &self,
        is_provided: fn(&str) -> bool,
        advice: &'static str,
    ) -> Result<(), InspectError> {
        let imports: Vec<String> =
            self.imports.iter().filter(|import| !is_provided(import)).cloned().collect();
        if imports.is_empty() { Ok(()) } else { Err(InspectError::UnknownImports { imports, advice }) }
    }
}

/// What the makers noted, if the section is such a note. One that cannot be read says nothing.
fn language_by_producers(section: &CustomSectionReader<'_>) -> Option<Language> {
    let KnownCustom::Producers(fields) = section.as_known() else { return None };
    fields.into_iter().flatten().find_map(|field| {
        let mut values = field.values.into_iter().flatten().map(|value| value.name);
        if field.name != "language" {
            return None;
        }
        values.find_map(|name| match name {
            "Python" => Some(Language::Python),
            "JavaScript" => Some(Language::JavaScript),
            _ => None,
        })
    })
}

/// Whether a function that one module of a component takes from another is of CPython's interface: componentize-py
/// leaves no note, and names can be stripped.
fn is_of_python(function: &str) -> bool {
    function.starts_with("_Py_") || function.starts_with("PyObject_") || function.starts_with("PyErr_")
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
