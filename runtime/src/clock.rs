//! Reads the two clocks of the host. No other file reads them.

use std::time::{Duration, Instant, SystemTime};

/// Returns milliseconds since 1970, UTC; 0 if the machine's clock is set to an earlier time.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Nanoseconds since 1970, UTC.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns the monotonic clock. Timers use the same, so that both can be virtual together in a simulation.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until a moment in milliseconds since 1970.
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
