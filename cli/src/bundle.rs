//! Folders that come with a deploy, packed the same way each time, so that what has not changed is not sent again.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wfn_manifest::limits;
use wfn_manifest::names::BundleHash;

use crate::failure::{Done, Failure};

/// A packed folder.
#[derive(Debug)]
pub struct Bundle {
    /// SHA-256 of the archive.
    pub hash: BundleHash,
    /// Bytes of the archive.
    pub length: u64,
    /// The archive, at its beginning.
    pub archive: File,
}

/// Packs `folder`: files in order of their names, without times and owners.
pub fn pack(folder: &Path) -> Done<Bundle> {
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", folder.display()));
    if !folder.is_dir() {
        return Err(Failure::new(format!("{} is not a folder", folder.display()))
            .remedy("name a folder beside wfn.toml as source of [[files]]"));
    }
    let mut found = Vec::new();
    list(folder, Path::new(""), &mut found)?;
    let mut builder = tar::Builder::new(tempfile::tempfile().map_err(failed)?);
    let mut bytes = 0;
    for name in &found {
        let mut file = File::open(folder.join(name)).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        bytes += length;
        if bytes > limits::BUNDLE_BYTES_MAX {
            let megabytes = limits::BUNDLE_BYTES_MAX / limits::MEBIBYTE;
            return Err(Failure::new(format!("{} holds more than {megabytes} MB", folder.display())));
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(length);
        builder.append_data(&mut header, name, (&mut file).take(length)).map_err(failed)?;
    }
    let mut archive = builder.into_inner().map_err(failed)?;
    let length = archive.stream_position().map_err(failed)?;
    archive.rewind().map_err(failed)?;
    let mut digest = Sha256::new();
    io::copy(&mut archive, &mut digest).map_err(failed)?;
    archive.rewind().map_err(failed)?;
    Ok(Bundle { hash: BundleHash::new(digest.finalize().into()), length, archive })
}

/// All files below, by their paths, in order. A link could lead anywhere, so it is refused.
fn list(folder: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Done {
    let here = folder.join(below);
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", here.display()));
    let mut entries: Vec<_> = fs::read_dir(&here).and_then(Iterator::collect).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            list(folder, &name, found)?;
        } else if kind.is_file() {
            found.push(name);
        } else {
            return Err(Failure::new(format!(
                "{} is neither a file nor a folder",
                here.join(entry.file_name()).display()
            ))
            .remedy("[[files]] takes copies, not links"));
        }
        if found.len() > limits::BUNDLE_ENTRIES_MAX / 2 {
            let most = limits::BUNDLE_ENTRIES_MAX / 2;
            return Err(Failure::new(format!("{} holds more than {most} files", folder.display())));
        }
    }
    Ok(())
}
