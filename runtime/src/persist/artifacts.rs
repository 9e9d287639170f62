//! Files that are whole or not there: temporary file, fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of unfinished files begin so; they are removed at start.
const TEMPORARY_PREFIX: &str = ".partial-";

/// A file being written; dropped before [`Self::publish`], it is removed.
#[derive(Debug)]
pub struct TemporaryFile {
    path: PathBuf,
    published: bool,
}

/// A new, empty temporary file in `folder`, for its owner alone.
pub fn temporary_in(folder: &Path) -> io::Result<TemporaryFile> {
    use std::os::unix::fs::OpenOptionsExt;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()));
    File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    Ok(TemporaryFile { path, published: false })
}

impl TemporaryFile {
    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable under its final name.
    pub fn publish(mut self, name: &Path) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        fs::rename(&self.path, name)?;
        self.published = true;
        match name.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.published {
            // Left behind, it is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what a killed host left half written in `folder`.
pub fn remove_temporary(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
