//! Inspects and compiles a module in a child process with limits.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::component::code::Code;
use crate::component::componentize::componentize;
use crate::component::function_cache::FunctionCache;
use crate::component::inspect::{Form, GuestKind, InspectError, Inspection, inspect};
use crate::component::instance_size::Footprint;
use crate::component::{engine, features};
use crate::limited::{self, ChildJob, NoAnswer, Progress};
use crate::limits;
use crate::manifest::Language;
use crate::names::{CodeHash, ModuleHash};
use crate::text::plain;

/// The job of the child, [`child_main`].
pub const JOB: ChildJob = ChildJob {
    command: "compile-module",
    memory_bytes: limits::COMPILE_MEMORY_BYTES,
    cpu_seconds: limits::COMPILE_CPU_SECONDS,
    file_bytes: limits::ARTIFACT_BYTES_MAX,
    time: limits::COMPILE_TIMEOUT,
};

/// The result of a compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiled {
    /// What kind of guest it is.
    pub kind: GuestKind,
    /// The language it was written in.
    pub language: Language,
    /// What an instance takes besides its memories.
    pub footprint: Footprint,
    /// The SHA-256 of its machine code.
    pub code: CodeHash,
}

/// Why a module was not compiled.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum CompileError {
    /// It cannot run here.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The compiler refuses the module; the text says why.
    #[error("this module does not compile: {0}")]
    Invalid(String),
    /// A core module that describes a component, but cannot become one that runs here.
    #[error("this core module does not become a component: {0}")]
    NotAComponent(String),
    /// Compiling the module takes more than the limits allow.
    #[error("compiling this module takes more than {0}: split it or strip what it does not use")]
    TooCostly(String),
    /// The content of the module's file does not match its name.
    #[error("its file is damaged")]
    Damaged,
    /// A disk error, or the child could not be run.
    #[error("compile the module: {0}")]
    Io(
        #[serde(with = "limited::io_error")]
        #[from]
        io::Error,
    ),
}

impl From<NoAnswer> for CompileError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::TooCostly(what) => Self::TooCostly(what),
            NoAnswer::Failed(words) => Self::Invalid(format!("the compiler fails on it: {words}")),
            NoAnswer::Io(error) => Self::Io(error),
        }
    }
}

/// Compiles `module`, whose SHA-256 must be `hash`, to `artifact` in a limited child of this binary. Blocks. `progress` is told
/// about every half second how far it is. Functions that are in the file `functions` from the last compilation are not compiled
/// again.
pub fn in_child(
    module: &Path,
    hash: ModuleHash,
    artifact: &Path,
    functions: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compiled, CompileError> {
    let hash = hash.to_string();
    let mut arguments = vec![module.as_os_str(), OsStr::new(&hash), artifact.as_os_str()];
    arguments.extend(functions.map(Path::as_os_str));
    JOB.run::<Result<_, _>>(&arguments, progress)?
}

/// Does the child's work with the arguments of [`in_child`]. Returns its exit code.
pub fn child_main(arguments: &[impl AsRef<OsStr>]) -> i32 {
    JOB.work(|| {
        let [module, hash, artifact, functions @ ..] = arguments else {
            return Err(CompileError::Io(io::ErrorKind::InvalidInput.into()));
        };
        let bytes = fs::read(module.as_ref())?;
        if hash.as_ref() != sha256(&bytes).to_string().as_str() {
            return Err(CompileError::Damaged);
        }
        let functions = functions.first().map(|file| Path::new(file.as_ref()));
        compile(&bytes, Path::new(artifact.as_ref()), functions)
    })
}

fn compile(bytes: &[u8], artifact: &Path, functions: Option<&Path>) -> Result<Compiled, CompileError> {
    let inspection = inspect(bytes)?;
    let cache = functions.map(|file| Arc::new(FunctionCache::open(file, inspection.functions)));
    let (kind, inspection, code) = machine_code(bytes, inspection, cache.clone())?;
    File::create(artifact)?.write_all(&code)?;
    if let (Some(cache), Some(file)) = (cache, functions)
        && let Err(error) = cache.save(file)
    {
        // The next compilation takes longer.
        eprintln!("keep the compiled functions: {error}");
    }
    let Inspection { language, footprint, .. } = inspection;
    Ok(Compiled { kind, language, footprint, code: sha256(&code) })
}

/// Returns the kind of guest that `bytes` are, what else is known of them, and their machine code.
fn machine_code(
    bytes: &[u8],
    mut inspection: Inspection,
    functions: Option<Arc<FunctionCache>>,
) -> Result<(GuestKind, Inspection, Vec<u8>), CompileError> {
    let (kind, component) = match inspection.form {
        Form::Complete(kind) => (kind, None),
        Form::ToComponentize => {
            let (kind, footprint, component) = component_of(bytes)?;
            inspection.footprint = footprint;
            (kind, Some(component))
        }
    };
    let bytes = component.as_deref().unwrap_or(bytes);
    let code = engine::compiling_engine(kind.engine_kind(), functions)
        .and_then(|engine| Code::compile(&engine, kind, bytes))
        .map_err(|error| refusal(bytes, CompileError::Invalid(plain(&format!("{error:#}")))))?;
    Ok((kind, inspection, code))
}

/// Returns the component that a core module describes, its kind of guest, and the size of an instance.
fn component_of(module: &[u8]) -> Result<(GuestKind, Footprint, Vec<u8>), CompileError> {
    let component = componentize(module).map_err(|why| refusal(module, CompileError::NotAComponent(why)))?;
    match inspect(&component) {
        Ok(Inspection { form: Form::Complete(kind), footprint, .. }) => Ok((kind, footprint, component)),
        Ok(_) => Err(CompileError::NotAComponent("the encoder did not make a component of it".into())),
        Err(error) => Err(CompileError::NotAComponent(error.to_string())),
    }
}

/// Returns the missing features, if they are why a compilation failed, or else `error`.
fn refusal(bytes: &[u8], error: CompileError) -> CompileError {
    let missing = features::missing(bytes);
    if missing.is_empty() { error } else { InspectError::Unsupported(missing.join(" and ")).into() }
}

fn sha256(bytes: &[u8]) -> ModuleHash {
    ModuleHash::new(Sha256::digest(bytes).into())
}
