//! Paths in the repository: binaries, guests, and where results go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The repository this program was built from.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
    wfn: PathBuf,
}

impl Workspace {
    /// Finds the repository: the folder above this package, wherever cargo has found that. If `wfn` is given it is used
    /// instead of the release build.
    pub fn find(wfn: Option<PathBuf>) -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("this package has no folder above it")?.to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let target = root.join(target);
        let wfn = wfn.unwrap_or_else(|| target.join("release/wfn"));
        Ok(Self { root, target, wfn })
    }

    /// Path of the wfn binary. If there is none, the error says how to build it.
    pub fn wfn(&self) -> Result<&Path> {
        if !self.wfn.is_file() {
            bail!("there is no {}: build it with 'cargo build --release -p wfn'", self.wfn.display());
        }
        Ok(&self.wfn)
    }

    /// The example guest `name`.
    pub fn guest(&self, name: &str) -> Result<PathBuf> {
        let path = self.target.join("guests").join(format!("{name}.wasm"));
        if !path.is_file() {
            bail!("there is no {}: build the guests with 'cargo xtask guests'", path.display());
        }
        Ok(path)
    }

    /// The folder of the Rust example `name`, with its manifest.
    pub fn example(&self, name: &str) -> PathBuf {
        self.root.join("guest-examples/rust").join(name)
    }

    /// The folder of the Python example `name`.
    pub fn python_example(&self, name: &str) -> PathBuf {
        self.root.join("guest-examples/python").join(name)
    }

    /// The HTML page of 73 KB that the published figures use.
    pub fn page(&self) -> PathBuf {
        self.root.join("tests/data/page-73k.html")
    }

    /// The folder with what the peers serve.
    pub fn peer_sources(&self) -> PathBuf {
        self.root.join("benches/peers")
    }

    /// Where cargo and npm install peers.
    pub fn peers(&self) -> PathBuf {
        self.target.join("peers")
    }

    /// The folder for results.
    pub fn results(&self) -> Result<PathBuf> {
        let folder = self.target.join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(folder)
    }

    /// A new folder for the state of one host, removed when it is dropped.
    pub fn data_dir(&self) -> Result<DataDir> {
        let results = self.results()?;
        let free = (0..).map(|number| results.join(format!("data-{}-{number}", std::process::id())));
        for path in free {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(DataDir(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to make {}", path.display()));
                }
            }
        }
        bail!("there is no free name for a data directory")
    }
}

/// The state of one host; dropping it removes the folder.
#[derive(Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove {}: {error}", self.0.display());
        }
    }
}
