//! Stores what survives a restart: the database, and the files beside it.

pub mod artifacts;
pub mod db;
pub mod error;
#[cfg(test)]
pub mod faulty_disk;
pub mod schema;
pub mod writer;
