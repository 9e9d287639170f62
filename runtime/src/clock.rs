//! The two clocks of the host, and the one place that asks for them.

use std::time::{Instant, SystemTime};

/// Milliseconds since 1970, UTC; 0 on a machine whose clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The monotonic clock that timers go by, so that both can be made virtual together in a simulation.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
