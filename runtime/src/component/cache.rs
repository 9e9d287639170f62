//! Modules and their machine code on disk, named by content.
//!
//! `modules/<sha256>.wasm` holds what users handed in; `artifacts/<engine>/<sha256>` the machine code that
//! the compiling child made of it. Artifacts can be made again at any time and are never accepted from
//! outside. The data directory belongs to the host's user alone (mode 0700), which is what makes loading
//! machine code from it sound.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use crate::component::code::Code;
use crate::component::compile::{self, CompileError};
use crate::component::engine::{self, EngineKind, Engines};
use crate::names::ModuleHash;
use crate::persist::artifacts;

/// The module store and code cache of one data directory.
pub struct ComponentCache {
    engines: Engines,
    modules: PathBuf,
    /// A folder of machine code per engine, in the order of [`EngineKind::ALL`]; a module is in one of them.
    artifacts: [PathBuf; 2],
    /// Where single functions are kept for the next compilation, if they are.
    functions: Option<PathBuf>,
    /// Code loaded since the last collection of garbage, so that revisions of one module share it.
    loaded: Mutex<HashMap<ModuleHash, Code>>,
}

/// Why a stored module could not be made ready to run.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The module is not stored: it has to be uploaded first.
    #[error("module {0} is not stored on this host: upload it first")]
    Missing(ModuleHash),
    /// Compiling failed.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The disk failed.
    #[error("read or write the module store: {0}")]
    Io(#[from] io::Error),
    /// wasmtime refused what the child wrote.
    #[error("load compiled module {0}: {1}")]
    Load(ModuleHash, String),
}

impl ComponentCache {
    /// Opens the store below `data_dir`, making its folders; artifacts of other engines are removed. With
    /// `keep_functions`, a compilation takes over what the one before it compiled.
    pub fn open(engines: Engines, data_dir: &Path, keep_functions: bool) -> io::Result<Self> {
        let modules = data_dir.join("modules");
        let all_artifacts = data_dir.join("artifacts");
        let artifacts =
            EngineKind::ALL.map(|kind| all_artifacts.join(engine::compatibility_key(engines.get(kind))));
        fs::create_dir_all(&modules)?;
        artifacts::remove_temporary(&modules)?;
        for folder in &artifacts {
            fs::create_dir_all(folder)?;
            artifacts::remove_temporary(folder)?;
        }
        for folder in fs::read_dir(&all_artifacts)? {
            let folder = folder?.path();
            if !artifacts.contains(&folder) {
                fs::remove_dir_all(folder)?;
            }
        }
        let functions = keep_functions.then(|| artifacts[0].join("functions"));
        Ok(Self { engines, modules, artifacts, functions, loaded: Mutex::default() })
    }

    /// The folder in which uploads are received.
    pub fn modules_dir(&self) -> &Path {
        &self.modules
    }

    /// Where the module's bytes are or belong.
    pub fn module_path(&self, hash: ModuleHash) -> PathBuf {
        self.modules.join(format!("{hash}.wasm"))
    }

    /// Whether the module's bytes are stored.
    pub fn has_module(&self, hash: ModuleHash) -> bool {
        self.module_path(hash).is_file()
    }

    /// The code of a module that was compiled before: from memory or from cached machine code. Blocks for
    /// milliseconds; run it off the event loops.
    pub fn load_compiled(&self, hash: ModuleHash) -> Result<Option<Code>, CacheError> {
        if let Some(code) = self.loaded.lock().get(&hash) {
            return Ok(Some(code.clone()));
        }
        for (kind, folder) in EngineKind::ALL.into_iter().zip(&self.artifacts) {
            let artifact = folder.join(hash.to_string());
            if !artifact.is_file() {
                continue;
            }
            return match Code::load(&self.engines, kind, &artifact) {
                Ok(code) => {
                    self.loaded.lock().insert(hash, code.clone());
                    Ok(Some(code))
                }
                Err(error) => {
                    // What cannot be loaded is no use to a later attempt either: it is compiled again then.
                    fs::remove_file(&artifact)?;
                    Err(CacheError::Load(hash, format!("{error:#}")))
                }
            };
        }
        Ok(None)
    }

    /// Compiles a stored module in a child, which reports how long it has been at it to `progress`. Blocks
    /// for as long as that takes.
    pub fn compile(&self, hash: ModuleHash, progress: &mut dyn FnMut(Duration)) -> Result<(), CacheError> {
        let module = self.module_path(hash);
        if !module.is_file() {
            return Err(CacheError::Missing(hash));
        }
        // All are on one file system: the child says only at its end which folder the code is for.
        let pending = artifacts::temporary_in(&self.modules)?;
        let kind =
            compile::in_child(&module, pending.path(), self.functions.as_deref(), progress)?.engine_kind();
        Ok(pending.publish(&self.artifacts[kind as usize].join(hash.to_string()))?)
    }

    /// Forgets loaded code and removes the files, written longer than `age` ago, of every module that is not in
    /// `referenced`.
    pub fn retain(&self, referenced: &HashSet<ModuleHash>, age: Duration) -> io::Result<()> {
        self.loaded.lock().clear();
        for folder in self.artifacts.iter().chain([&self.modules]) {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                // A clock that was set back makes a file look new, and it is kept.
                let old_enough = entry.metadata()?.modified()?.elapsed().is_ok_and(|since| since >= age);
                let hash = path.file_stem().and_then(|stem| stem.to_str()).map(ModuleHash::parse);
                if let Some(Ok(hash)) = hash
                    && old_enough
                    && !referenced.contains(&hash)
                {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}
