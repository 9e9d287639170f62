//! Reads how a scale group scales: the `[scale]` table, its defaults, and the resulting policy.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;
use crate::manifest::values::{Bounded, OrAuto, OrDynamic, Span, WholeNumber};

/// Deadline of one invocation, within its bounds.
pub type Timeout = Span<1, { limits::TIMEOUT_MAX.as_millis() as u64 }>;
/// Idle time of an instance, within its bounds.
pub type IdleTimeout = Span<0, { limits::IDLE_TIMEOUT_MAX.as_millis() as u64 }>;

/// Workers of an asynchronous instance. `auto`: one at first, and more when calls from another core come often or find
/// it busy; at most one per core.
pub type Workers = OrAuto<Bounded<1, { limits::WORKERS_PER_INSTANCE_MAX }>>;

/// Most invocations in flight in one instance, or `"dynamic"`.
pub type Concurrency = OrDynamic<Bounded<1, { limits::CONCURRENCY_MAX }>>;

/// The settings `wfn scale` changes. `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSettings {
    /// Memory class of an instance, in MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<MemoryClass>,
    /// Most invocations in flight in one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Workers of an asynchronous instance. Other guests get more workers as their concurrency needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// Instances that exist before the first request and stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ready: Option<Bounded<0, { limits::INSTANCES_MAX }>>,
    /// Hard maximum of instances beyond the always-ready ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<Bounded<1, { limits::INSTANCES_MAX }>>,
    /// Instances that may be added at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_out_burst: Option<Bounded<1, { limits::INSTANCES_MAX }>>,
    /// Instances that may be added each second after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_out_per_second: Option<Bounded<1, { limits::INSTANCES_MAX }>>,
    /// How long an instance beyond the always-ready ones may stay idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<IdleTimeout>,
    /// Deadline of one invocation, for waiting and running together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Whether workers are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
}

/// Memory class: what the linear memories of one instance may hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryClass {
    /// 2,048 MB.
    #[default]
    Mb2048,
    /// 4,096 MB.
    Mb4096,
}

impl MemoryClass {
    /// The class in MB.
    pub fn megabytes(self) -> u64 {
        match self {
            Self::Mb2048 => 2_048,
            Self::Mb4096 => 4_096,
        }
    }

    /// The class in bytes.
    pub fn bytes(self) -> u64 {
        self.megabytes() * limits::MEBIBYTE
    }

    /// The published default of concurrency for the class (SPEC 2.2).
    pub fn default_concurrency(self, language: Language) -> u32 {
        match (language, self) {
            (Language::Python, _) => 1,
            (_, Self::Mb2048) => 16,
            (_, Self::Mb4096) => 32,
        }
    }
}

impl Serialize for MemoryClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.megabytes())
    }
}

impl<'de> Deserialize<'de> for MemoryClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(WholeNumber("2048 or 4096"))? {
            2_048 => Ok(Self::Mb2048),
            4_096 => Ok(Self::Mb4096),
            other => Err(de::Error::custom(format!("{other} MB is not a memory class: use 2048 or 4096"))),
        }
    }
}

/// Whether a worker serves many invocations or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A worker serves one invocation after another.
    #[default]
    Reuse,
    /// Each invocation gets a new worker, which was instantiated before.
    Fresh,
}

impl ScaleSettings {
    /// These settings with `changes` applied. What `changes` leaves unset stays.
    pub fn overlaid(&self, changes: &Self) -> Self {
        Self {
            memory_mb: changes.memory_mb.or(self.memory_mb),
            concurrency: changes.concurrency.or(self.concurrency),
            workers: changes.workers.or(self.workers),
            always_ready: changes.always_ready.or(self.always_ready),
            max_instances: changes.max_instances.or(self.max_instances),
            scale_out_burst: changes.scale_out_burst.or(self.scale_out_burst),
            scale_out_per_second: changes.scale_out_per_second.or(self.scale_out_per_second),
            idle_timeout: changes.idle_timeout.or(self.idle_timeout),
            timeout: changes.timeout.or(self.timeout),
            isolation: changes.isolation.or(self.isolation),
        }
    }

    /// The settings with every default filled in, for a guest written in `language`.
    pub fn resolved(&self, language: Language) -> ScalePolicy {
        let memory = self.memory_mb.unwrap_or_default();
        ScalePolicy {
            memory,
            concurrency: match self.concurrency {
                Some(OrDynamic::Fixed(concurrency)) => concurrency.get(),
                Some(OrDynamic::Dynamic) => limits::DYNAMIC_CONCURRENCY_MAX,
                None => memory.default_concurrency(language),
            },
            is_dynamic: self.concurrency == Some(OrDynamic::Dynamic),
            workers: self.workers.unwrap_or_default(),
            always_ready: self.always_ready.map_or(0, Bounded::get),
            max_instances: self.max_instances.map_or(limits::INSTANCES_DEFAULT, Bounded::get),
            scale_out: ScaleOut {
                burst: self.scale_out_burst.map_or(limits::SCALE_OUT_BURST_DEFAULT, Bounded::get),
                per_second: self
                    .scale_out_per_second
                    .map_or(limits::SCALE_OUT_PER_SECOND_DEFAULT, Bounded::get),
            },
            idle_timeout: self.idle_timeout.map_or(limits::IDLE_TIMEOUT_DEFAULT, Span::get),
            timeout: self.timeout.map_or(limits::TIMEOUT_DEFAULT, Span::get),
            isolation: self.isolation.unwrap_or(language.default_isolation()),
        }
    }
}

/// Scale settings with all defaults filled in, as a pool uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalePolicy {
    /// Memory class of each instance.
    pub memory: MemoryClass,
    /// Slots of each instance; their maximum if `is_dynamic`.
    pub concurrency: u32,
    /// Whether the host decides how many of the slots are used (`wfn_runtime::pool::dynamic`).
    pub is_dynamic: bool,
    /// Workers of each instance of an asynchronous guest.
    pub workers: Workers,
    /// Instances kept regardless of demand.
    pub always_ready: u32,
    /// Most instances beyond the always-ready ones.
    pub max_instances: u32,
    /// How fast they may be added.
    pub scale_out: ScaleOut,
    /// Idle time after which an instance beyond the always-ready ones is retired.
    pub idle_timeout: Duration,
    /// Deadline of one invocation.
    pub timeout: Duration,
    /// Whether workers are used again.
    pub isolation: Isolation,
}

/// How fast instances may be added; a part of [`ScalePolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleOut {
    /// Instances that may be added at once, after a time without any.
    pub burst: u32,
    /// Instances that may be added each second after that.
    pub per_second: u32,
}

/// The language a guest was written in, where that decides a default (SPEC 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Python: an interpreter that runs one thing at a time.
    Python,
    /// JavaScript: StarlingMonkey's event loop ends with the first `fetch` event it has answered.
    JavaScript,
    /// Any other.
    #[default]
    Other,
}

impl Language {
    /// The name under which it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Other => "other",
        }
    }

    /// A JavaScript guest traps when it is called again.
    fn default_isolation(self) -> Isolation {
        match self {
            Self::JavaScript => Isolation::Fresh,
            Self::Python | Self::Other => Isolation::Reuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_class_and_explicit_values_survive_it() {
        let small = ScaleSettings::default();
        assert_eq!(small.resolved(Language::Other).concurrency, 16);
        let class = ScaleSettings { memory_mb: Some(MemoryClass::Mb4096), ..Default::default() };
        assert_eq!(small.overlaid(&class).resolved(Language::Other).concurrency, 32);
        assert_eq!(small.overlaid(&class).resolved(Language::Python).concurrency, 1);
        let explicit =
            ScaleSettings { concurrency: Bounded::new(7).map(OrDynamic::Fixed), ..Default::default() };
        assert_eq!(explicit.overlaid(&class).resolved(Language::Other).concurrency, 7);
        assert_eq!(explicit.resolved(Language::Python).concurrency, 7);
        assert_eq!(small.resolved(Language::JavaScript).isolation, Isolation::Fresh);
        let reuse = ScaleSettings { isolation: Some(Isolation::Reuse), ..Default::default() };
        assert_eq!(reuse.resolved(Language::JavaScript).isolation, Isolation::Reuse);
    }
}
