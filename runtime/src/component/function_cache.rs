//! Keeps the machine code of single functions from one compilation to the next.
//!
//! After an edit, most functions of a module are unchanged, and only the others are compiled: of an interpreter's component none,
//! because its scripts are data. A file of the app holds what its last compilation used, after the SHA-256 of all of it, because
//! damaged code must not run. Cranelift's key of a function is a hash of all that its code depends on, the compiler's version
//! included.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::CacheStore;

use crate::persist::artifacts;
use crate::{limited, limits};

/// The functions of one compilation and of the one before it.
#[derive(Debug, Default)]
pub struct FunctionCache {
    before: HashMap<Vec<u8>, Before>,
    new: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
    /// How many functions the module has.
    all: usize,
    /// How many of them were found or compiled.
    done: AtomicUsize,
    reported: AtomicU32,
}

#[derive(Debug)]
struct Before {
    code: Vec<u8>,
    /// Whether the present compilation used it.
    used: AtomicBool,
}

impl FunctionCache {
    /// Reads what the last compilation left in `file`. Empty if the file cannot be read or is damaged. `all`: how many functions
    /// there are to compile.
    pub fn open(file: &Path, all: usize) -> Self {
        let mut before = HashMap::new();
        let bytes = fs::read(file).unwrap_or_default();
        let mut rest = match bytes.split_first_chunk() {
            Some((digest, rest)) if hash(rest) == *digest => rest,
            _ => &[],
        };
        while let Some((key, after)) = part(rest)
            && let Some((code, after)) = part(after)
        {
            before.insert(key.to_owned(), Before { code: code.to_owned(), used: AtomicBool::new(false) });
            rest = after;
        }
        Self { before, all, ..Self::default() }
    }

    fn one_more(&self) {
        limited::report(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.all, &self.reported);
    }

    /// Writes what this compilation used to `file`, whole or not at all.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let used = self.before.iter().filter(|(_, before)| before.used.load(Ordering::Relaxed));
        let new = self.new.lock();
        let all =
            used.map(|(key, before)| (key, &before.code)).chain(new.iter().map(|(key, code)| (key, code)));
        let mut bytes = vec![0; DIGEST_BYTES];
        for part in all.flat_map(|(key, code)| [key, code]) {
            let Ok(length) = u32::try_from(part.len()) else { return Ok(()) };
            bytes.extend(length.to_le_bytes());
            bytes.extend(part);
            if bytes.len() > limits::FUNCTION_CACHE_BYTES_MAX {
                return Ok(());
            }
        }
        let digest = hash(&bytes[DIGEST_BYTES..]);
        bytes[..DIGEST_BYTES].copy_from_slice(&digest);
        let Some(folder) = file.parent() else { return Ok(()) };
        let mut pending = artifacts::temporary_in(folder)?;
        pending.file().write_all(&bytes)?;
        pending.publish(file)
    }
}

const DIGEST_BYTES: usize = 32;

fn hash(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::digest(bytes).into()
}

/// Splits `bytes` into the first part, whose length stands before it, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let before = self.before.get(key)?;
        before.used.store(true, Ordering::Relaxed);
        self.one_more();
        Some(Cow::Borrowed(&before.code))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.new.lock().push((key.to_owned(), value));
        self.one_more();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_compilation_used_is_there_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("functions");
        let first = FunctionCache::open(&file, 3);
        assert!(first.get(b"a").is_none());
        assert!(
            first.insert(b"a", vec![1]) && first.insert(b"b", vec![]) && first.insert(b"c", vec![3; 70_000])
        );
        first.save(&file).unwrap();

        let second = FunctionCache::open(&file, 3);
        assert_eq!(second.get(b"c").unwrap(), vec![3; 70_000]);
        assert!(second.get(b"b").unwrap().is_empty());
        second.insert(b"d", vec![4]);
        second.save(&file).unwrap();

        let third = FunctionCache::open(&file, 3);
        assert!(third.get(b"a").is_none(), "the compilation before did not use it");
        assert_eq!(third.get(b"d").unwrap(), vec![4]);

        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len().min(64) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for damaged in [&whole[..at], &flipped] {
                fs::write(&file, damaged).unwrap();
                assert!(FunctionCache::open(&file, 3).get(b"d").is_none(), "at {at}");
            }
        }
    }
}
