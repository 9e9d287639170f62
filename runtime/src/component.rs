//! Components: what was handed in, compiling it safely, and keeping the machine code.

pub mod cache;
pub mod compile;
pub mod engine;
pub mod inspect;
