//! Reads the operator's certificates from files, and again when they change. A pair that is broken keeps its old certificate.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::tls::certificate::{Certificate, CertificateError};
use crate::tls::certificates::{Certificates, Source};

/// How often it is looked whether files have changed. Looking takes a call of the kernel for each.
pub const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// More than any chain or key has.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// More hosts than one machine serves.
const PAIRS_MAX: usize = 10_000;

/// A certificate and its key, each in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The chain: the certificate of the host first, as PEM.
    pub chain: PathBuf,
    /// The key, as PEM, without a passphrase.
    pub key: PathBuf,
}

/// Where the operator's certificates are.
#[derive(Debug, Clone)]
pub enum Place {
    /// One pair, for every name.
    Pair(Pair),
    /// A folder: `NAME.crt` or `NAME.pem` beside `NAME.key`, or folders in it with `fullchain.pem` and `privkey.pem`.
    Folder(PathBuf),
}

/// Why files are no certificate that can be served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no certificate, or its key does not fit.
    #[error("{} with {}: {error}", pair.chain.display(), pair.key.display())]
    Broken {
        /// Which.
        pair: Pair,
        /// Why.
        error: CertificateError,
    },
    /// There is none.
    #[error("{}: no certificate beside its key (NAME.crt and NAME.key, or NAME/fullchain.pem and NAME/privkey.pem)", .0.display())]
    Empty(PathBuf),
}

/// What tells that a file has changed.
type Stamp = Option<(i64, i64, u64, u64)>;

/// The files of a host's certificates, as they were last read.
#[derive(Debug)]
pub struct CertificateFiles {
    place: Place,
    certificates: Arc<Certificates>,
    known: BTreeMap<Pair, Known>,
}

#[derive(Debug)]
struct Known {
    stamps: [Stamp; 2],
    /// `None` if it was never whole.
    certificate: Option<Arc<Certificate>>,
}

impl CertificateFiles {
    /// Reads the certificates of `place` into `certificates`. Fails if one is broken, because that is a mistake of who starts the
    /// host; later only that one stays as it was.
    pub fn open(place: Place, certificates: Arc<Certificates>) -> Result<Self, FileError> {
        let mut files = Self { place, certificates, known: BTreeMap::new() };
        if let Some(error) = files.look().into_iter().next() {
            return Err(error);
        }
        match (&files.place, files.known.is_empty()) {
            (Place::Folder(folder), true) => Err(FileError::Empty(folder.clone())),
            _ => Ok(files),
        }
    }

    /// Reads what has changed. Returns what cannot be read, once for each change.
    pub fn look(&mut self) -> Vec<FileError> {
        let pairs = match &self.place {
            Place::Pair(pair) => vec![pair.clone()],
            Place::Folder(folder) => match pairs_in(folder) {
                Ok(pairs) => pairs,
                // What was read stays.
                Err(error) => return vec![FileError::Io { path: folder.clone(), error }],
            },
        };
        let (mut errors, mut has_changed) = (Vec::new(), false);
        let mut before = std::mem::take(&mut self.known);
        for pair in pairs {
            let stamps =
                [&pair.chain, &pair.key].map(|path| fs::metadata(path).ok().map(|file| stamp(&file)));
            let known = before.remove(&pair);
            if let Some(known) = known.as_ref().filter(|known| known.stamps == stamps) {
                let certificate = known.certificate.clone();
                self.known.insert(pair, Known { stamps, certificate });
                continue;
            }
            has_changed = true;
            let certificate = match read_pair(&pair) {
                Ok(certificate) => Some(Arc::new(certificate)),
                Err(error) => {
                    errors.push(error);
                    known.and_then(|known| known.certificate)
                }
            };
            self.known.insert(pair, Known { stamps, certificate });
        }
        // Of a pair that is being replaced one file may be away for a moment.
        before.retain(|pair, known| {
            let is_removed = !pair.chain.exists() && !pair.key.exists();
            if !is_removed {
                let known = Known { stamps: [None; 2], certificate: known.certificate.clone() };
                self.known.insert(pair.clone(), known);
            }
            is_removed
        });
        if has_changed || !before.is_empty() {
            let certificates = self.known.values().filter_map(|known| known.certificate.clone()).collect();
            self.certificates.replace(Source::Files, certificates);
        }
        errors
    }

    /// Looks at the files again and again. Never ends.
    pub async fn keep_read(mut self) {
        loop {
            tokio::time::sleep(LOOK_PERIOD).await;
            let looked = tokio::task::spawn_blocking(move || {
                let errors = self.look();
                (self, errors)
            });
            // It fails only when the host ends.
            let Ok((files, errors)) = looked.await else { return };
            self = files;
            for error in errors {
                tracing::error!(
                    "a certificate has changed and cannot be read, the one before stays: {error}"
                );
            }
        }
    }
}

fn stamp(file: &Metadata) -> (i64, i64, u64, u64) {
    (file.mtime(), file.mtime_nsec(), file.size(), file.ino())
}

fn read_pair(pair: &Pair) -> Result<Certificate, FileError> {
    let (chain, key) = (read(&pair.chain)?, read(&pair.key)?);
    Certificate::from_pem(&chain, &key).map_err(|error| FileError::Broken { pair: pair.clone(), error })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| FileError::Io { path: path.to_owned(), error })?;
    Ok(bytes)
}

/// Returns the pairs of a folder, in the order of their names.
fn pairs_in(folder: &Path) -> io::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir(folder)?.take(PAIRS_MAX * 3) {
        let path = entry?.path();
        let pair = match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt" | "pem") => Pair { key: path.with_extension("key"), chain: path },
            _ => Pair { chain: path.join("fullchain.pem"), key: path.join("privkey.pem") },
        };
        if pair.chain.is_file() && pair.key.is_file() {
            pairs.push(pair);
        }
    }
    pairs.sort();
    pairs.truncate(PAIRS_MAX);
    Ok(pairs)
}
