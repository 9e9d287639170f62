//! The checks of the machine: what the kernel and the container grant, against what a full host needs.

use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use rustix::process::{Resource, getrlimit};
use wfn_manifest::limits;
use wfn_runtime::capability::scratch::ScratchMaker;
use wfn_runtime::config::machine_memory_bytes;
use wfn_runtime::event_loop;

use crate::cmd::doctor::Finding;
use crate::output::bytes;

/// Mappings of one worker: two for its stack, about four for its memory.
const MAPPINGS_PER_WORKER: u64 = 6;
/// Mappings of the process itself.
const MAPPINGS_BESIDES: u64 = 4_000;
/// Address space that is reserved for one worker.
const ADDRESS_SPACE_PER_WORKER: u64 = 4 * 1024 * limits::MEBIBYTE;
/// Files the host opens besides connections.
const FILES_BESIDES: u64 = 500;
/// Less memory than this leaves little for functions.
const MEMORY_BYTES_MIN: u64 = 512 * limits::MEBIBYTE;

/// Looks at the machine.
pub fn check() -> Vec<Finding> {
    let mappings = number_in("/proc/sys/vm/max_map_count");
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut findings = vec![
        check_cores(event_loop::cores()),
        check_memory(machine_memory_bytes()),
        check_swap(kilobytes(&meminfo, "SwapTotal:"), number_in("/proc/sys/vm/swappiness")),
        check_mappings(mappings),
        check_address_space(getrlimit(Resource::As).current),
        check_files(getrlimit(Resource::Nofile).maximum),
        check_scratch(ScratchMaker::default().check()),
    ];
    findings.extend(check_overcommit(number_in("/proc/sys/vm/overcommit_memory")));
    findings
}

fn check_cores(cores: usize) -> Finding {
    match cores {
        1 => Finding::warn(
            "cores",
            "1",
            "functions that compute and deploys that compile share it: give the machine a second one",
        ),
        _ => Finding::ok("cores", format!("{cores}, one event loop each")),
    }
}

fn check_memory(machine: u64) -> Finding {
    let share = machine / 100 * limits::GUEST_MEMORY_PERCENT;
    let seen = format!("{}, of which functions may hold {}", bytes(machine), bytes(share));
    if machine < MEMORY_BYTES_MIN {
        return Finding::warn("memory", seen, "few functions fit: give the machine 1 GiB or more");
    }
    Finding::ok("memory", seen)
}

fn check_swap(total_kilobytes: Option<u64>, swappiness: Option<u64>) -> Finding {
    match total_kilobytes {
        None => Finding::warn("swap", "unknown", "look at /proc/meminfo"),
        Some(0) => Finding::ok(
            "swap",
            "off: where memory runs out the kernel ends processes; the host refuses growth at its share before",
        ),
        // With a swappiness of 10 or less the kernel hardly swaps before it has to.
        Some(total) if swappiness.is_some_and(|swappiness| swappiness <= 10) => {
            Finding::ok("swap", format!("{}, used only when it has to be", bytes(total * 1024)))
        }
        Some(total) => Finding::warn(
            "swap",
            format!("{}: idle instances may be swapped out and then answer slowly", bytes(total * 1024)),
            "sysctl -w vm.swappiness=10, or swapoff -a",
        ),
    }
}

fn check_mappings(granted: Option<u64>) -> Finding {
    let needed = u64::from(limits::WORKERS_MAX) * MAPPINGS_PER_WORKER + MAPPINGS_BESIDES;
    match granted {
        None => Finding::warn("vm.max_map_count", "unknown", "look at /proc/sys/vm/max_map_count"),
        Some(granted) if granted < needed => Finding::warn(
            "vm.max_map_count",
            format!(
                "{granted}: enough for about {} workers of {}",
                granted.saturating_sub(MAPPINGS_BESIDES) / MAPPINGS_PER_WORKER,
                limits::WORKERS_MAX
            ),
            format!("sysctl -w vm.max_map_count={}", needed.next_power_of_two()),
        ),
        Some(granted) => {
            Finding::ok("vm.max_map_count", format!("{granted}, enough for {} workers", limits::WORKERS_MAX))
        }
    }
}

fn check_address_space(limit: Option<u64>) -> Finding {
    let needed = u64::from(limits::WORKERS_MAX) * ADDRESS_SPACE_PER_WORKER;
    match limit {
        Some(limit) if limit < needed => Finding::fail(
            "address space",
            format!(
                "limited to {}, the host reserves about {} (which is not memory)",
                bytes(limit),
                bytes(needed)
            ),
            "ulimit -v unlimited, or LimitAS=infinity in the service",
        ),
        _ => Finding::ok("address space", "unlimited"),
    }
}

/// Only apps that ask for `scratch_mb` need it.
fn check_scratch(checked: io::Result<()>) -> Finding {
    match checked {
        Ok(()) => Finding::ok("scratch files", "apps may have a /tmp in memory"),
        Err(error) => Finding::warn(
            "scratch files",
            format!("no app may have a /tmp (scratch_mb): {error}"),
            "let the user of the host make user namespaces (sysctl -w kernel.unprivileged_userns_clone=1, or \
             kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), or AmbientCapabilities=CAP_SYS_ADMIN in the service",
        ),
    }
}

fn check_files(maximum: Option<u64>) -> Finding {
    let needed = limits::CONNECTIONS_MAX as u64 + FILES_BESIDES;
    match maximum {
        Some(maximum) if maximum < needed => Finding::warn(
            "open files",
            format!(
                "at most {maximum}: a host takes up to {} connections, and has files of its own",
                limits::CONNECTIONS_MAX
            ),
            format!("ulimit -Hn {needed}, or LimitNOFILE={needed} in the service"),
        ),
        Some(maximum) => Finding::ok("open files", format!("at most {maximum}")),
        None => Finding::ok("open files", "unlimited"),
    }
}

/// Only worth a line where it is not the default.
fn check_overcommit(mode: Option<u64>) -> Option<Finding> {
    (mode == Some(2)).then(|| {
        Finding::warn(
            "vm.overcommit",
            "strict: memory counts when it is reserved, not when it is used",
            "sysctl -w vm.overcommit_memory=0",
        )
    })
}

fn number_in<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::doctor::Level;

    #[test]
    fn what_is_too_little_is_named_with_a_remedy() {
        let cases = [
            (check_mappings(Some(65_530)), Level::Ok, "65530"),
            (check_mappings(Some(10_000)), Level::Warn, "1000 workers"),
            (check_address_space(None), Level::Ok, "unlimited"),
            (check_address_space(Some(1 << 40)), Level::Fail, "39.1 TiB"),
            (check_files(Some(1_024)), Level::Warn, "1024"),
            (check_memory(1 << 28), Level::Warn, "256.0 MiB"),
            (check_memory(1 << 30), Level::Ok, "768.0 MiB"),
            (check_swap(Some(0), Some(60)), Level::Ok, "off"),
            (check_swap(Some(1 << 20), Some(60)), Level::Warn, "1.0 GiB"),
        ];
        for (finding, level, seen) in cases {
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.seen.contains(seen), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), level != Level::Ok, "{finding:?}");
        }
    }
}
