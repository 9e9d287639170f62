//! A disk that is full, or can only be read: 507 and clear words for what would write, everything else goes on, and writing too
//! once there is room.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::harness::{Answer, DataDir, Host, Request, guest, hex_sha256, run};

/// A file system of its own in memory, which only the superuser may make.
struct SmallDisk {
    place: std::path::PathBuf,
}

impl SmallDisk {
    fn at(place: &Path, megabytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // The same faults come out of an injected disk in the tests of persist/.
            eprintln!("skipped: only the superuser may mount");
            return None;
        }
        fs::create_dir_all(place).unwrap();
        let size = std::ffi::CString::new(format!("size={megabytes}m")).unwrap();
        mount("tmpfs", place, "tmpfs", MountFlags::empty(), Some(&*size)).unwrap();
        Some(Self { place: place.to_owned() })
    }

    fn filler(&self) -> std::path::PathBuf {
        self.place.join("filler")
    }

    /// Takes every page there is.
    fn fill(&self) {
        let mut file = File::options().append(true).create(true).open(self.filler()).unwrap();
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn make_read_only(&self) {
        mount_remount(&self.place, MountFlags::RDONLY, c"").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A host that still runs on it keeps it until it ends.
        let _ = unmount(&self.place, UnmountFlags::DETACH);
    }
}

/// Sends `body` to a path of the admin API.
fn send(host: &Host, method: &str, path: &str, body: &[u8]) -> Answer {
    Request::new(method, path).header("wfn-token", &host.token()).body(body).send(&host.admin)
}

#[track_caller]
fn is_full(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (507, "disk-full"), "{}", answer.text());
}

#[test]
fn a_full_disk_is_507_and_serving_goes_on_also_after_a_restart() {
    let data = DataDir::new();
    let Some(disk) = SmallDisk::at(data.path(), 24) else { return };
    let mut host = Host::start_in(&data, &[]);
    host.deploy("hello", &["--always-ready", "1"]);
    host.deploy_with(
        "counter",
        "counter",
        "key_value_stores = [\"default\"]\nblob_containers = [\"default\"]\nqueues = [\"work\"]\n",
    );
    let before = host.admin_get("/v1/apps")["apps"].as_array().unwrap().len();
    let faults = fs::read(guest("faults")).unwrap();
    let path = |bytes: &[u8]| format!("/v1/modules/{}", hex_sha256(bytes));
    assert_eq!(send(&host, "PUT", &path(&faults), &faults).status, 201);
    let deploy = format!("{{\"module\":\"{}\",\"manifest\":{{\"name\":\"faults\"}}}}", hex_sha256(&faults));
    disk.fill();

    let large = vec![7; 3_000_000];
    let value = &large[..900_000];
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(value.len() as u64);
    archive.append_data(&mut header, "file", value).unwrap();
    let archive = archive.into_inner().unwrap();
    let refuses_and_serves = |host: &Host, module_is_stored: bool| {
        is_full(&send(host, "PUT", &path(&large), &large));
        is_full(&send(host, "PUT", &format!("/v1/bundles/{}", hex_sha256(&archive)), &archive));
        let refused = send(host, "POST", "/v1/apps/faults/revisions", deploy.as_bytes());
        match module_is_stored {
            true => is_full(&refused),
            // A start removes what nobody refers to.
            false => assert_eq!(refused.code(), "module-missing", "{}", refused.text()),
        }
        is_full(&send(host, "PUT", "/v1/apps/counter/kv/default/key", value));
        is_full(&send(host, "PUT", "/v1/apps/counter/blobs/default/blob", value));
        // What the command line says of it.
        let refused = host.wfn(&["deploy", &guest("faults")]).refused();
        assert!(refused.contains("[disk-full]"), "{refused}");
        assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
        assert_eq!(host.admin_get("/v1/apps")["apps"].as_array().unwrap().len(), before);
        host.admin_get("/v1/usage?since_ms=0");
        assert_eq!(host.admin_get("/v1/host")["broken"].as_array().unwrap().len(), 0);
    };
    refuses_and_serves(&host, true);
    for kill in [true, false] {
        if kill {
            host.kill();
        } else {
            host.terminate();
            assert_eq!(host.ended(), Some(0));
        }
        // As after a power cut: the database's index beside it is gone, and there is no room for another.
        let _ = fs::remove_file(data.path().join("wfn.db-shm"));
        // What the end has given back is taken, too: the start has no room for anything.
        disk.fill();
        host = Host::start_in(&data, &[]);
        // And what the start has given back.
        disk.fill();
        refuses_and_serves(&host, false);
    }

    disk.make_room();
    host.deploy("faults", &[]);
    host.get("/faults/ok").ok();
    for path in ["kv/default/key", "blobs/default/blob"] {
        let answer = send(&host, "PUT", &format!("/v1/apps/counter/{path}"), value);
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
    }
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    let host = Host::start_in(&host.kill(), &[]);
    host.get("/faults/ok").ok();
}

#[test]
fn a_data_directory_that_can_only_be_read_is_named() {
    let data = DataDir::new();
    let Some(disk) = SmallDisk::at(data.path(), 24) else { return };
    let host = Host::start_in(&data, &[]);
    host.deploy("hello", &[]);
    host.terminate();
    assert_eq!(host.ended(), Some(0));
    disk.make_read_only();
    let refused = run(Command::new(env!("CARGO_BIN_EXE_wfn"))
        .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(data.path()))
    .refused();
    let path = data.path().to_str().unwrap();
    assert!(refused.contains(path) && refused.contains("cannot be written"), "{refused}");
    assert!(refused.contains("--data-dir"), "{refused}");
}

#[test]
fn a_disk_that_can_only_be_read_refuses_uploads_in_clear_words() {
    let data = DataDir::new();
    let Some(modules) = SmallDisk::at(&data.path().join("modules"), 8) else { return };
    // A data directory of an earlier start.
    fs::write(data.path().join("lock"), "").unwrap();
    let host = Host::start_in(&data, &[]);
    host.deploy("hello", &[]);
    modules.make_read_only();
    let answer = send(&host, "PUT", &format!("/v1/modules/{}", hex_sha256(b"x")), b"x");
    assert_eq!((answer.status, answer.code().as_str()), (507, "disk-read-only"), "{}", answer.text());
    let refused = host.wfn(&["deploy", &guest("faults")]).refused();
    assert!(refused.contains("cannot be written") && refused.contains("[disk-read-only]"), "{refused}");
    assert_eq!(host.get("/hello").ok(), "Hello from wfn!\n");
    // What is there already needs no room.
    host.deploy("hello", &["-e", "A=B"]);
}
