//! The worked example of the cloud's article: 40 requests a second of 100 ms each at 2 GB, with one invocation at a time
//! in an instance, and with ten.

use std::time::{Duration, Instant};

use crate::meter::usage::Amounts;
use crate::meter::usage::instance::InstanceMeter;
use crate::meter::usage::price::{PriceTable, gb_seconds};

const CLASS_MB: u64 = 2_048;
const CALL_MS: u64 = 100;
/// Evenly spread: 40 a second.
const BETWEEN_CALLS_MS: u64 = 1_000 / 40;
const HOUR_MS: u64 = 3_600_000;

/// An instance with the moments at which its calls end, in milliseconds.
struct Instance {
    meter: InstanceMeter,
    ends: Vec<u64>,
}

/// An hour of it: how many instances there were, and what they have used.
fn an_hour(concurrency: usize) -> (usize, Amounts) {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut instances: Vec<Instance> = Vec::new();
    for begin in (0..HOUR_MS).step_by(BETWEEN_CALLS_MS as usize) {
        for Instance { meter, ends } in &mut instances {
            ends.extract_if(.., |end| *end <= begin).for_each(|end| meter.end(at(end)));
        }
        // The lowest-numbered instance with a free slot, or else a new one.
        let free = instances.iter().position(|instance| instance.ends.len() < concurrency);
        let number = free.unwrap_or_else(|| {
            let meter = InstanceMeter::new(CLASS_MB, false, at(begin));
            instances.push(Instance { meter, ends: Vec::new() });
            instances.len() - 1
        });
        instances[number].meter.begin(|| at(begin));
        instances[number].ends.push(begin + CALL_MS);
    }
    let (count, mut sum) = (instances.len(), Amounts::default());
    for Instance { mut meter, ends } in instances {
        ends.into_iter().for_each(|end| meter.end(at(end)));
        sum += meter.close(at(HOUR_MS + CALL_MS));
    }
    (count, sum)
}

/// Compares with `instances` × 2 GB × the seconds each of them is billed for, at the default prices:
///
/// cost = GB-seconds × 0.000026 + executions ÷ 1,000,000 × 0.40
/// cost of a million = cost ÷ executions × 1,000,000
fn check(concurrency: usize, instances: usize, seconds_each: f64, million: f64) {
    let (count, used) = an_hour(concurrency);
    assert_eq!((count, used.executions), (instances, 40 * 3_600));
    let expected_gb_seconds = instances as f64 * 2.0 * seconds_each;
    assert_eq!(gb_seconds(used.on_demand_mb_ms), expected_gb_seconds);
    let cost = PriceTable::default().cost(&used);
    let expected = expected_gb_seconds * 0.000_026 + 144_000.0 / 1_000_000.0 * 0.40;
    assert!((cost.total - expected).abs() < 1e-9, "{cost:?}");
    assert!((cost.per_million.unwrap() - million).abs() < 5e-5, "{cost:?}");
}

#[test]
fn one_at_a_time_needs_four_instances_and_8_gb_seconds_a_second() {
    // 40 a second × 0.1 s = 4 in flight; 4 instances × 2 GB × 3,600 s = 28,800 GB-seconds, 0.7488 + 0.0576 USD.
    check(1, 4, 3_600.0, 5.60);
}

#[test]
fn ten_at_a_time_need_one_instance_and_2_gb_seconds_a_second() {
    // One instance × 2 GB × 3,600.1 s, as the last call ends 75 ms after the hour: 7,200.2 GB-seconds.
    check(10, 1, 3_600.1, 1.70);
}
