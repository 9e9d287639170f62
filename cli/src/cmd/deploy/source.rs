//! What `wfn deploy` was pointed at: finds the module and the manifest that belong together.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use wfn_manifest::manifest::file::ManifestFile;
use wfn_manifest::manifest::{FileMount, Manifest};
use wfn_manifest::names::AppName;

use crate::bundle::{self, Bundle};
use crate::failure::{Done, Failure};

/// The file that says everything flags can say.
pub const FILE_NAME: &str = "wfn.toml";

/// A module and its manifest.
#[derive(Debug)]
pub struct Source {
    /// The module's file, which exists.
    pub module: PathBuf,
    /// What the file says, with a name in any case.
    pub manifest: Manifest,
    /// The manifest's file, if there is one.
    pub file: Option<PathBuf>,
    /// The folders that the manifest mounts, packed.
    pub bundles: Vec<Bundle>,
}

/// Finds what `target` stands for: a module, a `wfn.toml`, or the folder of one. `name` goes before the
/// file's.
pub fn find(target: &Path, name: Option<AppName>) -> Done<Source> {
    let metadata = fs::metadata(target).map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing(target, target.parent()),
        _ => Failure::new(format!("{}: {error}", target.display())),
    })?;
    if metadata.is_dir() {
        let file = target.join(FILE_NAME);
        if !file.is_file() {
            return Err(Failure::new(format!("{} has no {FILE_NAME}", target.display())).remedy(format!(
                "'wfn deploy MODULE.wasm', or a {FILE_NAME} with module = \"MODULE.wasm\""
            )));
        }
        return of_file(&file, name);
    }
    if target.extension().is_some_and(|extension| extension == "toml") {
        return of_file(target, name);
    }
    of_module(target, name)
}

fn of_file(file: &Path, name: Option<AppName>) -> Done<Source> {
    let parsed = parse(file)?;
    let Some(module) = &parsed.module else {
        return Err(Failure::new(format!("{}: it does not say which module to deploy", file.display()))
            .remedy("a line module = \"MODULE.wasm\" at its beginning"));
    };
    let module = beside(file, module);
    if !module.is_file() {
        return Err(match parsed.build {
            Some(_) => Failure::new(format!("there is no file {}", module.display()))
                .remedy("run 'wfn build' first, or 'wfn deploy --build'"),
            None => missing(&module, file.parent()),
        });
    }
    with_name(module, Some(file.to_owned()), parsed, name)
}

/// A module by itself, with the `wfn.toml` beside it if that file is about it.
fn of_module(module: &Path, name: Option<AppName>) -> Done<Source> {
    let file = beside(module, FILE_NAME);
    if file.is_file() {
        let parsed = parse(&file)?;
        let is_about_it = match &parsed.module {
            Some(named) => is_same_file(&beside(&file, named), module),
            None => true,
        };
        if is_about_it {
            return with_name(module.to_owned(), Some(file), parsed, name);
        }
    }
    with_name(module.to_owned(), None, ManifestFile::default(), name)
}

fn with_name(
    module: PathBuf,
    file: Option<PathBuf>,
    parsed: ManifestFile,
    name: Option<AppName>,
) -> Done<Source> {
    let name = match name.or_else(|| parsed.name.clone()) {
        Some(name) => name,
        None => name_of(&module)?,
    };
    let mut bundles = Vec::new();
    let mut files = Vec::new();
    for mount in &parsed.files {
        let folder = beside(file.as_deref().unwrap_or(&module), mount.source.as_str());
        let bundle = bundle::pack(&folder)?;
        files.push(FileMount { bundle: bundle.hash, destination: mount.destination.clone() });
        bundles.push(bundle);
    }
    let manifest = parsed.manifest(name, files);
    Ok(Source { module, manifest, file, bundles })
}

/// The name of the app that a manifest's file is about; its module need not exist yet.
pub fn name(file: &Path) -> Done<AppName> {
    let parsed = parse(file)?;
    match (parsed.name, parsed.module) {
        (Some(name), _) => Ok(name),
        (None, Some(module)) => name_of(Path::new(&module)),
        (None, None) => Err(Failure::new(format!("{}: it names no app", file.display()))
            .remedy("a line name = \"APP\" at its beginning")),
    }
}

/// Reads the file of a manifest.
pub fn parse(file: &Path) -> Done<ManifestFile> {
    let text =
        fs::read_to_string(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    ManifestFile::parse(&text).map_err(|error| Failure::new(placed(file, &error)))
}

/// The error of a file in one line with its place, then what the place looks like.
fn placed(file: &Path, error: &str) -> String {
    let file = file.display();
    let parts = error.strip_prefix("TOML parse error at ").and_then(|rest| {
        let (place, rest) = rest.split_once('\n')?;
        let (shown, what) = rest.rsplit_once('\n')?;
        Some((place, shown, what))
    });
    match parts {
        Some((place, shown, what)) => format!("{file}, {place}: {what}\n{shown}"),
        None => format!("{file}: {error}"),
    }
}

/// A path as a file names it: relative to that file.
pub fn beside(file: &Path, path: &str) -> PathBuf {
    // A file's name always has a parent; that of a bare name is the empty path, which joins well.
    file.parent().unwrap_or(Path::new("")).join(path)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// The app's name that the name of a module's file, or of a folder, stands for: `Html_Parse.wasm` is `html-parse`.
pub fn name_of(module: &Path) -> Done<AppName> {
    let stem = module.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = stem.replace(['_', '.', ' '], "-");
    AppName::new(name.trim_matches('-')).map_err(|_| {
        Failure::usage(format!("{} does not make an app name", module.display()))
            .remedy("--name APP, of a-z, 0-9 and '-'")
    })
}

/// The module is not there: most often it has not been built yet.
fn missing(path: &Path, folder: Option<&Path>) -> Failure {
    let failure = Failure::new(format!("there is no file {}", path.display()));
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // By what a project has beside its manifest, in it or above the folder its compiler writes to.
    let builds = [
        ("Cargo.toml", "cargo build --release --target wasm32-wasip2"),
        ("package.json", "npm run build"),
        ("go.mod", "tinygo build -target=wasip2 -o MODULE.wasm"),
        ("pyproject.toml", "componentize-py -w wasi:http/proxy@0.2.0 componentize app -o MODULE.wasm"),
        ("requirements.txt", "componentize-py -w wasi:http/proxy@0.2.0 componentize app -o MODULE.wasm"),
    ];
    let found = folder.ancestors().take(5).find_map(|ancestor| {
        builds.iter().find(|(file, _)| ancestor.join(file).is_file()).map(|(_, command)| command)
    });
    match found {
        Some(command) => failure.remedy(format!("building it first: {command}")),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the given files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_module_is_found_with_the_manifest_that_is_about_it() {
        let about = folder(&[("a.wasm", ""), ("wfn.toml", "name = \"x\"\nmodule = \"./a.wasm\"")]);
        let none = folder(&[("a_B.wasm", "")]);
        let other = folder(&[("a.wasm", ""), ("wfn.toml", "name = \"x\"\nmodule = \"b.wasm\"")]);
        let any = folder(&[("a.wasm", ""), ("wfn.toml", "[scale]\nconcurrency = 2")]);
        let cases = [
            (&about, "a.wasm", "x", true),
            (&about, "", "x", true),
            (&about, "wfn.toml", "x", true),
            (&none, "a_B.wasm", "a-b", false),
            (&other, "a.wasm", "a", false),
            (&any, "a.wasm", "a", true),
        ];
        for (folder, target, name, has_file) in cases {
            let source = find(&folder.path().join(target), None).unwrap();
            assert_eq!(source.manifest.name.as_str(), name, "{target}");
            assert_eq!(source.file.is_some(), has_file, "{target}");
        }
    }

    #[test]
    fn what_cannot_be_deployed_is_refused_with_the_place() {
        let folder = folder(&[
            ("_.wasm", ""),
            ("Cargo.toml", ""),
            ("unknown.toml", "name = \"x\"\nmodul = \"b.wasm\""),
            ("none.toml", "name = \"x\""),
            ("unbuilt.toml", "module = \"target/x.wasm\""),
            ("unbuilt-too.toml", "module = \"target/x.wasm\"\n[build]\ncommand = \"make\""),
        ]);
        let cases = [
            ("_.wasm", "--name APP"),
            ("unknown.toml", "line 2"),
            ("none.toml", "module = \"MODULE.wasm\""),
            ("unbuilt.toml", "cargo build"),
            ("unbuilt-too.toml", "run 'wfn build' first"),
            ("", "has no wfn.toml"),
            ("missing.wasm", "there is no file"),
        ];
        for (target, expected) in cases {
            let failure = find(&folder.path().join(target), None).unwrap_err().to_string();
            assert!(failure.contains(expected), "{target}: {failure}");
        }
    }
}
