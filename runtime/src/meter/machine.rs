//! Measures how much of the machine is in use, or of the cgroup around this process where that has a limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Returns the folders of this process's cgroup and of those around it, the innermost first (version 2).
pub fn cgroups() -> Vec<PathBuf> {
    let mount = Path::new(CGROUPS);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let folders = mount.join(own);
    folders.ancestors().take_while(|folder| folder.starts_with(mount)).map(Path::to_owned).collect()
}

/// What was in use between two samples, in thousandths of what there was. `None`: could not be measured, or not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time of all cores.
    pub cpu_permille: Option<u32>,
    /// Memory.
    pub memory_permille: Option<u32>,
}

/// Measures what is in use, from one sample to the next.
#[derive(Debug, Default)]
pub struct MachineMeter {
    before: Option<Cpu>,
}

/// CPU time so far: of a cgroup with a limit of this many cores, in microseconds, or of the machine, in its ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cpu {
    Cgroup { used_us: u64, cores: f64, at: Instant },
    Machine { busy: u64, all: u64 },
}

impl MachineMeter {
    /// Returns what was in use since the last sample. Memory is the present value.
    pub fn sample(&mut self) -> Used {
        let now = cpu();
        let cpu_permille = self.before.zip(now).and_then(|(before, now)| share(before, now));
        self.before = now;
        Used { cpu_permille, memory_permille: memory_permille() }
    }
}

/// Returns the bytes that this process holds and that no file lies behind: what guests have written, and the host's own. `None` if
/// the kernel does not say.
pub fn anonymous_bytes() -> Option<u64> {
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = sizes.split_ascii_whitespace().skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}

fn cpu() -> Option<Cpu> {
    for folder in cgroups() {
        let limit = fs::read_to_string(folder.join("cpu.max")).ok();
        if let Some(cores) = limit.as_deref().and_then(cores_of) {
            let stat = fs::read_to_string(folder.join("cpu.stat")).ok()?;
            return Some(Cpu::Cgroup { used_us: value_of(&stat, "usage_usec ")?, cores, at: Instant::now() });
        }
    }
    machine_cpu(&fs::read_to_string("/proc/stat").ok()?)
}

fn share(before: Cpu, now: Cpu) -> Option<u32> {
    match (before, now) {
        (Cpu::Cgroup { used_us: before, at: since, .. }, Cpu::Cgroup { used_us, cores, at }) => {
            let whole_us = at.saturating_duration_since(since).as_micros() as f64 * cores;
            permille(used_us.saturating_sub(before), whole_us as u64)
        }
        (Cpu::Machine { busy: before, all: since }, Cpu::Machine { busy, all }) => {
            permille(busy.saturating_sub(before), all.saturating_sub(since))
        }
        // A limit was set or removed.
        _ => None,
    }
}

/// The cores that `cpu.max` allows; `None` if it allows all.
fn cores_of(limit: &str) -> Option<f64> {
    let mut numbers = limit.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (period > 0.0).then_some(quota / period)
}

fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Parses the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. Guest time is part of user time.
/// Stolen time was not available to this machine.
fn machine_cpu(stat: &str) -> Option<Cpu> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(7).filter_map(|tick| tick.parse().ok()).collect();
    let [_, _, _, idle, waiting, ..] = ticks[..] else { return None };
    let all: u64 = ticks.iter().sum();
    Some(Cpu::Machine { busy: all - idle - waiting, all })
}

/// `part` in thousandths of `whole`, rounded down. `None` if there is no whole.
#[must_use]
pub fn permille(part: u64, whole: u64) -> Option<u32> {
    let share = (u128::from(part) * 1_000).checked_div(u128::from(whole))?;
    Some(u32::try_from(share).unwrap_or(u32::MAX))
}

fn memory_permille() -> Option<u32> {
    for folder in cgroups() {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        if let Some(limit) = number("memory.max") {
            let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
            // Without the page cache, which gives way when memory is needed.
            let used = ["anon ", "shmem ", "kernel "].iter().filter_map(|name| value_of(&stat, name)).sum();
            return permille(used, limit);
        }
    }
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |name: &str| value_of(&machine.replace(" kB", ""), name);
    let (all, available) = (kilobytes("MemTotal:")?, kilobytes("MemAvailable:")?);
    permille(all.saturating_sub(available), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_counted_in_thousandths_and_rounded_down() {
        let cases = [
            (0, 10, Some(0)),
            (7_999, 10_000, Some(799)),
            (8, 10, Some(800)),
            (u64::MAX, u64::MAX, Some(1_000)),
            (u64::MAX, 1, Some(u32::MAX)),
            (1, 0, None),
        ];
        for (part, whole, expected) in cases {
            assert_eq!(permille(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn what_the_kernel_writes_is_understood() {
        assert_eq!(cores_of("150000 100000\n"), Some(1.5));
        assert_eq!(cores_of("max 100000\n"), None);
        let cpu = machine_cpu("cpu  100 20 30 800 50 0 0 9 0 0\ncpu0 1 2 3 4\n");
        assert_eq!(cpu, Some(Cpu::Machine { busy: 150, all: 1_000 }));
        assert_eq!(machine_cpu("cpu0 1 2"), None);
        let later = Cpu::Machine { busy: 550, all: 1_500 };
        assert_eq!(share(cpu.unwrap(), later), Some(800));
        let at = Instant::now();
        let cgroup = |used_us, after: u64| Cpu::Cgroup {
            used_us,
            cores: 1.5,
            at: at + std::time::Duration::from_millis(after),
        };
        assert_eq!(share(cgroup(1_000, 0), cgroup(751_000, 1_000)), Some(500));
        assert_eq!(share(cgroup(0, 0), later), None);
        assert_eq!(value_of("anon 7\nfile 8\n", "file "), Some(8));
    }

    #[test]
    fn this_machine_can_be_measured() {
        let mut meter = MachineMeter::default();
        assert_eq!(meter.sample().cpu_permille, None);
        let used = meter.sample().memory_permille.unwrap();
        assert!((1..=1_000).contains(&used), "{used}");
    }
}
