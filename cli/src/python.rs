//! The Python package `wfn` (`sdk/python`), carried by the binary: build commands of Python projects find it by a variable.

use std::path::{Path, PathBuf};
use std::{fs, io, process};

use sha2::{Digest, Sha256};

use crate::settings::user_folder;

/// Names the folder of the package in the environment of build commands.
pub const VARIABLE: &str = "WFN_SDK_PYTHON";

/// Path in `sdk/python`, and content.
macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../sdk/python/", $path)))),+]
    };
}

const FILES: &[(&str, &[u8])] = files![
    // The old name of wfn.fetch, for one release.
    "wasi_fetch.py",
    "wfn/__init__.py",
    "wfn/asgi.py",
    "wfn/azure/__init__.py",
    "wfn/azure/app.py",
    "wfn/azure/context.py",
    "wfn/azure/events.py",
    "wfn/azure/expressions.py",
    "wfn/azure/hostjson.py",
    "wfn/azure/inspect.py",
    "wfn/azure/invoke.py",
    "wfn/azure/keys.py",
    "wfn/azure/manifest.py",
    "wfn/azure/outputs.py",
    "wfn/azure/overlapping.py",
    "wfn/azure/packages.py",
    "wfn/azure/render.py",
    "wfn/azure/routes.py",
    "wfn/azure/schedule.py",
    "wfn/azure/source.py",
    "wfn/azure/sync.py",
    "wfn/azure/template.py",
    "wfn/blob.py",
    "wfn/build.py",
    "wfn/fetch.py",
    "wfn/imports.py",
    "wfn/kv.py",
    "wfn/outbound/__init__.py",
    "wfn/outbound/awaiting.py",
    "wfn/outbound/blocking.py",
    "wfn/outbound/errors.py",
    "wfn/outbound/for_aiohttp.py",
    "wfn/outbound/for_http_client.py",
    "wfn/outbound/for_httpx.py",
    "wfn/outbound/for_urllib3.py",
    "wfn/outbound/message.py",
    "wfn/outbound/sockets.py",
    "wfn/outbound/transport.py",
    "wfn/packages.py",
    "wfn/py.typed",
    "wfn/queue.py",
    "wfn/runtime/__init__.py",
    "wfn/runtime/blocking.py",
    "wfn/runtime/files.py",
    "wfn/runtime/fresh.py",
    "wfn/runtime/kept.py",
    "wfn/runtime/late.py",
    "wfn/runtime/lent.py",
    "wfn/runtime/missing/__init__.py",
    "wfn/runtime/missing/passwords.py",
    "wfn/runtime/network.py",
    "wfn/runtime/recursion.py",
    "wfn/runtime/threadless.py",
    "wfn/runtime/timers.py",
    "wfn/secrets.py",
    "wfn/service.py",
    "wfn/wit/deps/cli.wit",
    "wfn/wit/deps/clocks-0.2.wit",
    "wfn/wit/deps/clocks-0.3.wit",
    "wfn/wit/deps/filesystem.wit",
    "wfn/wit/deps/http-0.2.wit",
    "wfn/wit/deps/http-0.3.wit",
    "wfn/wit/deps/io-0.2.wit",
    "wfn/wit/deps/random.wit",
    "wfn/wit/deps/sockets.wit",
    "wfn/wit/world.wit",
    "wfn/wsgi.py",
];

/// The folder that holds the package, in the user's cache; written if it is not there yet.
///
/// # Errors
/// When there is no place for it (neither `XDG_CACHE_HOME` nor `HOME` is set), or it cannot be written.
pub fn folder() -> io::Result<PathBuf> {
    let cache = user_folder("XDG_CACHE_HOME", ".cache");
    folder_in(&cache.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "HOME is not set"))?)
}

/// The same in `cache`. Its name is a hash of what is in it, and it gets that name when it is whole.
fn folder_in(cache: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (path, content) in FILES {
        hash.update(path.len().to_le_bytes());
        hash.update(path);
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    let name = format!("python-{:x}", hash.finalize());
    let folder = cache.join(&name[..24]);
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = folder.with_extension(format!("partial-{}", process::id()));
    for (path, content) in FILES {
        let file = partial.join(path);
        fs::create_dir_all(file.parent().unwrap_or(&partial))?;
        fs::write(file, content)?;
    }
    match fs::rename(&partial, &folder) {
        // Another process was first: its folder is the same.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&partial)?,
        renamed => renamed?,
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_package_is_carried() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/python");
        let mut there = BTreeSet::from(["wasi_fetch.py".to_owned()]);
        let mut folders = vec![package.join("wfn")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if !path.is_dir() {
                    there.insert(path.strip_prefix(&package).unwrap().to_str().unwrap().to_owned());
                } else if path.file_name().unwrap() != "__pycache__" {
                    folders.push(path);
                }
            }
        }
        assert_eq!(there, FILES.iter().map(|(path, _)| (*path).to_owned()).collect());
    }

    #[test]
    fn the_package_is_written_once() {
        let cache = tempfile::tempdir().unwrap();
        let folder = folder_in(cache.path()).unwrap();
        for (path, content) in FILES {
            assert_eq!(fs::read(folder.join(path)).unwrap(), *content, "{path}");
        }
        let build = folder.join("wfn/build.py");
        fs::remove_file(&build).unwrap();
        assert_eq!(folder_in(cache.path()).unwrap(), folder);
        assert!(!build.exists(), "what is there is not written again");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
