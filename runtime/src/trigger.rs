//! What calls functions besides HTTP. Each event becomes a request that takes the one door, `dispatch`, to the function's own
//! scale group.

pub mod cloudevent;
pub mod leased;
pub mod queue;
