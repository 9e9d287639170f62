//! Lists everything that a guest may import, by kind of guest: what the linkers of `instance` provide.
//!
//! It is a table of its own because a link error of the library names only one import, in the library's terms. Here all unknown
//! imports of a module are found before it is compiled.

/// A package of WASI and its interfaces.
type Package = (&'static str, &'static [&'static str]);

const WASI_0_2: &[Package] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:http", &["outgoing-handler", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

const WASI_0_3: &[Package] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
            "types",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "system-clock", "types"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:http", &["client", "types"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    ("wasi:sockets", &["ip-name-lookup", "types"]),
];

/// Interfaces without a released version: provided in exactly this one, to p2 and p3 guests.
const DRAFTS: &[&str] = &[
    "wasi:config/store@0.2.0-rc.1",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft2",
];

/// The functions of `wasi_snapshot_preview1`.
const PREVIEW_1: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// The functions of `wfn_http`, which takes the place of the connections that preview 1 does not have.
const WFN_HTTP: &[&str] = &["close", "connect", "read", "wait", "write"];

/// The advice for a p2 guest that imports more.
pub const PROVIDED_TO_P2: &str = "wfn provides the interfaces of WASI 0.2 (wasi:http, cli, io, clocks, random, filesystem, sockets), wasi:config@0.2.0-rc.1, wasi:keyvalue@0.2.0-draft2 and nothing else";
/// The advice for a p3 guest that imports more.
pub const PROVIDED_TO_P3: &str = "wfn provides the interfaces of WASI 0.3 and 0.2 (wasi:http, cli, clocks, random, filesystem, sockets, io), wasi:config@0.2.0-rc.1, wasi:keyvalue@0.2.0-draft2 and nothing else";
/// The advice for a command that imports more.
pub const PROVIDED_TO_COMMANDS: &str =
    "wfn provides a command with wasi_snapshot_preview1, wfn_http and nothing else";

/// Whether p2 guests may import `name`.
pub fn is_provided_to_p2(name: &str) -> bool {
    is_in(WASI_0_2, "0.2", name) || DRAFTS.contains(&name)
}

/// Whether p3 guests may import `name`.
pub fn is_provided_to_p3(name: &str) -> bool {
    is_in(WASI_0_3, "0.3", name) || is_provided_to_p2(name)
}

/// Whether commands may import `name`, a function in the form `module/function`.
pub fn is_provided_to_commands(name: &str) -> bool {
    name.split_once('/').is_some_and(|(module, function)| match module {
        "wasi_snapshot_preview1" => PREVIEW_1.contains(&function),
        "wfn_http" => WFN_HTTP.contains(&function),
        _ => false,
    })
}

fn is_in(packages: &[Package], version: &str, name: &str) -> bool {
    packages.iter().any(|(package, interfaces)| {
        let rest = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| interfaces.iter().any(|interface| is_version(rest, interface, version)))
    })
}

/// Whether `name` is `interface` in a released version `major.minor.x`.
pub fn is_version(name: &str, interface: &str, major_minor: &str) -> bool {
    name.strip_prefix(interface)
        .and_then(|rest| rest.strip_prefix('@')?.strip_prefix(major_minor)?.strip_prefix('.'))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_matched_whole() {
        assert!(is_version("wasi:io/poll@0.2.10", "wasi:io/poll", "0.2"));
        for other in [
            "wasi:io/poll",
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.20.0",
            "wasi:io/poller@0.2.1",
            "wasi:io/poll@0.2.",
            "wasi:io/poll@0.2.0-rc",
        ] {
            assert!(!is_version(other, "wasi:io/poll", "0.2"), "{other}");
        }
    }

    #[test]
    fn each_kind_has_its_own_imports() {
        assert!(is_provided_to_p2("wasi:http/types@0.2.3") && is_provided_to_p3("wasi:http/types@0.2.3"));
        assert!(!is_provided_to_p2("wasi:http/types@0.3.0") && is_provided_to_p3("wasi:http/types@0.3.0"));
        assert!(
            !is_provided_to_p3("wasi:http/typesetting@0.3.0") && !is_provided_to_p3("wasi:httptypes@0.3.0")
        );
        let draft = "wasi:keyvalue/store@0.2.0-draft2";
        assert!(is_provided_to_p2(draft) && is_provided_to_p3(draft));
        for other in [
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/store@0.2.0",
            "wasi:keyvalue/watcher@0.2.0-draft2",
        ] {
            assert!(!is_provided_to_p2(other) && !is_provided_to_p3(other), "{other}");
        }
        assert!(is_provided_to_commands("wasi_snapshot_preview1/fd_write"));
        assert!(is_provided_to_commands("wfn_http/connect"));
        for other in
            ["wasi_snapshot_preview1/fd_fly", "wfn_http/listen", "wasi_unstable/fd_write", "env/fd_write"]
        {
            assert!(!is_provided_to_commands(other), "{other}");
        }
    }
}
