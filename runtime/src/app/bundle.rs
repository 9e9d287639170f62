//! Bundles: folders of files that come with a deploy, named by the SHA-256 of their archive, read-only ever after.
//!
//! An archive is hostile until it is unpacked: only folders and ordinary files are taken, every name is checked, and
//! counts and bytes are bounded. A bundle appears under its name whole or not at all.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::limits;
use crate::names::BundleHash;

/// The bundles of one data directory.
pub struct Bundles {
    folder: PathBuf,
}

/// Why an archive is not taken. Nothing was stored then.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not an archive, or holds what a bundle may not.
    #[error("the archive cannot be taken: {0}")]
    Invalid(String),
    /// The disk failed.
    #[error("unpack the archive: {0}")]
    Io(#[from] io::Error),
}

/// Names of folders being filled begin so; they are removed at start.
const UNFINISHED: &str = ".partial-";

impl Bundles {
    /// Opens the store below `data_dir`, making its folder; what a killed host left unfinished is removed.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("bundles");
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                remove(&entry.path())?;
            }
        }
        Ok(Self { folder })
    }

    /// The folder in which uploads are received.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the files of a bundle are or belong.
    pub fn path(&self, hash: BundleHash) -> PathBuf {
        self.folder.join(hash.to_string())
    }

    /// Whether the bundle is stored.
    pub fn has(&self, hash: BundleHash) -> bool {
        self.path(hash).is_dir()
    }

    /// Unpacks `archive`, whose SHA-256 is `hash`. Blocks.
    pub fn unpack(&self, archive: &Path, hash: BundleHash) -> Result<(), BundleError> {
        if self.has(hash) {
            return Ok(());
        }
        let unfinished =
            Unfinished::new(self.folder.join(format!("{UNFINISHED}{hash}-{}", std::process::id())))?;
        unpack_into(File::open(archive)?, &unfinished.0)?;
        // All of it is on the disk before it has its name.
        let folder = File::open(&self.folder)?;
        rustix::fs::syncfs(&folder).map_err(io::Error::from)?;
        match fs::rename(&unfinished.0, self.path(hash)) {
            Ok(()) => Ok(folder.sync_all()?),
            // Somebody uploaded the same at the same time.
            Err(_) if self.has(hash) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes every bundle that is not in `referenced` and was unpacked longer than `age` ago.
    pub fn retain(&self, referenced: &HashSet<BundleHash>, age: Duration) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let hash = entry.file_name().to_str().map(BundleHash::parse);
            let old_enough = entry.metadata()?.modified()?.elapsed().is_ok_and(|since| since >= age);
            if let Some(Ok(hash)) = hash
                && old_enough
                && !referenced.contains(&hash)
            {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a file, or a folder with all it holds.
fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// A folder that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: PathBuf) -> io::Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing; what stays is removed at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unpack_into(archive: impl Read, folder: &Path) -> Result<(), BundleError> {
    let invalid = |why: String| BundleError::Invalid(why);
    let unreadable = |error: io::Error| BundleError::Invalid(error.to_string());
    let mut archive = tar::Archive::new(archive);
    let (mut entries, mut bytes) = (0, 0);
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
        let path = folder.join(plain(&name).ok_or_else(|| invalid(format!("{shown:?} is no plain path")))?);
        match entry.header().entry_type() {
            tar::EntryType::Directory => fs::create_dir_all(&path)?,
            tar::EntryType::Regular => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                bytes += entry.size();
                if bytes > limits::BUNDLE_BYTES_MAX {
                    return Err(invalid(format!(
                        "it unpacks to more than {} bytes",
                        limits::BUNDLE_BYTES_MAX
                    )));
                }
                let open = File::options().write(true).create_new(true).mode(0o400).open(&path);
                let mut file = open.map_err(|error| invalid(format!("{shown:?}: {error}")))?;
                // Never more than the header said, which was counted.
                io::copy(&mut entry, &mut file).map_err(unreadable)?;
            }
            other => return Err(invalid(format!("{shown:?} is neither a file nor a folder ({other:?})"))),
        }
    }
    Ok(())
}

/// A relative path of plain names within bounds, or nothing.
fn plain(path: &Path) -> Option<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> BundleHash {
        BundleHash::new([byte; 32])
    }

    /// An archive of entries: type, name, content or target.
    fn archive(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // The checked way refuses names that a hostile archive has.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == tar::EntryType::Symlink || *kind == tar::EntryType::Link {
                header.set_link_name(std::str::from_utf8(content).unwrap()).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, &[][..]).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, *content).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn unpack(bundles: &Bundles, bytes: &[u8], hash: BundleHash) -> Result<(), BundleError> {
        let path = bundles.folder().join("upload");
        fs::write(&path, bytes).unwrap();
        bundles.unpack(&path, hash)
    }

    #[test]
    fn a_bundle_is_there_whole_and_goes_when_nobody_refers_to_it() {
        let data = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(data.path()).unwrap();
        let file = tar::EntryType::Regular;
        let bytes =
            archive(&[(tar::EntryType::Directory, "a/", b""), (file, "a/b.txt", b"text"), (file, "c", b"")]);
        unpack(&bundles, &bytes, hash(1)).unwrap();
        assert_eq!(fs::read(bundles.path(hash(1)).join("a/b.txt")).unwrap(), b"text");
        // Again is no error.
        unpack(&bundles, &bytes, hash(1)).unwrap();
        bundles.retain(&HashSet::from([hash(1)]), Duration::ZERO).unwrap();
        assert!(bundles.has(hash(1)));
        bundles.retain(&HashSet::new(), Duration::from_secs(3600)).unwrap();
        assert!(bundles.has(hash(1)));
        bundles.retain(&HashSet::new(), Duration::ZERO).unwrap();
        assert!(!bundles.has(hash(1)));
    }

    #[test]
    fn what_a_hostile_archive_holds_is_refused_and_leaves_nothing() {
        let data = tempfile::tempdir().unwrap();
        let outside = data.path().join("outside");
        let bundles = Bundles::open(data.path()).unwrap();
        let (file, link) = (tar::EntryType::Regular, tar::EntryType::Symlink);
        let long = "x/".repeat(40) + "y";
        let cases: [&[(tar::EntryType, &str, &[u8])]; 8] = [
            &[(file, "../../outside", b"x")],
            &[(file, "/tmp/../outside", b"x")],
            &[(file, "a/../../outside", b"x")],
            &[(link, "a", b"../.."), (file, "a/outside", b"x")],
            &[(tar::EntryType::Link, "a", b"/etc/passwd")],
            &[(tar::EntryType::Fifo, "a", b"")],
            &[(file, "a", b"x"), (file, "a", b"y")],
            &[(file, &long, b"x")],
        ];
        for entries in cases {
            let error = unpack(&bundles, &archive(entries), hash(2)).unwrap_err();
            assert!(matches!(error, BundleError::Invalid(_)), "{error}");
            assert!(!bundles.has(hash(2)) && !outside.exists());
        }
        for cut in
            [b"not an archive at all, but longer than a header".repeat(20), archive(cases[7])[..700].to_vec()]
        {
            assert!(unpack(&bundles, &cut, hash(2)).is_err());
        }
        let mut left: Vec<_> =
            fs::read_dir(bundles.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.retain(|name| name != "upload");
        assert!(left.is_empty(), "{left:?}");
    }
}
