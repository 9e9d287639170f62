//! Writes files and folders that are whole or do not exist: a unique temporary name, fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile, TempDir};

use crate::names::ModuleHash;

/// Names of unfinished files and folders begin with this. They are removed at start.
const TEMPORARY_PREFIX: &str = ".partial-";

/// A file that is being written. If it is dropped before [`Self::publish`], it is removed.
#[derive(Debug)]
pub struct TemporaryFile(NamedTempFile);

/// Makes a new, empty temporary file in `folder`, for its owner only. No two have the same name, also across processes.
pub fn temporary_in(folder: &Path) -> io::Result<TemporaryFile> {
    Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder).map(TemporaryFile)
}

impl TemporaryFile {
    /// Where to write.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What to write to.
    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Makes the file durable under its final name. Replaces another file of that name.
    pub fn publish(self, name: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(name).map_err(|error| error.error)?;
        sync_folder_of(name)
    }
}

/// A folder that is being filled. If it is dropped before [`Self::publish`], it is removed with its content.
#[derive(Debug)]
pub struct TemporaryFolder(TempDir);

/// Makes a new, empty temporary folder in `folder`, for its owner only. No two have the same name, also across processes.
pub fn temporary_folder_in(folder: &Path) -> io::Result<TemporaryFolder> {
    Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(folder).map(TemporaryFolder)
}

impl TemporaryFolder {
    /// What to fill.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives the folder its final name. Its content is on the disk before. A folder of that name is removed.
    pub fn publish(self, name: &Path) -> io::Result<()> {
        let parent = name.parent().unwrap_or(Path::new("."));
        // Files of the old one that guests have open stay valid.
        let old = temporary_folder_in(parent)?;
        match fs::rename(name, old.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::rename(self.0.path(), name)?;
        // There is nothing left of that name to remove.
        let _ = self.0.keep();
        sync_folder_of(name)
    }
}

fn sync_folder_of(name: &Path) -> io::Result<()> {
    name.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes unfinished files and folders that a killed host left in `folder`.
pub fn remove_temporary(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, or a folder with all it holds.
pub fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Returns the SHA-256 of the content of the file `path`. Blocks.
pub fn hash_of(path: &Path) -> io::Result<ModuleHash> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(ModuleHash::new(digest.finalize().into()))
}

/// Sets the time of the last write of a file or folder to now.
pub fn touch(path: &Path) -> io::Result<()> {
    File::open(path)?.set_modified(SystemTime::now())
}
