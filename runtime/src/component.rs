//! Inspects modules, compiles them safely, and keeps their machine code.

pub mod cache;
pub mod code;
pub mod compile;
pub mod componentize;
pub mod engine;
pub mod features;
pub mod function_cache;
pub mod inspect;
pub mod instance_size;
pub mod interfaces;
pub mod outside;
