//! The scale flags that `deploy` and `scale` share, read with the host's own rules.

use clap::Args;
use wfn_manifest::limits;
use wfn_manifest::manifest::{
    Bounded, Concurrency, IdleTimeout, Isolation, MemoryClass, OrAuto, OrDynamic, ScaleSettings, Timeout,
    Workers,
};

/// What decides how an app scales.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Scale settings")]
pub struct ScaleFlags {
    /// Memory class of an instance: 2048 or 4096 [default: 2048]
    #[arg(long, value_name = "MB", env = "WFN_MEMORY", value_parser = memory, hide_env_values = true)]
    memory: Option<MemoryClass>,

    /// Most invocations in flight in one instance, 1 to 1000, or dynamic [default: 16, or 32 with 4096 MB]
    #[arg(long, value_name = "N", env = "WFN_CONCURRENCY", value_parser = concurrency, hide_env_values = true)]
    concurrency: Option<Concurrency>,

    /// Workers of an instance of an asynchronous (p3) guest, 1 to 10 or auto [default: auto]
    #[arg(long, value_name = "N", env = "WFN_WORKERS", value_parser = workers, hide_env_values = true)]
    workers: Option<Workers>,

    /// Instances that exist before the first request and stay [default: 0]
    #[arg(long, value_name = "N", env = "WFN_ALWAYS_READY", value_parser = always_ready, hide_env_values = true)]
    always_ready: Option<Bounded<0, { limits::INSTANCES_MAX }>>,

    /// Hard maximum of instances beyond the always-ready ones, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N", env = "WFN_MAX_INSTANCES", value_parser = instances, hide_env_values = true)]
    max_instances: Option<Bounded<1, { limits::INSTANCES_MAX }>>,

    /// Instances that may be added at once, 1 to 1000 [default: 1000]
    #[arg(long, value_name = "N", env = "WFN_SCALE_OUT_BURST", value_parser = instances, hide_env_values = true)]
    scale_out_burst: Option<Bounded<1, { limits::INSTANCES_MAX }>>,

    /// Instances that may be added each second after that, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N", env = "WFN_SCALE_OUT_PER_SECOND", value_parser = instances, hide_env_values = true)]
    scale_out_per_second: Option<Bounded<1, { limits::INSTANCES_MAX }>>,

    /// How long an instance may stay idle: 500ms, 30s, 5m, 1h [default: 60s]
    #[arg(long, value_name = "TIME", env = "WFN_IDLE_TIMEOUT", value_parser = IdleTimeout::parse, hide_env_values = true)]
    idle_timeout: Option<IdleTimeout>,

    /// Deadline of one invocation, waiting and computing alike [default: 30s]
    #[arg(long, value_name = "TIME", env = "WFN_TIMEOUT", value_parser = Timeout::parse, hide_env_values = true)]
    timeout: Option<Timeout>,

    /// reuse workers, or a fresh one for each invocation [default: reuse]
    #[arg(long, value_name = "HOW", env = "WFN_ISOLATION", value_parser = isolation, hide_env_values = true)]
    isolation: Option<Isolation>,
}

impl ScaleFlags {
    /// The settings that were given; the others are unset.
    pub fn settings(&self) -> ScaleSettings {
        ScaleSettings {
            memory_mb: self.memory,
            concurrency: self.concurrency,
            workers: self.workers,
            always_ready: self.always_ready,
            max_instances: self.max_instances,
            scale_out_burst: self.scale_out_burst,
            scale_out_per_second: self.scale_out_per_second,
            idle_timeout: self.idle_timeout,
            timeout: self.timeout,
            isolation: self.isolation,
        }
    }
}

/// The settings that are set, as the flags that set them.
pub fn shown(settings: &ScaleSettings) -> String {
    let number = |name: &str, value: Option<u32>| value.map(|value| format!("--{name} {value}"));
    let isolation = settings.isolation.map(|isolation| match isolation {
        Isolation::Reuse => "--isolation reuse".to_owned(),
        Isolation::Fresh => "--isolation fresh".to_owned(),
    });
    let all = [
        settings.memory_mb.map(|class| format!("--memory {}", class.megabytes())),
        settings.concurrency.map(|concurrency| match concurrency {
            OrDynamic::Dynamic => "--concurrency dynamic".to_owned(),
            OrDynamic::Fixed(most) => format!("--concurrency {}", most.get()),
        }),
        settings.workers.map(|workers| match workers {
            OrAuto::Auto => "--workers auto".to_owned(),
            OrAuto::Fixed(count) => format!("--workers {}", count.get()),
        }),
        number("always-ready", settings.always_ready.map(Bounded::get)),
        number("max-instances", settings.max_instances.map(Bounded::get)),
        number("scale-out-burst", settings.scale_out_burst.map(Bounded::get)),
        number("scale-out-per-second", settings.scale_out_per_second.map(Bounded::get)),
        settings.idle_timeout.map(|time| format!("--idle-timeout {time}")),
        settings.timeout.map(|time| format!("--timeout {time}")),
        isolation,
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn memory(text: &str) -> Result<MemoryClass, String> {
    match text {
        "2048" => Ok(MemoryClass::Mb2048),
        "4096" => Ok(MemoryClass::Mb4096),
        _ => Err("use 2048 or 4096 (MB, without a unit)".to_owned()),
    }
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "reuse" => Ok(Isolation::Reuse),
        "fresh" => Ok(Isolation::Fresh),
        _ => Err("use reuse or fresh".to_owned()),
    }
}

fn concurrency(text: &str) -> Result<Concurrency, String> {
    match text {
        "dynamic" => Ok(OrDynamic::Dynamic),
        _ => bounded(text).map(OrDynamic::Fixed).map_err(|why| format!("{why}, or dynamic")),
    }
}

fn workers(text: &str) -> Result<Workers, String> {
    match text {
        "auto" => Ok(OrAuto::Auto),
        _ => bounded(text).map(OrAuto::Fixed).map_err(|why| format!("{why}, or auto")),
    }
}

fn always_ready(text: &str) -> Result<Bounded<0, { limits::INSTANCES_MAX }>, String> {
    bounded(text)
}

fn instances(text: &str) -> Result<Bounded<1, { limits::INSTANCES_MAX }>, String> {
    bounded(text)
}

/// A whole number within the bounds of its setting.
pub fn bounded<const MIN: u32, const MAX: u32>(text: &str) -> Result<Bounded<MIN, MAX>, String> {
    let number = text.parse().ok().and_then(Bounded::new);
    number.ok_or_else(|| format!("use a whole number from {MIN} to {MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_bounds_are_refused_with_the_bounds() {
        assert!(concurrency("1000").is_ok());
        let refusals = [
            (concurrency("0").map(drop), "1 to 1000"),
            (concurrency("many").map(drop), "or dynamic"),
            (workers("11").map(drop), "1 to 10, or auto"),
            (always_ready("-1").map(drop), "0 to 1000"),
            (memory("2048MB").map(drop), "2048 or 4096"),
            (isolation("none").map(drop), "reuse or fresh"),
        ];
        for (refusal, expected) in refusals {
            let message = refusal.expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn settings_are_shown_as_the_flags_that_set_them() {
        let settings = ScaleSettings {
            memory_mb: Some(MemoryClass::Mb4096),
            timeout: Timeout::parse("1500ms").ok(),
            isolation: Some(Isolation::Fresh),
            workers: workers("auto").ok(),
            ..ScaleSettings::default()
        };
        assert_eq!(shown(&settings), "--memory 4096 --workers auto --timeout 1500ms --isolation fresh");
    }
}
