//! What a disk has damaged is found before it is used, and mended where it can be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use crate::harness::{DataDir, Host, Request, guest, hex_sha256};

/// The files of a folder with that ending, and those of its folders.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The one file of machine code, and the note about it.
fn machine_code(data: &DataDir) -> (PathBuf, PathBuf) {
    let note = files(&data.path().join("artifacts"), ".json").pop().unwrap();
    (note.with_extension(""), note)
}

#[test]
fn damaged_machine_code_is_made_again_before_it_runs() {
    let host = Host::start();
    host.deploy("hello", &["--always-ready", "1"]);
    let mut data = host.kill();
    let other = {
        let host = Host::start();
        host.deploy("echo", &[]);
        fs::read(machine_code(&host.data).0).unwrap()
    };
    let whole = fs::read(machine_code(&data).0).unwrap();
    let flipped = |at: usize| {
        let mut code = whole.clone();
        code[at] ^= 0x40;
        code
    };
    let zeros = vec![0; whole.len()];
    // All of the code is somewhere in the first half of the file.
    let places = (1..16).map(|part| flipped(whole.len() * part / 16));
    for code in places.chain([Vec::new(), whole[..whole.len() / 2].to_vec(), zeros, other]) {
        fs::write(machine_code(&data).0, &code).unwrap();
        let host = Host::start_in(&data, &[]);
        assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
        assert_eq!(host.admin_get("/v1/host")["broken"].as_array().unwrap().len(), 0);
        data = host.kill();
        assert_ne!(fs::read(machine_code(&data).0).unwrap(), code, "it was made again");
    }
    for note in [&b""[..], b"{", b"{\"kind\":\"p2\",\"language\":\"other\",\"code\":\"00\"}"] {
        fs::write(machine_code(&data).1, note).unwrap();
        let host = Host::start_in(&data, &[]);
        assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
        data = host.kill();
    }
    // What an earlier wfn has left has no note.
    fs::remove_file(machine_code(&data).1).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
}

#[test]
fn a_damaged_module_is_named_and_mended_by_the_next_deploy() {
    let host = Host::start();
    host.deploy("hello", &[]);
    host.deploy("echo", &[]);
    let module = host.admin_get("/v1/apps/hello")["module"].as_str().unwrap().to_owned();
    let file = host.data.path().join(format!("modules/{module}.wasm"));
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let data = host.kill();
    fs::remove_dir_all(data.path().join("artifacts")).unwrap();
    let host = Host::start_in(&data, &[]);
    assert_eq!(host.get("/echo").status, 200);
    let status = host.wfn(&["status", "hello"]).refused();
    assert!(status.contains(&module) && status.contains("damaged on the disk"), "{status}");
    let head = Request::new("HEAD", &format!("/v1/modules/{module}")).header("wfn-token", &host.token());
    assert_eq!(head.send(&host.admin).status, 404, "it does not count as there");
    host.deploy("hello", &[]);
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    assert_eq!(fs::read(&file).unwrap(), whole);
}

/// A project with `count` files, mounted at `/assets`, that answers with their content.
fn project(folder: &Path, count: usize) {
    fs::create_dir_all(folder.join("assets/deep")).unwrap();
    for number in 0..count {
        fs::write(folder.join(format!("assets/deep/{number}.txt")), format!("file {number}")).unwrap();
    }
    let manifest = format!(
        "name = \"files\"\nmodule = {:?}\n[[files]]\nsource = \"assets\"\ndestination = \"/assets\"\n",
        guest("files")
    );
    fs::write(folder.join("wfn.toml"), manifest).unwrap();
}

#[test]
fn damaged_files_of_an_app_are_named_and_mended_by_the_next_deploy() {
    let host = Host::start();
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), 3);
    host.deploy("hello", &[]);
    host.wfn(&["deploy", folder.path().to_str().unwrap()]).ok();
    let mut data = host.kill();
    let damages: [fn(&Path); 2] = [
        |file| fs::remove_file(file).unwrap(),
        |file| {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(file, "file 2").unwrap();
        },
    ];
    for damage in damages {
        damage(&files(&data.path().join("bundles"), "1.txt").pop().unwrap());
        let host = Host::start_in(&data, &[]);
        assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
        let status = host.wfn(&["status", "files"]).refused();
        assert!(status.contains("bundle") && status.contains("damaged on the disk"), "{status}");
        host.wfn(&["deploy", folder.path().to_str().unwrap()]).ok();
        assert_eq!(host.get("/files/read?path=/assets/deep/1.txt").ok(), "file 1");
        data = host.kill();
    }
}

/// An archive of `count` files.
fn archive(count: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..count {
        let mut header = tar::Header::new_ustar();
        header.set_size(4);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("deep/{number}.txt"), &b"text"[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn the_same_files_uploaded_many_times_at_once_are_stored_whole() {
    let host = Host::start();
    let (count, bytes) = (400, archive(400));
    let hash = hex_sha256(&bytes);
    let path = format!("/v1/bundles/{hash}");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let put = Request::new("PUT", &path).header("wfn-token", &host.token()).body(&*bytes);
                let answer = put.send(&host.admin);
                assert_eq!(answer.status, 201, "{}", answer.text());
            });
        }
    });
    let bundles = host.data.path().join("bundles");
    assert_eq!(files(&bundles.join(&hash), ".txt").len(), count);
    assert_eq!(fs::read_dir(&bundles).unwrap().count(), 2, "the folder, and the note about it");
}

#[test]
fn what_is_no_archive_of_plain_files_is_refused() {
    let host = Host::start();
    let put = |bytes: &[u8]| {
        let path = format!("/v1/bundles/{}", hex_sha256(bytes));
        Request::new("PUT", &path).header("wfn-token", &host.token()).body(bytes).send(&host.admin)
    };
    // A name of a hundred megabytes costs the child alone, and no more than it may have.
    let mut long = tar::Header::new_gnu();
    long.set_entry_type(tar::EntryType::GNULongName);
    long.set_size(100 << 20);
    long.set_cksum();
    let long = [long.as_bytes(), &vec![b'x'; 100 << 20][..]].concat();
    let good = archive(2);
    for (what, bytes) in [
        ("text", b"not an archive at all, but longer than a header".repeat(20)),
        ("a cut archive", good[..700].to_vec()),
        ("a long name", long),
    ] {
        let answer = put(&bytes);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid-bundle"),
            "{what}: {}",
            answer.text()
        );
    }
    assert_eq!(fs::read_dir(host.data.path().join("bundles")).unwrap().count(), 0);
    assert_eq!(put(&good).status, 201);
}
