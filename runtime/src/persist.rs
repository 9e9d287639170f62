//! What survives: the database and the files beside it.

pub mod artifacts;
pub mod db;
pub mod schema;
