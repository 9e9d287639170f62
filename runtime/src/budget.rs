//! Holds what all instances share and compete for: the memory quota, and real memory.

pub mod capacity;
pub mod memory;
pub mod pages;
pub mod quota;
