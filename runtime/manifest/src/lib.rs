//! Holds what an app's manifest says, and all limits and names.
//!
//! All of it is pure: the host, the command line and the tests share it, and it compiles without wasmtime.

pub mod limits;
pub mod manifest;
pub mod names;
