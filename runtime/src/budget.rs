//! What all instances share and compete for: the quota of their classes, and real memory.

pub mod capacity;
pub mod memory;
pub mod quota;
