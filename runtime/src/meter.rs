//! What is seen of an app: its output and its counts.

pub mod counts;
pub mod log;
