//! The two clocks of the host, and the one place that asks for them.

use std::time::{Duration, Instant, SystemTime};

/// Milliseconds since 1970, UTC; 0 on a machine whose clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Nanoseconds since 1970, UTC.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The monotonic clock that timers go by, so that both can be made virtual together in a simulation.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for a moment in milliseconds since 1970.
pub async fn until(unix_ms: i64) {
    // A clock that is set is noticed within a minute.
    let step = Duration::from_secs(60);
    loop {
        let left_ms = unix_ms.saturating_sub(now_ms() as i64);
        match u64::try_from(left_ms) {
            Err(_) | Ok(0) => return,
            Ok(left_ms) => tokio::time::sleep(Duration::from_millis(left_ms).min(step)).await,
        }
    }
}
