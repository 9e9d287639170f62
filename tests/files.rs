//! Files that come with a function: read by it alone, never written, and no way from them to anything else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::{Host, guest, root, wfn};

/// A project that mounts its folder `assets` at `/assets` and says `more` in its manifest.
fn project(folder: &Path, name: &str, more: &str) {
    let assets = folder.join("assets/deep/er");
    fs::create_dir_all(&assets).unwrap();
    fs::write(folder.join("assets/name.txt"), name).unwrap();
    fs::write(assets.join("data.txt"), "deep").unwrap();
    let manifest = format!(
        "name = \"{name}\"\nmodule = \"{}\"\n{more}\n[[files]]\nsource = \"assets\"\ndestination = \"/assets\"\n",
        guest("files")
    );
    fs::write(folder.join("wfn.toml"), manifest).unwrap();
}

/// The folders of files that the host has stored.
fn bundles(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.data.path().join("bundles")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

#[test]
fn the_example_serves_its_pages() {
    let host = Host::start();
    let folder = root().join("guest-examples/rust/files");
    host.wfn(&["deploy", folder.to_str().unwrap()]).ok();
    assert!(host.get("/files/pages/index").ok().contains("came with the function"));
    assert_eq!(host.get("/files/pages/missing").status, 404);
    assert_eq!(host.get("/files/read?path=/assets/note.txt").ok(), "a line of text\n");
}

#[test]
fn a_function_reads_its_own_files_and_nothing_else() {
    let host = Host::start();
    for name in ["one", "two"] {
        let folder = tempfile::tempdir().unwrap();
        project(folder.path(), name, "");
        host.wfn(&["deploy", folder.path().to_str().unwrap()]).ok();
    }
    // The folders above are gone: the files came along.
    for name in ["one", "two"] {
        assert_eq!(host.get(&format!("/{name}/read?path=/assets/name.txt")).ok(), name);
        assert_eq!(host.get(&format!("/{name}/read?path=/assets/deep/../deep/er/data.txt")).ok(), "deep");
        assert_eq!(host.get(&format!("/{name}/list?path=/assets")).ok(), "deep\nname.txt");
        let data = host.data.path().display();
        for path in [
            "/etc/passwd",
            "/assets/../etc/passwd",
            "/assets/../../../../../../etc/passwd",
            "../../etc/passwd",
            "/assets/deep/../../..",
            "/proc/self/environ",
            "/",
            ".",
            &format!("{data}/secret.key"),
            &format!("/assets/../../{}", "secret.key"),
        ] {
            for way in ["read", "list"] {
                let answer = host.get(&format!("/{name}/{way}?path={path}"));
                assert_eq!(answer.status, 403, "{way} {path}: {}", answer.text());
            }
        }
        for way in ["write", "remove", "link"] {
            for path in ["/assets/name.txt", "/assets/new.txt", "/tmp/x"] {
                let answer = host.get(&format!("/{name}/{way}?path={path}"));
                assert_eq!(answer.status, 403, "{way} {path}: {}", answer.text());
            }
        }
        assert_eq!(host.get(&format!("/{name}/read?path=/assets/name.txt")).ok(), name);
    }
}

#[test]
fn a_link_that_somebody_puts_into_the_store_leads_nowhere() {
    let host = Host::start();
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "one", "");
    host.wfn(&["deploy", folder.path().to_str().unwrap()]).ok();
    let bundle = bundles(&host).pop().unwrap();
    symlink("/etc/passwd", bundle.join("file")).unwrap();
    symlink("/etc", bundle.join("folder")).unwrap();
    for path in ["/assets/file", "/assets/folder/passwd"] {
        assert_eq!(host.get(&format!("/one/read?path={path}")).status, 403, "{path}");
    }
}

#[test]
fn files_belong_to_their_revision_and_survive_a_restart() {
    let host = Host::start();
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "one", "[scale]\nalways_ready = 1");
    let deploy = || host.wfn(&["deploy", folder.path().to_str().unwrap()]).ok();
    deploy();
    fs::write(folder.path().join("assets/name.txt"), "changed").unwrap();
    deploy();
    assert_eq!(host.get("/one/read?path=/assets/name.txt").ok(), "changed");
    host.wfn(&["rollback", "one"]).ok();
    assert_eq!(host.get("/one/read?path=/assets/name.txt").ok(), "one");
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(host.get("/one/read?path=/assets/name.txt").ok(), "one");
    assert_eq!(bundles(&host).len(), 2);
    // What no revision mounts is removed at the next start.
    host.wfn(&["rm", "one", "-y"]).ok();
    let host = Host::start_in(&host.kill(), &[]);
    assert_eq!(fs::read_dir(host.data.path().join("bundles")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_mounted_is_refused() {
    let host = Host::start();
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "one", "");
    let target = folder.path().to_str().unwrap();
    symlink("/etc/passwd", folder.path().join("assets/link")).unwrap();
    let refused = host.wfn(&["deploy", target]).refused();
    assert!(refused.contains("assets/link is neither a file nor a folder"), "{refused}");
    fs::remove_dir_all(folder.path().join("assets")).unwrap();
    let refused = host.wfn(&["deploy", target]).refused();
    assert!(refused.contains("is not a folder"), "{refused}");
    let module = guest("files");
    for (files, expected) in [
        ("source = \"../assets\"\ndestination = \"/a\"", "without '..'"),
        ("source = \"assets\"\ndestination = \"a\"", "absolute path"),
        ("source = \"assets\"\ndestination = \"/a/../b\"", "absolute path"),
        ("source = \"assets\"", "missing field `destination`"),
    ] {
        let manifest = format!("name = \"one\"\nmodule = \"{module}\"\n[[files]]\n{files}\n");
        fs::write(folder.path().join("wfn.toml"), manifest).unwrap();
        let output = host.wfn(&["deploy", target]);
        assert!(output.code != Some(0) && output.stderr.contains(expected), "{files}: {}", output.stderr);
    }
    assert_eq!(wfn(&["build", target]).code, Some(1));
}
