//! Keeps modules and their machine code on disk, named by content.
//!
//! `modules/<sha256>.wasm` is a module as it was uploaded. `artifacts/<engine>/<sha256>` is the machine code that the compiling
//! child made of it, and `<sha256>.json` beside it says what it is and has its hash. Artifacts can be made again at any time and
//! are never accepted from outside. The data directory belongs only to the host's user (mode 0700); that makes it sound to load
//! machine code from it. What a disk has damaged is found by the hash and made again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::component::code::Code;
use crate::component::compile::{self, CompileError, Compiled};
use crate::component::engine::{self, EngineKind, Engines};
use crate::component::instance_size::Footprint;
use crate::limited::Progress;
use crate::limits;
use crate::manifest::Language;
use crate::names::{AppName, ModuleHash};
use crate::persist::artifacts;

/// The code of a module, and its language. Cheap to clone.
#[derive(Clone)]
pub struct Guest {
    /// The code.
    pub code: Code,
    /// The language it was written in, which decides some defaults.
    pub language: Language,
    /// What an instance takes besides its memories.
    pub footprint: Footprint,
}

/// The module store and code cache of one data directory.
pub struct ComponentCache {
    engines: Engines,
    modules: PathBuf,
    /// A folder of machine code per engine, in the order of [`EngineKind::ALL`]; a module is in one of them.
    artifacts: [PathBuf; 2],
    /// The folder with a file of compiled functions for each app, for its next compilation.
    functions: PathBuf,
    /// Whether they are kept for small modules, too.
    keep_functions: bool,
    /// Code loaded since the last garbage collection, so that revisions of one module share it.
    loaded: Mutex<HashMap<ModuleHash, Guest>>,
}

/// Why a stored module could not be made ready to run.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The module is not stored: it has to be uploaded first.
    #[error("module {0} is not stored on this host: upload it first")]
    Missing(ModuleHash),
    /// The module's file is not what was uploaded.
    #[error("module {0} is damaged on the disk of this host: upload it again")]
    Damaged(ModuleHash),
    /// Compiling failed.
    #[error(transparent)]
    Compile(CompileError),
    /// The disk failed.
    #[error("read or write the module store: {0}")]
    Io(#[from] io::Error),
    /// wasmtime refused the code that the child wrote.
    #[error("load compiled module {0}: {1}")]
    Load(ModuleHash, String),
}

impl ComponentCache {
    /// Opens the store below `data_dir` and makes its folders. Removes artifacts of other engines. A
    /// compilation reuses what the one before it compiled for the same app: of large modules, with `keep_functions` of all.
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
        let functions = artifacts[0].join("of-apps");
        fs::create_dir_all(&functions)?;
        artifacts::remove_temporary(&functions)?;
        Ok(Self { engines, modules, artifacts, functions, keep_functions, loaded: Mutex::default() })
    }

    /// The folder in which uploads are received.
    pub fn modules_dir(&self) -> &Path {
        &self.modules
    }

    /// Returns the path of the module's file, whether it exists or not.
    pub fn module_path(&self, hash: ModuleHash) -> PathBuf {
        self.modules.join(format!("{hash}.wasm"))
    }

    /// Whether the module is stored undamaged. If so it counts as uploaded now. Blocks.
    pub fn has_module(&self, hash: ModuleHash) -> io::Result<bool> {
        let path = self.module_path(hash);
        match artifacts::hash_of(&path) {
            Ok(found) => {
                // If that is not allowed, nothing can be removed either.
                let _ = artifacts::touch(&path);
                Ok(found == hash)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the code of a module that was compiled before: from memory, or from the cached machine code if its hash is right.
    /// Blocks for milliseconds; run it off the event loops.
    pub fn load_compiled(&self, hash: ModuleHash) -> Option<Guest> {
        if let Some(guest) = self.loaded.lock().get(&hash) {
            return Some(guest.clone());
        }
        for (kind, folder) in EngineKind::ALL.into_iter().zip(&self.artifacts) {
            let artifact = folder.join(hash.to_string());
            if !artifact.is_file() {
                continue;
            }
            match self.load(kind, hash) {
                Ok(guest) => return Some(guest),
                Err(why) => tracing::warn!("the machine code of module {hash} is made again: {why}"),
            }
        }
        None
    }

    fn load(&self, kind: EngineKind, hash: ModuleHash) -> Result<Guest, String> {
        let artifact = self.artifacts[kind as usize].join(hash.to_string());
        let noted = fs::read(note_of(&artifact)).map_err(|error| format!("its note: {error}"))?;
        let noted: Compiled = serde_json::from_slice(&noted).map_err(|error| format!("its note: {error}"))?;
        if artifacts::hash_of(&artifact).map_err(|error| error.to_string())? != noted.code {
            return Err("it is damaged".into());
        }
        let code = Code::load(&self.engines, kind, &artifact).map_err(|error| format!("{error:#}"))?;
        let guest = Guest { code, language: noted.language, footprint: noted.footprint };
        self.loaded.lock().insert(hash, guest.clone());
        Ok(guest)
    }

    /// Compiles a stored module for `app` in a child and loads it. The child reports to `progress`. Blocks until it ends.
    pub fn compile(
        &self,
        hash: ModuleHash,
        app: &AppName,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Guest, CacheError> {
        let module = self.module_path(hash);
        let Ok(metadata) = fs::metadata(&module) else { return Err(CacheError::Missing(hash)) };
        let keeps = self.keep_functions || metadata.len() >= limits::FUNCTIONS_KEPT_MODULE_BYTES_MIN;
        let functions = keeps.then(|| self.functions.join(app.as_str()));
        // All are on one file system. Only at its end the child says which folder the code belongs to.
        let pending = artifacts::temporary_in(&self.artifacts[0])?;
        let compiled = compile::in_child(&module, hash, pending.path(), functions.as_deref(), progress)
            .map_err(|error| match error {
                CompileError::Damaged => CacheError::Damaged(hash),
                CompileError::Io(_) if !module.is_file() => CacheError::Missing(hash),
                CompileError::Io(error) => CacheError::Io(error),
                error => CacheError::Compile(error),
            })?;
        let kind = compiled.kind.engine_kind();
        let artifact = self.artifacts[kind as usize].join(hash.to_string());
        pending.publish(&artifact)?;
        let mut note = artifacts::temporary_in(&self.artifacts[0])?;
        note.file().write_all(&serde_json::to_vec(&compiled).map_err(io::Error::from)?)?;
        note.publish(&note_of(&artifact))?;
        self.load(kind, hash).map_err(|why| CacheError::Load(hash, why))
    }

    /// Drops loaded code and removes the files of every module that is not in `referenced`, except files written less than `age`
    /// ago, and those of apps that are not in `apps`. During this no change may begin to refer to one.
    pub fn retain(
        &self,
        referenced: &HashSet<ModuleHash>,
        apps: &HashSet<String>,
        age: Duration,
    ) -> io::Result<()> {
        self.loaded.lock().clear();
        for entry in fs::read_dir(&self.functions)? {
            let entry = entry?;
            let is_used = entry.file_name().to_str().is_some_and(|name| apps.contains(name));
            // A compilation that ends now renames its file.
            if !is_used
                && let Err(error) = fs::remove_file(entry.path())
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        let mut found: HashMap<ModuleHash, (Vec<PathBuf>, SystemTime)> = HashMap::new();
        for folder in self.artifacts.iter().chain([&self.modules]) {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let (path, written) = (entry.path(), entry.metadata()?.modified()?);
                let hash = path.file_stem().and_then(|stem| stem.to_str()).map(ModuleHash::parse);
                if let Some(Ok(hash)) = hash
                    && !referenced.contains(&hash)
                {
                    let (paths, newest) = found.entry(hash).or_insert_with(|| (Vec::new(), written));
                    paths.push(path);
                    *newest = written.max(*newest);
                }
            }
        }
        // If the clock was set back, the file looks new and is kept.
        let is_old = |written: &SystemTime| written.elapsed().is_ok_and(|since| since >= age);
        let unused = found.into_values().filter(|(_, newest)| is_old(newest));
        unused.flat_map(|(paths, _)| paths).try_for_each(fs::remove_file)
    }
}

/// Returns the path of the note about machine code.
fn note_of(artifact: &Path) -> PathBuf {
    artifact.with_extension("json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::engine::KeptSlots;

    #[test]
    fn the_files_of_a_module_go_together_and_not_before_the_last_of_them_is_old() {
        let data = tempfile::tempdir().unwrap();
        let cache =
            ComponentCache::open(Engines::new(KeptSlots::default()).unwrap(), data.path(), false).unwrap();
        let hour = Duration::from_secs(3600);
        let [unused, half, used] = [1, 2, 3].map(|byte| ModuleHash::new([byte; 32]));
        let files_of = |hash: ModuleHash| {
            let artifact = cache.artifacts[0].join(hash.to_string());
            [cache.module_path(hash), note_of(&artifact), artifact]
        };
        for (hash, ages) in
            [(unused, [hour * 2; 3]), (half, [hour * 2, hour * 2, hour / 2]), (used, [hour * 2; 3])]
        {
            for (file, age) in files_of(hash).iter().zip(ages) {
                fs::write(file, b"x").unwrap();
                fs::File::open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
            }
        }
        let app = |name| cache.functions.join(name);
        for name in ["kept", "gone"] {
            fs::write(app(name), b"x").unwrap();
        }
        cache.retain(&HashSet::from([used]), &HashSet::from(["kept".into()]), hour).unwrap();
        assert_eq!(["kept", "gone"].map(|name| app(name).exists()), [true, false]);
        let left = |hash| files_of(hash).map(|file| file.exists());
        assert_eq!([left(unused), left(half), left(used)], [[false; 3], [true; 3], [true; 3]]);
    }

    #[test]
    fn a_module_that_is_asked_for_counts_as_uploaded_now_if_it_is_whole() {
        let data = tempfile::tempdir().unwrap();
        let cache =
            ComponentCache::open(Engines::new(KeptSlots::default()).unwrap(), data.path(), false).unwrap();
        let file = data.path().join("file");
        fs::write(&file, b"some bytes").unwrap();
        let hash = artifacts::hash_of(&file).unwrap();
        assert!(!cache.has_module(hash).unwrap());
        fs::rename(&file, cache.module_path(hash)).unwrap();
        let hour = Duration::from_secs(3600);
        fs::File::open(cache.module_path(hash)).unwrap().set_modified(SystemTime::now() - hour * 2).unwrap();
        assert!(cache.has_module(hash).unwrap());
        cache.retain(&HashSet::new(), &HashSet::new(), hour).unwrap();
        assert!(cache.has_module(hash).unwrap());
        fs::write(cache.module_path(hash), b"some byte").unwrap();
        assert!(!cache.has_module(hash).unwrap());
    }
}
