//! A history of metrics as tensors, one per column: exact, and of any length.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::MetricHistory;
use super::history::exact;
use crate::error::Result;
use crate::policy::Elapsed;

/// A metric of a history and its latest value, which can be read from the header alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedMetric {
    pub(super) name: String,
    #[serde(with = "exact")]
    pub(super) last: f64,
}

/// The metrics in the order of their first record, and the columns.
pub(super) fn columns(history: &MetricHistory) -> Result<(Vec<SavedMetric>, [Tensor; 3])> {
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut metrics: Vec<SavedMetric> = Vec::new();
    let records = history.records();
    let (mut values, mut of) =
        (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
    let mut elapsed = Vec::with_capacity(4 * records.len());
    for record in records {
        let next = metrics.len() as u32;
        let metric = *known.entry(&record.name).or_insert(next);
        match metrics.get_mut(metric as usize) {
            Some(metric) => metric.last = record.value,
            None => metrics.push(SavedMetric { name: record.name.clone(), last: record.value }),
        }
        values.push(record.value);
        of.push(metric);
        let Elapsed { epoch, epochs, step, steps } = record.elapsed;
        // As `i64` with the same bits, because candle has no `u64`.
        elapsed.extend([epoch, epochs, step, steps].map(|number| number as i64));
    }
    let (n, cpu) = (records.len(), &Device::Cpu);
    let columns = [
        Tensor::from_vec(values, n, cpu)?,
        Tensor::from_vec(of, n, cpu)?,
        Tensor::from_vec(elapsed, (n, 4), cpu)?,
    ];
    Ok((metrics, columns))
}

/// The history from its columns; `None` if they are not in the form of [`columns`].
pub(super) fn history(metrics: &[SavedMetric], columns: &[Tensor; 3]) -> Option<MetricHistory> {
    let [values, of, elapsed] = columns;
    let (values, of) = (values.to_vec1::<f64>().ok()?, of.to_vec1::<u32>().ok()?);
    let elapsed = elapsed.flatten_all().and_then(|flat| flat.to_vec1::<i64>()).ok()?;
    if values.len() != of.len() || 4 * values.len() != elapsed.len() {
        return None;
    }
    let mut history = MetricHistory::default();
    let (elapsed, _) = elapsed.as_chunks();
    for ((value, metric), elapsed) in values.into_iter().zip(of).zip(elapsed) {
        let name = &metrics.get(metric as usize)?.name;
        let [epoch, epochs, step, steps] = elapsed.map(|number| number as usize);
        history.record(name, value, Elapsed { epoch, epochs, step, steps });
    }
    Some(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_different_lengths_are_no_history() -> Result<()> {
        let mut saved = MetricHistory::default();
        for step in 1..4 {
            saved.record("loss", f64::NAN, Elapsed::new(1, 2).at_step(step, 8));
        }
        let (metrics, whole) = columns(&saved)?;
        assert_eq!(history(&metrics, &whole).map(|history| history.records().len()), Some(3));
        for short in 0..3 {
            let mut columns = whole.clone();
            columns[short] = columns[short].narrow(0, 0, 2)?;
            assert!(history(&metrics, &columns).is_none(), "column {short}");
        }
        Ok(())
    }
}
