//! What was handed in: looks at a module's outside before anything is compiled.
//!
//! Reads section headers only; the whole validation happens in the compiling child. Every refusal names
//! what is missing or unknown and what to do.

use serde::{Deserialize, Serialize};
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Parser, Payload, TypeRef};

/// The kinds of guest this host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A component exporting `wasi:http/incoming-handler@0.2.x`.
    P2,
}

impl GuestKind {
    /// The short name in `wfn status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P2 => "p2",
        }
    }
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
    /// A core module without an entry that the host can call.
    #[error("{0}")]
    NoEntry(String),
    /// Imports nobody provides.
    #[error(
        "unknown imports: {}; wfn provides the interfaces of WASI 0.2 (wasi:http, cli, io, clocks, random, filesystem, sockets) and nothing else",
        .0.join(", ")
    )]
    UnknownImports(Vec<String>),
}

impl InspectError {
    /// The stable code of the refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm(_) => "not-wasm",
            Self::Malformed(_) => "malformed-module",
            Self::Unsupported(_) => "unsupported-feature",
            Self::NoEntry(_) => "no-entry",
            Self::UnknownImports(_) => "unknown-imports",
        }
    }
}

/// The interfaces of WASI 0.2 that the linker provides.
const PROVIDED: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Says what kind of guest `bytes` are, or why they cannot run here.
pub fn inspect(bytes: &[u8]) -> Result<GuestKind, InspectError> {
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
    if outside.is_component { outside.component_kind() } else { Err(outside.core_refusal()) }
}

/// The imports and exports of the outermost module or component.
#[derive(Default)]
struct Outside {
    is_component: bool,
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

    fn component_kind(&self) -> Result<GuestKind, InspectError> {
        if !self.exports.iter().any(|export| is_version_0_2(export, "wasi:http/incoming-handler")) {
            let has = if self.exports.is_empty() { "no interface".into() } else { self.exports.join(", ") };
            return Err(InspectError::NoEntry(format!(
                "this component exports {has}, but not wasi:http/incoming-handler@0.2: export an HTTP handler \
                 (in Rust: crate wfn-sdk or wasip2)"
            )));
        }
        let unknown: Vec<String> = self
            .imports
            .iter()
            .filter(|import| !PROVIDED.iter().any(|provided| is_version_0_2(import, provided)))
            .cloned()
            .collect();
        if unknown.is_empty() { Ok(GuestKind::P2) } else { Err(InspectError::UnknownImports(unknown)) }
    }

    fn core_refusal(&self) -> InspectError {
        let what = if self.exports.iter().any(|export| export == "_start") {
            "this is a core WebAssembly command (it exports _start), not a component"
        } else {
            "this is a core WebAssembly module without a known entry, not a component"
        };
        InspectError::NoEntry(format!(
            "{what}: build a component that exports wasi:http/incoming-handler@0.2 \
             (in Rust: target wasm32-wasip2 with crate wfn-sdk or wasip2)"
        ))
    }
}

/// Whether `name` is `interface` in a version 0.2.x.
fn is_version_0_2(name: &str, interface: &str) -> bool {
    name.strip_prefix(interface)
        .and_then(|rest| rest.strip_prefix("@0.2."))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
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

    #[test]
    fn versions_are_matched_whole() {
        assert!(is_version_0_2("wasi:io/poll@0.2.10", "wasi:io/poll"));
        for other in [
            "wasi:io/poll",
            "wasi:io/poll@0.3.0",
            "wasi:io/poller@0.2.1",
            "wasi:io/poll@0.2.",
            "wasi:io/poll@0.2.0-rc",
        ] {
            assert!(!is_version_0_2(other, "wasi:io/poll"), "{other}");
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
