//! `/tmp`: what an app asks for in memory, its instances get, to the byte; and it is gone with them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::harness::{DataDir, Host, guest, until};

const MIB: u64 = 1024 * 1024;
/// A user without rights.
const NOBODY: u32 = 65_534;

/// Deploys the guest `files` as `name` with `manifest`; hands back what is wrong with it, if it is refused.
fn deploy(host: &Host, name: &str, manifest: &str) -> Result<(), String> {
    deploy_module(host, name, &guest("files"), manifest)
}

fn deploy_module(host: &Host, name: &str, module: &str, manifest: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("name = \"{name}\"\nmodule = \"{module}\"\n{manifest}\n");
    fs::write(folder.path().join("wfn.toml"), text).unwrap();
    let output = host.wfn(&["deploy", folder.path().to_str().unwrap()]);
    if output.code == Some(0) { Ok(()) } else { Err(output.stderr) }
}

/// How many bytes or files the guest says it could make.
fn count(host: &Host, path: &str) -> u64 {
    host.get(path).ok().parse().unwrap()
}

fn works(host: &Host) {
    deploy(host, "one", "scratch_mb = 4").unwrap();
    assert_eq!(host.get("/one/write?path=/tmp/note").ok(), "written");
    assert_eq!(host.get("/one/read?path=/tmp/note").ok(), "x");
    assert_eq!(
        count(host, &format!("/one/fill?path=/tmp/large&bytes={}", 10 * MIB)),
        4 * MIB - 4_096,
        "a page is the note"
    );
    assert_eq!(host.get("/one/remove?path=/tmp/large").ok(), "removed");
}

#[test]
fn it_holds_what_was_asked_for_and_no_byte_more() {
    let host = Host::start();
    deploy(&host, "one", "scratch_mb = 4\n[scale]\nmax_instances = 1").unwrap();
    let fill = |bytes: u64| count(&host, &format!("/one/fill?path=/tmp/large&bytes={bytes}"));
    for _ in 0..3 {
        assert_eq!(fill(10 * MIB), 4 * MIB);
        assert_eq!(host.get("/one/list?path=/tmp").ok(), "large", "invocations of one instance share it");
        assert_eq!(host.get("/one/remove?path=/tmp/large").ok(), "removed");
    }
    // Room for 4 MB in files of 8 KB.
    assert!((500..=512).contains(&count(&host, "/one/many?path=/tmp&count=100000")));
    assert_eq!(host.get("/one/write?path=/tmp/more").status, 403);
    assert_eq!(host.get("/one/write?path=/tmp/7").ok(), "written");
    // What is removed and still open counts on.
    for number in 0..512 {
        host.get(&format!("/one/remove?path=/tmp/{number}"));
    }
    assert_eq!(count(&host, &format!("/one/hide?path=/tmp/hidden&bytes={}", 3 * MIB)), 3 * MIB);
    assert_eq!(host.get("/one/list?path=/tmp").ok(), "");
    assert_eq!(fill(10 * MIB), MIB);
    assert!(host.logs("one").contains("No space left"), "{}", host.logs("one"));
}

#[test]
fn it_belongs_to_one_instance_of_one_app() {
    let host = Host::start();
    for name in ["one", "two"] {
        deploy(&host, name, "scratch_mb = 4").unwrap();
    }
    assert_eq!(host.get("/one/write?path=/tmp/note").ok(), "written");
    assert_eq!(host.get("/two/read?path=/tmp/note").status, 403);
    for path in ["/tmp/../etc/passwd", "/tmp/../../etc/passwd", "/etc/passwd", "/proc/self/environ"] {
        assert_eq!(host.get(&format!("/one/read?path={path}")).status, 403, "{path}");
    }
    for path in ["/tmp/../x", "/x", "/tmp/no/x"] {
        assert_eq!(host.get(&format!("/one/write?path={path}")).status, 403, "{path}");
    }
    // Neither a link of the guest's leads out.
    let linked = host.get("/one/link?path=/tmp/out");
    assert!(linked.status == 403 || host.get("/one/list?path=/tmp/out").status == 403);
    // A new revision has new instances.
    deploy(&host, "one", "scratch_mb = 4\n[env]\nA = \"b\"").unwrap();
    assert_eq!(host.get("/one/list?path=/tmp").ok(), "");
    deploy(&host, "one", "").unwrap();
    assert_eq!(host.get("/one/write?path=/tmp/note").status, 403);
}

#[test]
fn fresh_workers_share_none() {
    let host = Host::start();
    deploy(&host, "one", "scratch_mb = 8\n[scale]\nisolation = \"fresh\"").unwrap();
    for _ in 0..20 {
        assert_eq!(host.get("/one/list?path=/tmp").ok(), "");
        assert_eq!(host.get("/one/write?path=/tmp/note").ok(), "written");
    }
    assert_eq!(host.number("one", "failed"), 0);
}

#[test]
fn every_kind_of_guest_gets_it() {
    let host = Host::start();
    // Makes a file below its first folder, which is /tmp, and answers what was read from it.
    let wat = r#"(module
      (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (data (i32.const 100) "note") (data (i32.const 200) "kept for now") (data (i32.const 300) "\n")
      (func $must (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
      (func (export "_start")
        (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 1)
          (i64.const 0x1ffffff) (i64.const 0) (i32.const 0) (i32.const 0)))
        (i32.store (i32.const 8) (i32.const 200)) (i32.store (i32.const 12) (i32.const 12))
        (call $must (call $pwrite (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i64.const 0) (i32.const 4)))
        (i32.store (i32.const 8) (i32.const 301))
        (call $must (call $pread (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i64.const 0) (i32.const 4)))
        (i32.store (i32.const 8) (i32.const 300)) (i32.store (i32.const 12) (i32.const 13))
        (call $must (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 4)))))"#;
    let module = tempfile::NamedTempFile::new().unwrap();
    fs::write(module.path(), wat::parse_str(wat).unwrap()).unwrap();
    deploy_module(&host, "command", module.path().to_str().unwrap(), "scratch_mb = 1").unwrap();
    assert_eq!(host.get("/command/").ok(), "kept for now");
    deploy_module(&host, "async", &guest("async-faults"), "scratch_mb = 1").unwrap();
    assert_eq!(host.get("/async/scratch").ok(), "kept for now");
}

#[test]
fn it_has_to_fit_into_the_class() {
    let host = Host::start();
    let refused = deploy(&host, "one", "scratch_mb = 65\n[scale]\nisolation = \"fresh\"").unwrap_err();
    assert!(
        refused.contains("65 MB for each of 16 invocations") && refused.contains("at most 64"),
        "{refused}"
    );
    let refused = deploy(&host, "one", "scratch_mb = 1025").unwrap_err();
    assert!(refused.contains("1 to 1024"), "{refused}");
    let refused = deploy(&host, "one", "scratch_mb = 1\n[[files]]\nsource = \".\"\ndestination = \"/tmp\"")
        .unwrap_err();
    assert!(refused.contains("both want to be /tmp"), "{refused}");
    deploy(&host, "one", "scratch_mb = 1024").unwrap();
    assert_eq!(host.get("/one/write?path=/tmp/note").ok(), "written");
}

#[test]
fn a_host_without_the_right_to_mount_makes_it_in_a_namespace() {
    let (folder, data) = (tempfile::tempdir().unwrap(), DataDir::new());
    let wfn = env!("CARGO_BIN_EXE_wfn");
    let command = if rustix::process::geteuid().is_root() {
        // A user who may do nothing gets at neither this user's files nor the binary among them.
        let copy = folder.path().join("wfn");
        fs::copy(wfn, &copy).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        chown(data.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
        command.args([&user, &group, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]).arg(copy);
        command
    } else {
        Command::new(wfn)
    };
    let host = Host::start_through(command, &data, &[], &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    works(&host);
}

#[test]
fn its_maker_is_replaced_and_ends_with_the_host() {
    let host = Host::start();
    works(&host);
    let first = maker(&host).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    // The app's next revision has a new instance, which needs a new one.
    works(&host);
    let second = maker(&host).unwrap();
    assert_ne!(first, second);
    host.kill();
    until("the maker is gone", || {
        (!fs::exists(format!("/proc/{}", second.as_raw_pid())).unwrap()).then_some(())
    });
}

/// The living process that makes it for `host`.
fn maker(host: &Host) -> Option<rustix::process::Pid> {
    let pid = host.pid();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    let children: Vec<String> =
        children.flat_map(|all| all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let is_maker = |child: &&String| {
        fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.contains("make-scratch"))
    };
    let child = children.iter().find(is_maker)?;
    rustix::process::Pid::from_raw(child.parse().unwrap())
}
