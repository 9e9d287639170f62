//! Modules and their machine code on disk, named by content.
//!
//! `modules/<sha256>.wasm` holds what users handed in; `artifacts/<engine>/<sha256>` the machine code that
//! the compiling child made of it. Artifacts can be made again at any time and are never accepted from
//! outside. The data directory belongs to the host's user alone (mode 0700), which is what makes loading
//! machine code from it sound.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::compile::{self, CompileError};
use crate::component::engine;
use crate::names::ModuleHash;
use crate::persist::artifacts;

/// The module store and code cache of one data directory.
pub struct ComponentCache {
    engine: Engine,
    modules: PathBuf,
    artifacts: PathBuf,
    /// Components loaded now, so that revisions of one module share their code.
    loaded: Mutex<std::collections::HashMap<ModuleHash, Arc<Component>>>,
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
    /// Opens the store below `data_dir`, making its folders; artifacts of other engines are removed.
    pub fn open(engine: Engine, data_dir: &Path) -> io::Result<Self> {
        let modules = data_dir.join("modules");
        let all_artifacts = data_dir.join("artifacts");
        let artifacts = all_artifacts.join(engine::compatibility_key(&engine));
        fs::create_dir_all(&modules)?;
        fs::create_dir_all(&artifacts)?;
        for folder in fs::read_dir(&all_artifacts)? {
            let folder = folder?.path();
            if folder != artifacts {
                fs::remove_dir_all(folder)?;
            }
        }
        artifacts::remove_temporary(&modules)?;
        artifacts::remove_temporary(&artifacts)?;
        Ok(Self { engine, modules, artifacts, loaded: Mutex::default() })
    }

    /// The folder in which uploads are received.
    pub fn modules_dir(&self) -> &Path {
        &self.modules
    }

    /// Where the module's bytes are or belong.
    pub fn module_path(&self, hash: ModuleHash) -> PathBuf {
        self.modules.join(format!("{hash}.wasm"))
    }

    fn artifact_path(&self, hash: ModuleHash) -> PathBuf {
        self.artifacts.join(hash.to_string())
    }

    /// Whether the module's bytes are stored.
    pub fn has_module(&self, hash: ModuleHash) -> bool {
        self.module_path(hash).is_file()
    }

    /// The component of a module that was compiled before: from memory or from cached machine code. Blocks
    /// for milliseconds; run it off the event loops.
    pub fn load_compiled(&self, hash: ModuleHash) -> Result<Option<Arc<Component>>, CacheError> {
        if let Some(component) = self.loaded.lock().get(&hash) {
            return Ok(Some(component.clone()));
        }
        let artifact = self.artifact_path(hash);
        if !artifact.is_file() {
            return Ok(None);
        }
        match deserialize(&self.engine, &artifact) {
            Ok(component) => {
                let component = Arc::new(component);
                self.loaded.lock().insert(hash, component.clone());
                Ok(Some(component))
            }
            Err(error) => {
                // What cannot be loaded is no use to a later attempt either: it is compiled again then.
                fs::remove_file(&artifact)?;
                Err(CacheError::Load(hash, format!("{error:#}")))
            }
        }
    }

    /// Compiles a stored module in a child, which reports how long it has been at it to `progress`. Blocks
    /// for as long as that takes.
    pub fn compile(&self, hash: ModuleHash, progress: &mut dyn FnMut(Duration)) -> Result<(), CacheError> {
        let module = self.module_path(hash);
        if !module.is_file() {
            return Err(CacheError::Missing(hash));
        }
        let pending = artifacts::temporary_in(&self.artifacts)?;
        compile::in_child(&module, pending.path(), progress)?;
        Ok(pending.publish(&self.artifact_path(hash))?)
    }

    /// Forgets loaded components that are used nowhere else and removes the files, written longer than
    /// `age` ago, of every module that is not in `referenced`.
    pub fn retain(&self, referenced: &HashSet<ModuleHash>, age: Duration) -> io::Result<()> {
        self.loaded.lock().retain(|_, component| Arc::strong_count(component) > 1);
        for folder in [&self.modules, &self.artifacts] {
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

#[expect(unsafe_code, reason = "loading machine code is unsafe by nature; see the safety comment")]
fn deserialize(engine: &Engine, artifact: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file was written by our own compiling child from a validated module, published whole
    // (temporary file, fsync, rename), and lies in a directory that only the host's user may enter.
    unsafe { Component::deserialize_file(engine, artifact) }
}
