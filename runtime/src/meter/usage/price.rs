//! Computes what usage costs: a price table of the operator, and the sum it gives for [`Amounts`].

use serde::{Deserialize, Serialize};

use crate::meter::usage::Amounts;

/// One GB-second, in MB × ms: 1,024 MB for 1,000 ms, as the cloud counts.
const GB_SECOND_MB_MS: f64 = 1_024_000.0;
/// Largest price. With it, even the largest 64-bit amount has a finite cost.
const PRICE_MAX: f64 = 1_000_000.0;

/// Why a price table was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PriceError {
    /// Not usable as a price.
    #[error("invalid price {0}: use a number from 0 to {PRICE_MAX}")]
    Price(f64),
    /// Not usable as a currency.
    #[error("invalid currency: use the three capital letters of its code, such as \"USD\"")]
    Currency,
}

/// The price of one unit: a number from 0 to a million.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Price(f64);

impl TryFrom<f64> for Price {
    type Error = PriceError;
    fn try_from(number: f64) -> Result<Self, PriceError> {
        if (0.0..=PRICE_MAX).contains(&number) { Ok(Self(number)) } else { Err(PriceError::Price(number)) }
    }
}

impl From<Price> for f64 {
    fn from(price: Price) -> Self {
        price.0
    }
}

/// A currency by its code in ISO 4217.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(String);

impl TryFrom<String> for Currency {
    type Error = PriceError;
    fn try_from(code: String) -> Result<Self, PriceError> {
        let is_code = code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_uppercase());
        if is_code { Ok(Self(code)) } else { Err(PriceError::Currency) }
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0
    }
}

/// The operator's prices. The default of each is that of the cloud's list (Flex Consumption, East US, without its free grants).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceTable {
    /// The currency of the prices.
    pub currency: Currency,
    /// Per GB-second of an active instance that was added for the load.
    pub on_demand_gb_second: Price,
    /// Per GB-second for which an always-ready instance exists.
    pub always_ready_baseline_gb_second: Price,
    /// Per GB-second of an active always-ready instance, in addition to its baseline.
    pub always_ready_execution_gb_second: Price,
    /// Per million executions, in instances of both kinds.
    pub million_executions: Price,
}

impl Default for PriceTable {
    fn default() -> Self {
        Self {
            currency: Currency("USD".to_owned()),
            on_demand_gb_second: Price(0.000_026),
            always_ready_baseline_gb_second: Price(0.000_004),
            always_ready_execution_gb_second: Price(0.000_016),
            million_executions: Price(0.40),
        }
    }
}

/// What usage costs, in the currency of the price table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Active time on demand.
    pub on_demand: f64,
    /// Time for which always-ready instances existed.
    pub always_ready_baseline: f64,
    /// Active time of always-ready instances.
    pub always_ready_execution: f64,
    /// Executions.
    pub executions: f64,
    /// All of it.
    pub total: f64,
    /// What a million executions would cost, everything included. `None` without an execution.
    pub per_million: Option<f64>,
}

impl PriceTable {
    /// Reads a table from TOML. The error says where it is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Returns what `amounts` cost.
    #[must_use]
    pub fn cost(&self, amounts: &Amounts) -> Cost {
        let millions = amounts.executions as f64 / 1_000_000.0;
        let on_demand = gb_seconds(amounts.on_demand_mb_ms) * self.on_demand_gb_second.0;
        let always_ready_baseline =
            gb_seconds(amounts.always_ready_baseline_mb_ms) * self.always_ready_baseline_gb_second.0;
        let always_ready_execution =
            gb_seconds(amounts.always_ready_execution_mb_ms) * self.always_ready_execution_gb_second.0;
        let executions = millions * self.million_executions.0;
        let total = on_demand + always_ready_baseline + always_ready_execution + executions;
        let per_million = (amounts.executions > 0).then(|| total / millions);
        Cost { on_demand, always_ready_baseline, always_ready_execution, executions, total, per_million }
    }
}

/// Converts an amount in MB × ms to GB-seconds.
#[must_use]
pub fn gb_seconds(mb_ms: u64) -> f64 {
    mb_ms as f64 / GB_SECOND_MB_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(left: f64, right: f64) -> bool {
        (left - right).abs() <= right.abs() * 1e-12
    }

    #[test]
    fn each_part_has_its_own_price() {
        // In GB-seconds: 1,000 on demand, 2,000 of baseline, 3,000 active; and half a million executions.
        let amounts = Amounts {
            executions: 500_000,
            on_demand_mb_ms: 1_024_000_000,
            always_ready_baseline_mb_ms: 2_048_000_000,
            always_ready_execution_mb_ms: 3_072_000_000,
        };
        let cost = PriceTable::default().cost(&amounts);
        assert!(is_near(cost.on_demand, 0.026), "{cost:?}");
        assert!(is_near(cost.always_ready_baseline, 0.008), "{cost:?}");
        assert!(is_near(cost.always_ready_execution, 0.048), "{cost:?}");
        assert!(is_near(cost.executions, 0.2), "{cost:?}");
        assert!(is_near(cost.total, 0.282), "{cost:?}");
        assert!(is_near(cost.per_million.unwrap(), 0.564), "{cost:?}");
    }

    #[test]
    fn without_an_execution_there_is_no_cost_of_a_million() {
        let amounts = Amounts { always_ready_baseline_mb_ms: 1_024_000, ..Amounts::default() };
        let cost = PriceTable::default().cost(&amounts);
        assert_eq!((cost.total, cost.per_million), (0.000_004, None));
    }

    #[test]
    fn the_largest_usage_at_the_largest_price_has_a_finite_cost() {
        let most = u64::MAX;
        let amounts = Amounts {
            executions: most,
            on_demand_mb_ms: most,
            always_ready_baseline_mb_ms: most,
            always_ready_execution_mb_ms: most,
        };
        let price = Price::try_from(PRICE_MAX).unwrap();
        let table = PriceTable {
            on_demand_gb_second: price,
            always_ready_baseline_gb_second: price,
            always_ready_execution_gb_second: price,
            million_executions: price,
            ..PriceTable::default()
        };
        let cost = table.cost(&amounts);
        assert!(cost.total.is_finite() && cost.per_million.unwrap().is_finite(), "{cost:?}");
    }

    #[test]
    fn a_table_is_read_with_its_defaults_and_written_whole() {
        let text = r#"{"currency":"EUR","million_executions":0,"on_demand_gb_second":0.5}"#;
        let table: PriceTable = serde_json::from_str(text).unwrap();
        let expected = PriceTable {
            currency: Currency("EUR".to_owned()),
            million_executions: Price(0.0),
            on_demand_gb_second: Price(0.5),
            ..PriceTable::default()
        };
        assert_eq!(table, expected);
        let written = r#"{"currency":"USD","on_demand_gb_second":0.000026,"always_ready_baseline_gb_second":4e-6,"always_ready_execution_gb_second":0.000016,"million_executions":0.4}"#;
        assert_eq!(serde_json::to_string(&PriceTable::default()).unwrap(), written);
        assert_eq!(serde_json::from_str::<PriceTable>(written).unwrap(), PriceTable::default());
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        for bad in [
            r#"{"million_executions":-0.1}"#,
            r#"{"on_demand_gb_second":1000001}"#,
            r#"{"on_demand_gb_second":"1"}"#,
            r#"{"on_demand":1}"#,
            r#"{"currency":""}"#,
            r#"{"currency":"usd"}"#,
            r#"{"currency":"USDT"}"#,
            r#"{"currency":"€"}"#,
        ] {
            assert!(serde_json::from_str::<PriceTable>(bad).is_err(), "{bad}");
        }
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::MIN_POSITIVE] {
            assert!(Price::try_from(bad).is_err(), "{bad}");
        }
    }
}
