//! The history of metrics of a run.

use serde::{Deserialize, Serialize};

use crate::policy::Elapsed;

/// Every recorded value of every metric, in order, NaN and infinities included.
///
/// ```
/// use freeze_core::Elapsed;
/// use freeze_core::checkpoint::MetricHistory;
///
/// let mut history = MetricHistory::default();
/// history.record("valid/loss", 0.7, Elapsed::new(1, 3));
/// history.record("valid/loss", 0.5, Elapsed::new(2, 3));
/// assert_eq!(history.last("valid/loss"), Some(0.5));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricHistory {
    records: Vec<Record>,
}

/// One value of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The metric's name.
    pub name: String,
    /// Its value.
    #[serde(with = "exact")]
    pub value: f64,
    /// The progress of the run at that time.
    pub elapsed: Elapsed,
}

impl MetricHistory {
    /// Adds a value.
    pub fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) {
        self.records.push(Record { name: name.to_string(), value, elapsed });
    }

    /// Everything recorded, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The latest value of a metric.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.records.iter().rev().find(|record| record.name == name).map(|record| record.value)
    }
}

/// Serializes numbers as JSON, with NaN and infinities, which JSON lacks, as text.
pub(super) mod exact {
    use serde::de::{Deserializer, Error};
    use serde::{Deserialize, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match value.is_finite() {
            true => value.serialize(serializer),
            // As bits, because a NaN may carry a payload.
            false => format!("{:016x}", value.to_bits()).serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Number::deserialize(deserializer)? {
            Number::Finite(value) => Ok(value),
            Number::Text(text) => {
                u64::from_str_radix(&text, 16).map(f64::from_bits).map_err(D::Error::custom)
            }
        }
    }
}
