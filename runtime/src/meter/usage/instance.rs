//! Meters one instance: what it has used, with the time passed in.

use std::time::{Duration, Instant};

use crate::meter::usage::Amounts;

/// Least time that an active period is billed for, and what longer ones are rounded up to: the cloud's own rule
/// (Flex Consumption plan, "Billing"), in both modes.
const PERIOD_MIN: Duration = Duration::from_millis(1_000);
const PERIOD_STEP: Duration = Duration::from_millis(100);

/// What one instance has used and was not taken out yet.
///
/// An instance is active while at least one invocation runs in it; invocations at once make one active period. A
/// period from B to E is billed from B until B + max(1,000 ms, E − B rounded up to 100 ms). The watermark is the
/// moment until which the instance is billed:
///
/// - A period that begins and ends before the watermark costs nothing more: its time is paid for, as part of another
///   period's minimum or rounding.
/// - Any other period is billed as above, but for what lies before the watermark.
///
/// The reason: the cloud bills the time of an instance, not that of its invocations, so no moment is billed twice. The billed
/// periods do not overlap, and they contain all active time. A paid second may be used completely. An invocation that runs beyond
/// it makes the instance active anew, with a minimum from its own beginning. So 0–50 ms and 300–350 ms cost 1,000 ms together;
/// 0–50 and 950–1150 cost 1,950.
///
/// The minimum is owed from the beginning of a period, so it can be published at once and the watermark may lie up to
/// a second ahead. Publishing does not change the sum.
///
/// An always-ready instance also costs its baseline for the time it exists, without rounding or minimum.
///
/// Time that goes backwards counts as no time. Amounts are whole milliseconds. A fraction waits for the next publication and is
/// not billed when the instance is closed.
#[derive(Debug)]
pub struct InstanceMeter {
    class_mb: u64,
    is_always_ready: bool,
    in_flight: u32,
    /// When the present active period began, or the last one.
    active_since: Instant,
    /// The watermark.
    billed_until: Instant,
    /// Billed time that was not taken out.
    active: Duration,
    /// The baseline was taken out until here.
    baseline_until: Instant,
    /// Invocations ended that were not taken out.
    executions: u64,
}

impl InstanceMeter {
    /// A new instance of a class (SPEC 2.1), in MB, that exists since `opened`.
    #[must_use]
    pub fn new(class_mb: u64, is_always_ready: bool, opened: Instant) -> Self {
        Self {
            class_mb,
            is_always_ready,
            in_flight: 0,
            active_since: opened,
            billed_until: opened,
            active: Duration::ZERO,
            baseline_until: opened,
            executions: 0,
        }
    }

    /// Notes that an invocation takes a slot. The clock is read only if the instance was idle.
    pub fn begin(&mut self, now: impl FnOnce() -> Instant) {
        if self.in_flight == 0 {
            self.active_since = now();
        }
        self.in_flight += 1;
    }

    /// Notes that an invocation gives its slot back.
    ///
    /// # Panics
    /// If no slot is taken: one was given back twice.
    pub fn end(&mut self, now: Instant) {
        self.in_flight = self.in_flight.checked_sub(1).expect("a slot is given back once");
        self.executions += 1;
        if self.in_flight == 0 {
            self.bill(now);
        }
    }

    /// Takes out what was used until now and was not taken out before.
    pub fn publish(&mut self, now: Instant) -> Amounts {
        if self.in_flight > 0 {
            self.bill(now);
        }
        let executions = std::mem::take(&mut self.executions);
        let active_ms = whole_milliseconds(self.active);
        self.active -= Duration::from_millis(active_ms);
        let active_mb_ms = active_ms.saturating_mul(self.class_mb);
        if !self.is_always_ready {
            return Amounts { executions, on_demand_mb_ms: active_mb_ms, ..Amounts::default() };
        }
        let baseline_ms = whole_milliseconds(now.saturating_duration_since(self.baseline_until));
        self.baseline_until += Duration::from_millis(baseline_ms);
        Amounts {
            executions,
            always_ready_baseline_mb_ms: baseline_ms.saturating_mul(self.class_mb),
            always_ready_execution_mb_ms: active_mb_ms,
            ..Amounts::default()
        }
    }

    /// Closes the meter because the instance ends. Takes out the rest.
    #[must_use]
    pub fn close(mut self, now: Instant) -> Amounts {
        self.publish(now)
    }

    /// Bills the active period as if it ended now, except what is billed already.
    fn bill(&mut self, now: Instant) {
        let is_paid = self.active_since < self.billed_until && now <= self.billed_until;
        if is_paid {
            return;
        }
        // Invariant: until > billed_until, which lies before now or not after the period's begin.
        let until = self.active_since + billed_length(now.saturating_duration_since(self.active_since));
        self.active += until.saturating_duration_since(self.billed_until.max(self.active_since));
        self.billed_until = until;
    }
}

/// How long an active period of that length is billed for.
fn billed_length(period: Duration) -> Duration {
    // A second is a multiple of the step, so only what is beyond whole seconds is rounded.
    let steps = period.subsec_nanos().div_ceil(PERIOD_STEP.subsec_nanos());
    (Duration::from_secs(period.as_secs()) + PERIOD_STEP * steps).max(PERIOD_MIN)
}

fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
