//! Which files of a project matter: what `watch` names, or the folder without what builds and tools write.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::failure::{Done, Failure};
use crate::project::Project;

/// Folders that builds and package managers write.
const WRITTEN_BY_TOOLS: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// What is watched.
#[derive(Debug, PartialEq, Eq)]
pub struct Watched {
    /// The project's folder, without links in its path: as events name it.
    root: PathBuf,
    /// The manifest's file.
    file: PathBuf,
    /// Files and folders that count, below the root.
    entries: Vec<PathBuf>,
    /// What the build writes.
    module: PathBuf,
}

impl Watched {
    /// What `project` says is to be watched.
    pub fn of(project: &Project) -> Done<Self> {
        let folder = project.folder();
        let root =
            folder.canonicalize().map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        let below = |path: &Path| match path.strip_prefix(folder) {
            Ok(path) => plain(&root.join(path)),
            Err(_) => plain(&root.join(path)),
        };
        let entries = match &project.build.watch {
            Some(paths) => paths.iter().map(|path| plain(&root.join(path.as_str()))).collect(),
            None => vec![root.clone()],
        };
        if let Some(missing) = entries.iter().find(|entry| !entry.exists()) {
            return Err(Failure::new(format!(
                "{}: there is no {}",
                project.file.display(),
                missing.display()
            ))
            .remedy("watch in its table [build] naming files and folders that exist"));
        }
        Ok(Self { file: below(&project.file), module: below(&project.module), entries, root })
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folders to watch, and everything below them that [`Self::leads_to_watched`]. A file is watched by its
    /// folder, because editors put another file in its place.
    pub fn folders(&self) -> Vec<PathBuf> {
        let parents = self
            .entries
            .iter()
            .filter_map(|entry| entry.parent())
            .filter(|path| path.starts_with(&self.root));
        let entries = self.entries.iter().filter(|entry| entry.is_dir());
        let mut folders = vec![self.root.clone()];
        folders.extend(parents.map(Path::to_owned).chain(entries.cloned()));
        folders.dedup();
        folders
    }

    /// Whether a folder may hold, or come to hold, something that is watched.
    pub fn leads_to_watched(&self, folder: &Path) -> bool {
        self.covers(folder) || self.entries.iter().any(|entry| entry.starts_with(folder))
    }

    /// Whether a change of `path` means that the module is out of date.
    pub fn covers(&self, path: &Path) -> bool {
        if path == self.file {
            return true;
        }
        path != self.module
            && self.entries.iter().any(|entry| match path.strip_prefix(entry) {
                Ok(below) => !self.is_output(entry, path) && !below.components().any(is_hidden),
                Err(_) => false,
            })
    }

    fn is_output(&self, entry: &Path, path: &Path) -> bool {
        // Where the module lies beside the sources, only the module itself is output.
        let output = self.module.parent().filter(|output| *output != self.root && !entry.starts_with(output));
        output.is_some_and(|output| path.starts_with(output))
    }
}

/// What tools and editors keep beside the sources.
fn is_hidden(part: Component<'_>) -> bool {
    let name: &OsStr = part.as_os_str();
    let Some(name) = name.to_str() else { return false };
    // `4913` is how vim tries whether it may write.
    name.starts_with('.') || name.ends_with('~') || name == "4913" || WRITTEN_BY_TOOLS.contains(&name)
}

/// The path without `.` in it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use wfn_manifest::manifest::file::ManifestFile;

    /// A project in a folder of its own, with this manifest.
    fn watched(manifest: &str) -> (tempfile::TempDir, Watched) {
        let folder = tempfile::tempdir().unwrap();
        for path in ["src/deep", "build", "target", "node_modules"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let file = folder.path().join("wfn.toml");
        fs::write(&file, manifest).unwrap();
        let parsed = ManifestFile::parse(manifest).unwrap();
        let module = folder.path().join(parsed.module.unwrap());
        let project = Project { file, module, build: parsed.build.unwrap() };
        let watched = Watched::of(&project).unwrap();
        (folder, watched)
    }

    #[test]
    fn the_folder_counts_without_what_tools_write() {
        let (_folder, watched) = watched("module = \"build/a.wasm\"\n[build]\ncommand = \"make\"");
        let covers = |path: &str| watched.covers(&watched.root().join(path));
        for path in ["main.c", "src", "src/deep/a.rs", "wfn.toml", "builder/x", "src/targets.rs"] {
            assert!(covers(path), "{path}");
        }
        for path in [
            "build",
            "build/a.wasm",
            "build/a.o",
            "target/debug/x",
            "node_modules/x/index.js",
            ".git/index",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "src/4913",
            "a/__pycache__/x",
        ] {
            assert!(!covers(path), "{path}");
        }
    }

    #[test]
    fn what_is_named_counts_and_nothing_else() {
        let (_folder, watched) =
            watched("module = \"./a.wasm\"\n[build]\ncommand = \"make\"\nwatch = [\"./src\"]");
        let covers = |path: &str| watched.covers(&watched.root().join(path));
        assert!(covers("src/a.c") && covers("wfn.toml"));
        assert!(!covers("main.c") && !covers("a.wasm") && !covers("srcs/a.c"));
        assert!(watched.leads_to_watched(&watched.root().join("src/deep")));
        assert!(!watched.leads_to_watched(&watched.root().join("build")));
    }

    #[test]
    fn what_is_named_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wfn.toml");
        let parsed = ManifestFile::parse("[build]\ncommand = \"make\"\nwatch = [\"gone\"]").unwrap();
        let project = Project { module: folder.path().join("a.wasm"), file, build: parsed.build.unwrap() };
        let failure = Watched::of(&project).unwrap_err().to_string();
        assert!(failure.contains("gone") && failure.contains("watch"), "{failure}");
    }
}
