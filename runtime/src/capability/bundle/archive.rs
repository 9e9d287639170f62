//! Unpacks the archive of a bundle, and computes the hash of what a folder holds.
//!
//! An archive is hostile: only folders and ordinary files are taken, every name is checked, and counts and bytes are bounded.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::BundleError;
use crate::limits;
use crate::names::ModuleHash;
use crate::persist::artifacts;
use crate::text::plain;

/// The paths in a folder: files with their hashes, folders without.
#[derive(Default)]
struct Tree(BTreeMap<PathBuf, Option<ModuleHash>>);

impl Tree {
    /// Adds a file or a folder, and the folders above it.
    fn add(&mut self, path: &Path, hash: Option<ModuleHash>) {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            self.0.entry(folder.to_owned()).or_default();
        }
        if !path.as_os_str().is_empty() {
            self.0.insert(path.to_owned(), hash);
        }
    }

    fn hash(&self) -> ModuleHash {
        let mut digest = Sha256::new();
        for (path, hash) in &self.0 {
            let path = path.as_os_str().as_bytes();
            digest.update((path.len() as u64).to_le_bytes());
            digest.update(path);
            digest.update(hash.map_or_else(|| "folder".to_owned(), |hash| hash.to_string()));
        }
        ModuleHash::new(digest.finalize().into())
    }
}

/// One hash for all that `folder` holds: equal if the names and contents of all files are equal.
pub fn hash_of_folder(folder: &Path) -> io::Result<ModuleHash> {
    let mut tree = Tree::default();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(folder.join(&path))? {
            let entry = entry?;
            let path = path.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                tree.add(&path, None);
                left.push(path);
            } else {
                tree.add(&path, Some(artifacts::hash_of(&entry.path())?));
            }
        }
    }
    Ok(tree.hash())
}

/// Unpacks `archive` into `folder`. Returns the hash that [`hash_of_folder`] has to give for it.
pub fn unpack(archive: impl Read, folder: &Path) -> Result<ModuleHash, BundleError> {
    let mut archive = tar::Archive::new(archive);
    let (mut entries, mut bytes) = (0, 0);
    let mut tree = Tree::default();
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        entries += 1;
        if entries > limits::BUNDLE_ENTRIES_MAX {
            return Err(invalid(format!(
                "it holds more than {} files and folders",
                limits::BUNDLE_ENTRIES_MAX
            )));
        }
        let name = entry.path().map_err(unreadable)?.into_owned();
        let shown = name.display().to_string();
        let path = plain_path(&name).ok_or_else(|| invalid(format!("{shown:?} is no plain path")))?;
        let place = folder.join(&path);
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                fs::create_dir_all(&place).map_err(|error| not_made(&shown, error))?;
                tree.add(&path, None);
            }
            tar::EntryType::Regular => {
                bytes += entry.size();
                if bytes > limits::BUNDLE_BYTES_MAX {
                    return Err(invalid(format!(
                        "it unpacks to more than {} bytes",
                        limits::BUNDLE_BYTES_MAX
                    )));
                }
                let make = || {
                    place.parent().map_or(Ok(()), fs::create_dir_all)?;
                    File::options().write(true).create_new(true).mode(0o400).open(&place)
                };
                // An entry never yields more bytes than its header says, and those were counted.
                let hash = write(&mut entry, make().map_err(|error| not_made(&shown, error))?)?;
                tree.add(&path, Some(hash));
            }
            other => return Err(invalid(format!("{shown:?} is neither a file nor a folder ({other:?})"))),
        }
    }
    Ok(tree.hash())
}

fn invalid(why: String) -> BundleError {
    BundleError::Invalid(plain(&why))
}

/// The archive cannot be read: it is cut off, or it is not an archive.
fn unreadable(error: io::Error) -> BundleError {
    invalid(error.to_string())
}

/// A file or folder cannot be made, because names in the archive are in conflict, or because the disk fails.
fn not_made(name: &str, error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename => invalid(format!("{name:?}: {error}")),
        _ => BundleError::Io(error),
    }
}

/// Copies `from` to `to` and returns the hash of the bytes.
fn write(from: &mut impl Read, mut to: File) -> Result<ModuleHash, BundleError> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut piece).map_err(unreadable)?;
        if count == 0 {
            return Ok(ModuleHash::new(digest.finalize().into()));
        }
        digest.update(&piece[..count]);
        to.write_all(&piece[..count])?;
    }
}

/// `path`, if it is relative, has plain names only, and is within the limits.
fn plain_path(path: &Path) -> Option<PathBuf> {
    let names: Option<Vec<_>> = path
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) if name.len() <= 255 => Some(name),
            _ => None,
        })
        .collect();
    let names = names?;
    let is_bounded =
        names.len() <= limits::BUNDLE_DEPTH_MAX && path.as_os_str().len() <= limits::BUNDLE_PATH_BYTES_MAX;
    is_bounded.then(|| names.into_iter().collect())
}
