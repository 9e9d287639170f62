//! Instances and their workers: the unit of memory class and concurrency, and what runs in it.

pub mod call;
pub mod cgi;
pub mod command_http;
pub mod guest;
pub mod guest_task;
pub mod in_flight;
pub mod kept_body;
pub mod limiter;
pub mod machinery;
pub mod pipe;
pub mod sandbox;
pub mod shared;
pub mod start;
pub mod template;
pub mod verdict;
pub mod waker;
pub mod worker;
pub mod worker_command;
pub mod worker_p2;
pub mod worker_p3;
pub mod written;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::budget::memory::{HostMemory, InstanceMemory};
use crate::budget::quota::QuotaLease;
use crate::capability::scratch::Scratch;
use crate::instance::shared::SharedWorkers;
use crate::manifest::MemoryClass;

/// One instance: workers that share a memory class.
pub struct Instance {
    /// What its workers are charged to.
    pub memory: Arc<InstanceMemory>,
    /// Workers that take many invocations at a time; other kinds of worker belong to one slot each.
    pub shared: SharedWorkers,
    /// The `/tmp` of its workers, from the first of them on, where invocations share one.
    pub scratch: Mutex<Option<Arc<Scratch>>>,
}

/// Two instances are the same only if they are one.
impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Instance {
    /// An instance without workers, for which `lease` holds the class's share of the quota.
    pub fn new(class: MemoryClass, host: Arc<HostMemory>, lease: QuotaLease) -> Arc<Self> {
        let memory = InstanceMemory::new(class, host, lease);
        Arc::new(Self { memory, shared: SharedWorkers::default(), scratch: Mutex::default() })
    }
}
