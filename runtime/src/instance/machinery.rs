//! Holds what guests run on: the engines, the ticks that interrupt guests, and the threads for those that compute.

use tokio::runtime::Handle;

use crate::component::engine::{Engines, Pulse};

/// What guests run on; one for the host.
pub struct Machinery {
    engines: Engines,
    pulse: Pulse,
    compute: Handle,
    cores: usize,
}

impl Machinery {
    /// Guests run on `engines`, which `pulse` keeps interruptible, on one event loop for each of `cores`, and on the threads
    /// of `compute`.
    pub fn new(engines: Engines, pulse: Pulse, compute: Handle, cores: usize) -> Self {
        Self { engines, pulse, compute, cores }
    }

    /// The engines guests run on.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Keeps guests interruptible.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The threads for guests that compute.
    pub fn compute(&self) -> &Handle {
        &self.compute
    }

    /// How many event loops there are.
    pub fn cores(&self) -> usize {
        self.cores
    }
}
