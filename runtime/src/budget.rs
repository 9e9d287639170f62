//! What all instances share and compete for: the quota of their classes, and real memory.

pub mod memory;
pub mod quota;
pub mod room;
