//! Bundles: read-only folders of files that come with a deploy, named by the SHA-256 of their archive.
//!
//! `bundles/<sha256>/` has the files, `bundles/<sha256>.tree` the hash of what they hold. A bundle appears under its
//! name whole or not at all, and is checked before it is used. If the disk has damaged it, it is uploaded again.

mod archive;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::limited::{self, ChildJob, NoAnswer};
use crate::limits;
use crate::names::{BundleHash, ModuleHash};
use crate::persist::artifacts;

/// Runs [`child_main`] in a child process with limits, because an archive may be hostile.
pub const JOB: ChildJob = ChildJob {
    command: "unpack-bundle",
    memory_bytes: limits::UNPACK_MEMORY_BYTES,
    cpu_seconds: limits::UNPACK_CPU_SECONDS,
    file_bytes: limits::BUNDLE_BYTES_MAX,
    time: limits::UNPACK_TIMEOUT,
};

/// The bundles of one data directory.
pub struct Bundles {
    folder: PathBuf,
    /// Bundles that were found undamaged since the host started.
    whole: Mutex<HashSet<BundleHash>>,
    /// Held while a bundle gets its name: of two uploads of the same bundle, the second finds the first.
    publishing: Mutex<()>,
}

/// Why an archive is refused. Nothing was stored.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum BundleError {
    /// It is not an archive, or it holds something that a bundle may not hold.
    #[error("the archive cannot be taken: {0}")]
    Invalid(String),
    /// The disk failed.
    #[error("unpack the archive: {0}")]
    Io(
        #[serde(with = "limited::io_error")]
        #[from]
        io::Error,
    ),
}

impl From<NoAnswer> for BundleError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Io(error) => Self::Io(error),
            NoAnswer::TooCostly(_) | NoAnswer::Failed(_) => Self::Invalid(error.to_string()),
        }
    }
}

/// Why a bundle cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It does not exist.
    Missing,
    /// Some of its files have changed.
    Damaged,
}

impl Bundles {
    /// Opens the store below `data_dir`: makes its folder, and removes what a killed host left unfinished.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("bundles");
        fs::create_dir_all(&folder)?;
        artifacts::remove_temporary(&folder)?;
        Ok(Self { folder, whole: Mutex::default(), publishing: Mutex::default() })
    }

    /// The folder in which uploads are received.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder for the files of a bundle, whether it exists or not.
    pub fn path(&self, hash: BundleHash) -> PathBuf {
        self.folder.join(hash.to_string())
    }

    /// The file with the hash of what the bundle holds.
    fn note(&self, hash: BundleHash) -> PathBuf {
        self.folder.join(format!("{hash}.tree"))
    }

    /// Whether the bundle is stored and undamaged; if so, it counts as uploaded now. Reads all its files. Blocks.
    pub fn has(&self, hash: BundleHash) -> io::Result<bool> {
        let is_whole = match fs::read_to_string(self.note(hash)) {
            Ok(noted) => self.is_as(hash, &noted)?,
            // An earlier wfn stored it and wrote no note.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if is_whole {
            self.whole.lock().insert(hash);
            for path in [self.path(hash), self.note(hash)] {
                // If this is not allowed, nothing can be removed either.
                let _ = artifacts::touch(&path);
            }
        }
        Ok(is_whole)
    }

    fn is_as(&self, hash: BundleHash, noted: &str) -> io::Result<bool> {
        match archive::hash_of_folder(&self.path(hash)) {
            Ok(found) => Ok(ModuleHash::parse(noted.trim()) == Ok(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether guests may use the bundle. Its files are read once after each start. Blocks.
    pub fn check(&self, hash: BundleHash) -> io::Result<Result<(), Flaw>> {
        if self.whole.lock().contains(&hash) {
            return Ok(Ok(()));
        }
        if !self.path(hash).is_dir() {
            return Ok(Err(Flaw::Missing));
        }
        // If an earlier wfn stored it, there is no note to compare with.
        let is_whole = !self.note(hash).exists() || self.has(hash)?;
        Ok(if is_whole { Ok(()) } else { Err(Flaw::Damaged) })
    }

    /// Unpacks `archive`, whose SHA-256 is `hash`, in a child process with limits. Blocks.
    pub fn unpack(&self, archive: &Path, hash: BundleHash) -> Result<(), BundleError> {
        self.unpack_by(hash, |folder| {
            JOB.run::<Result<_, _>>(&[archive.as_os_str(), folder.as_os_str()], &mut |_| {})?
        })
    }

    fn unpack_by(
        &self,
        hash: BundleHash,
        unpack: impl FnOnce(&Path) -> Result<ModuleHash, BundleError>,
    ) -> Result<(), BundleError> {
        if self.has(hash)? {
            return Ok(());
        }
        let unfinished = artifacts::temporary_folder_in(&self.folder)?;
        let tree = unpack(unfinished.path())?;
        // Everything is on the disk before it gets its name.
        rustix::fs::syncfs(File::open(&self.folder)?).map_err(io::Error::from)?;
        let _publishing = self.publishing.lock();
        if self.has(hash)? {
            return Ok(());
        }
        let mut note = artifacts::temporary_in(&self.folder)?;
        writeln!(note.file(), "{tree}")?;
        note.publish(&self.note(hash))?;
        unfinished.publish(&self.path(hash))?;
        self.whole.lock().insert(hash);
        Ok(())
    }

    /// Removes every bundle that is not in `referenced` and was last uploaded longer than `age` ago. The caller makes
    /// sure that nothing is about to refer to one.
    pub fn retain(&self, referenced: &HashSet<BundleHash>, age: Duration) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            let hash = path.file_stem().and_then(|stem| stem.to_str()).map(BundleHash::parse);
            let old_enough = entry.metadata()?.modified()?.elapsed().is_ok_and(|since| since >= age);
            if let Some(Ok(hash)) = hash
                && old_enough
                && !referenced.contains(&hash)
            {
                self.whole.lock().remove(&hash);
                artifacts::remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Runs the child with the arguments of [`Bundles::unpack`]. Returns its exit code.
pub fn child_main(arguments: &[impl AsRef<OsStr>]) -> i32 {
    JOB.work(|| match arguments {
        [archive, folder] => archive::unpack(File::open(archive.as_ref())?, Path::new(folder.as_ref())),
        _ => Err(BundleError::Io(io::ErrorKind::InvalidInput.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> BundleHash {
        BundleHash::new([byte; 32])
    }

    /// An archive of entries: type, name, content or link target.
    fn archive(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // Written as bytes, because the checked way refuses names that a hostile archive may have.
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
        bundles.unpack_by(hash, |folder| archive::unpack(bytes, folder))
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
        // To unpack it again is no error.
        unpack(&bundles, &bytes, hash(1)).unwrap();
        bundles.retain(&HashSet::from([hash(1)]), Duration::ZERO).unwrap();
        assert!(bundles.has(hash(1)).unwrap());
        bundles.retain(&HashSet::new(), Duration::from_secs(3600)).unwrap();
        assert!(bundles.has(hash(1)).unwrap());
        bundles.retain(&HashSet::new(), Duration::ZERO).unwrap();
        assert!(!bundles.has(hash(1)).unwrap());
        assert_eq!(fs::read_dir(bundles.folder()).unwrap().count(), 0);
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
            assert!(!bundles.has(hash(2)).unwrap() && !outside.exists());
        }
        for cut in
            [b"not an archive at all, but longer than a header".repeat(20), archive(cases[7])[..700].to_vec()]
        {
            assert!(unpack(&bundles, &cut, hash(2)).is_err());
        }
        assert_eq!(fs::read_dir(bundles.folder()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_disk_has_damaged_is_found_and_mended_by_the_same_upload() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let file = tar::EntryType::Regular;
        let bytes = archive(&[
            (file, "a/b/c.txt", b"text"),
            (file, "d", b"x"),
            (tar::EntryType::Directory, "e/", b""),
        ]);
        let damages: [fn(&Path); 5] = [
            |folder| {
                fs::set_permissions(folder.join("d"), fs::Permissions::from_mode(0o600)).unwrap();
                fs::write(folder.join("d"), b"y").unwrap();
            },
            |folder| fs::remove_file(folder.join("a/b/c.txt")).unwrap(),
            |folder| fs::remove_dir(folder.join("e")).unwrap(),
            |folder| fs::write(folder.join("a/more"), b"").unwrap(),
            |folder| fs::rename(folder.join("d"), folder.join("e/d")).unwrap(),
        ];
        for damage in damages {
            unpack(&Bundles::open(data.path()).unwrap(), &bytes, hash(3)).unwrap();
            // As after a restart.
            let bundles = Bundles::open(data.path()).unwrap();
            assert_eq!(bundles.check(hash(3)).unwrap(), Ok(()));
            damage(&bundles.path(hash(3)));
            assert!(!bundles.has(hash(3)).unwrap());
            let bundles = Bundles::open(data.path()).unwrap();
            assert_eq!(bundles.check(hash(3)).unwrap(), Err(Flaw::Damaged));
            unpack(&bundles, &bytes, hash(3)).unwrap();
            assert!(bundles.has(hash(3)).unwrap());
            assert_eq!(fs::read(bundles.path(hash(3)).join("a/b/c.txt")).unwrap(), b"text");
            assert_eq!(fs::read_dir(bundles.folder()).unwrap().count(), 2, "the folder and its note");
        }
        let bundles = Bundles::open(data.path()).unwrap();
        assert_eq!(bundles.check(hash(4)).unwrap(), Err(Flaw::Missing));
        // A folder from before there were notes is used, and uploaded again when it is deployed.
        fs::remove_file(bundles.note(hash(3))).unwrap();
        assert_eq!(bundles.check(hash(3)).unwrap(), Ok(()));
        assert!(!bundles.has(hash(3)).unwrap());
    }

    #[test]
    fn the_same_bundle_may_come_many_times_at_once() {
        let data = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(data.path()).unwrap();
        let names: Vec<String> = (0..50).map(|number| format!("folder/{number}")).collect();
        let entries: Vec<_> =
            names.iter().map(|name| (tar::EntryType::Regular, name.as_str(), &b"text"[..])).collect();
        let bytes = archive(&entries);
        std::thread::scope(|scope| {
            let uploads: Vec<_> = (0..8).map(|_| scope.spawn(|| unpack(&bundles, &bytes, hash(5)))).collect();
            uploads.into_iter().for_each(|upload| upload.join().unwrap().unwrap());
        });
        assert!(bundles.has(hash(5)).unwrap());
        assert_eq!(fs::read_dir(bundles.path(hash(5)).join("folder")).unwrap().count(), 50);
        assert_eq!(fs::read_dir(bundles.folder()).unwrap().count(), 2);
    }
}
