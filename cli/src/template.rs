//! What `wfn new` makes projects from: the files of `cli/templates/`, carried by the binary.

/// The beginning of a project in one language.
#[derive(Debug)]
pub struct Template {
    /// What `-t` takes; the folder in `cli/templates/`.
    pub name: &'static str,
    /// One line for whoever chooses.
    pub about: &'static str,
    /// Path in that folder, and text.
    files: &'static [(&'static str, &'static str)],
}

/// The files of one folder in `cli/templates/`, each with its text.
macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../templates/", $folder, "/", $path)))),+]
    };
}

/// All templates, in the order in which they are listed.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "rust",
        about: "Rust with wstd, a component for WASI 0.2",
        files: files!("rust": "Cargo.toml", "README.md", "gitignore", "src/lib.rs", "wfn.toml"),
    },
    Template {
        name: "rust-async",
        about: "Rust with wasip3, a component for WASI 0.3: one instance answers many requests at a time",
        files: files!("rust-async": "Cargo.toml", "README.md", "gitignore", "src/lib.rs", "wfn.toml"),
    },
    Template {
        name: "js",
        about: "JavaScript as a fetch event listener, with componentize-js",
        files: files!(
            "js": "README.md", "build.mjs", "gitignore", "package.json", "src/index.js", "wfn.toml"
        ),
    },
    Template {
        name: "python",
        about: "Python as a WSGI application, with componentize-py",
        files: files!("python": "README.md", "app.py", "gitignore", "requirements.txt", "wfn.toml"),
    },
    Template {
        name: "python-async",
        about: "Python as an ASGI application, a component for WASI 0.3: one instance answers many requests at a time",
        files: files!("python-async": "README.md", "app.py", "gitignore", "requirements.txt", "wfn.toml"),
    },
    Template {
        name: "c",
        about: "C as a CGI program, with clang and wasi-libc or zig",
        files: files!("c": "README.md", "build.sh", "gitignore", "src/main.c", "src/wfn_http.h", "wfn.toml"),
    },
    Template {
        name: "go",
        about: "Go as a CGI program, with net/http",
        files: files!("go": "README.md", "go.mod", "gitignore", "main.go", "wfn.toml", "wfn_http.go"),
    },
];

/// The template of that name.
pub fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

impl Template {
    /// The files of a project called `name`: path and text.
    pub fn render(&self, name: &str) -> impl Iterator<Item = (String, String)> {
        // What languages call a crate, module or package has no hyphens.
        let identifier = name.replace('-', "_");
        self.files.iter().map(move |(path, text)| {
            (path_in_project(path), text.replace("{{name}}", name).replace("{{crate}}", &identifier))
        })
    }
}

/// A `.gitignore` among the templates would hide them from git.
fn path_in_project(path: &str) -> String {
    match path.strip_suffix("gitignore") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("{folder}.gitignore"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use wfn_manifest::manifest::file::ManifestFile;

    #[test]
    fn every_template_becomes_a_project_that_can_be_built() {
        for template in TEMPLATES {
            let files: Vec<_> = template.render("my-app-2").collect();
            for (path, text) in &files {
                assert!(!text.contains("{{"), "{}/{path} has a placeholder nobody fills", template.name);
            }
            let text = |wanted: &str| files.iter().find(|(path, _)| path == wanted).map(|(_, text)| text);
            let manifest = text("wfn.toml").unwrap_or_else(|| panic!("{} has no wfn.toml", template.name));
            let manifest =
                ManifestFile::parse(manifest).unwrap_or_else(|error| panic!("{}: {error}", template.name));
            assert_eq!(
                manifest.name.as_ref().map(|name| name.as_str()),
                Some("my-app-2"),
                "{}",
                template.name
            );
            assert!(manifest.module.is_some() && manifest.build.is_some(), "{}", template.name);
            assert!(text(".gitignore").is_some() && text("README.md").is_some(), "{}", template.name);
            assert!(!template.about.is_empty());
        }
    }

    #[test]
    fn every_file_of_the_templates_is_in_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut there = BTreeSet::new();
        collect(&folder, &folder, &mut there);
        let listed = |template: &Template| {
            let paths = template.files.iter().map(|(path, _)| format!("{}/{path}", template.name));
            paths.collect::<Vec<_>>()
        };
        assert_eq!(there, TEMPLATES.iter().flat_map(listed).collect());
    }

    fn collect(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
}
