//! The distinct samples of a batch.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Products of fewer rows than this may add in another order (`tests/train/cache/rows.rs`).
pub(super) const FEW: usize = 8;

/// The distinct samples of a batch, in the order of their first rows.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) keys: Vec<u64>,
    /// The fingerprint of each, if inputs are checked.
    pub(super) prints: Option<Vec<u64>>,
    /// The first row of each in the batch.
    pub(super) rows: Vec<u32>,
    /// For each row of the batch the index of its sample.
    pub(super) of_rows: Vec<u32>,
}

impl Samples {
    /// # Errors
    ///
    /// Two rows with one key have different fingerprints.
    pub(super) fn of(keys: &[u64], prints: Option<&[u64]>) -> Result<Self> {
        let mut this = Self {
            keys: Vec::new(),
            prints: prints.map(|_| Vec::new()),
            rows: Vec::new(),
            of_rows: Vec::new(),
        };
        let mut index: HashMap<u64, u32> = HashMap::new();
        for (row, &key) in (0..).zip(keys) {
            let next = this.keys.len() as u32;
            let at = *index.entry(key).or_insert(next);
            if at == next {
                this.keys.push(key);
                this.rows.push(row);
                this.prints
                    .iter_mut()
                    .zip(prints)
                    .for_each(|(all, new)| all.push(new[row as usize]));
            } else if let Some(prints) = prints
                && prints[row as usize] != prints[this.rows[at as usize] as usize]
            {
                return Err(Error::cache(format!(
                    "key {key} comes twice in a batch with different inputs: a key identifies the sample \
                     as it enters the model, so give each augmented view a key of its own"
                )));
            }
            this.of_rows.push(at);
        }
        Ok(this)
    }

    /// Whether the samples at `which` are all rows of the batch, each once.
    pub(super) fn are_the_batch(&self, which: &[u32]) -> bool {
        which.len() == self.of_rows.len() && self.rows.len() == self.of_rows.len()
    }

    /// The samples at `which`, repeated if they are few, so that products add up in the same order as
    /// for the whole batch.
    pub(super) fn filled(&self, which: &[u32]) -> Vec<u32> {
        let rows = which.len().max(FEW.min(self.of_rows.len()));
        which.iter().copied().cycle().take(rows).collect()
    }

    /// The rows of the samples at `which`.
    pub(super) fn rows(&self, which: &[u32]) -> Vec<u32> {
        which.iter().map(|&i| self.rows[i as usize]).collect()
    }

    /// The keys of the samples at `which`.
    pub(super) fn keys(&self, which: &[u32]) -> Vec<u64> {
        which.iter().map(|&i| self.keys[i as usize]).collect()
    }
}
