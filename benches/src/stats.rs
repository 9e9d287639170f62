//! Medians and quantiles of what was measured.

use std::time::Duration;

/// The value at or below which `share` (0 to 1) of `values` lie; 0 if there are none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle value, or the mean of the two in the middle; 0 if there are none.
pub fn median(values: &[f64]) -> f64 {
    if values.len().is_multiple_of(2) {
        let (lower, upper) =
            (quantile(values, 0.5), quantile(values, 0.5 + 1.0 / values.len().max(1) as f64));
        return (lower + upper) / 2.0;
    }
    quantile(values, 0.5)
}

/// The smallest and the largest value; 0 if there are none.
pub fn range(values: &[f64]) -> (f64, f64) {
    (quantile(values, 0.0), quantile(values, 1.0))
}

/// `times` in microseconds.
pub fn microseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(range(&values), (1.0, 100.0));
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(median(&[]), 0.0);
    }
}
