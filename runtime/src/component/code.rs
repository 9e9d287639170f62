//! Holds compiled guests, by kind.

use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

use crate::component::engine::{EngineKind, Engines};
use crate::component::inspect::GuestKind;

/// Machine code of one module, shared by all revisions that run it. Cheap to clone.
#[derive(Clone)]
pub enum Code {
    /// A component that handles HTTP in the way of WASI 0.2.
    P2(Component),
    /// A component that handles HTTP in the way of WASI 0.3.
    P3(Component),
    /// A program for WASI preview 1.
    Command(Module),
}

impl Code {
    /// Returns the kind of guest.
    pub fn kind(&self) -> GuestKind {
        match self {
            Self::P2(_) => GuestKind::P2,
            Self::P3(_) => GuestKind::P3,
            Self::Command(_) => GuestKind::Command,
        }
    }

    /// Loads what the compiling child wrote for the engine of `kind`.
    #[expect(unsafe_code, reason = "loading machine code is unsafe by nature; see the safety comment")]
    pub(super) fn load(engines: &Engines, kind: EngineKind, artifact: &Path) -> wasmtime::Result<Self> {
        let engine = engines.get(kind);
        // SAFETY: the file was written by our own compiling child from a validated module, published whole
        // (temporary file, fsync, rename), and lies in a directory that only the host's user may enter.
        unsafe {
            match (Engine::detect_precompiled_file(artifact)?, kind) {
                (Some(Precompiled::Module), _) => {
                    Ok(Self::Command(Module::deserialize_file(engine, artifact)?))
                }
                (_, EngineKind::Sequential) => Ok(Self::P2(Component::deserialize_file(engine, artifact)?)),
                (_, EngineKind::Concurrent) => Ok(Self::P3(Component::deserialize_file(engine, artifact)?)),
            }
        }
    }

    /// Compiles `bytes`, a guest of `kind`, into what [`Self::load`] reads.
    pub(super) fn compile(engine: &Engine, kind: GuestKind, bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
        match kind {
            GuestKind::P2 | GuestKind::P3 => engine.precompile_component(bytes),
            GuestKind::Command => engine.precompile_module(bytes),
        }
    }
}
