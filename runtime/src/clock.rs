//! Wall clock time; the one place that asks for it.

use std::time::SystemTime;

/// Milliseconds since 1970, UTC; 0 on a machine whose clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
