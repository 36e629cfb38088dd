//! What `Weighted` keeps from step to step, and saves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Scores, and who was drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// The blocks that are drawn, and the score of each.
    drawn: BTreeMap<String, Option<f64>>,
    /// The mean of all scores at that time.
    mean: f64,
    /// How often each block was drawn.
    counts: BTreeMap<String, u64>,
    /// The score of each leaf that has one.
    leaves: BTreeMap<usize, f64>,
}

impl Memory {
    /// A saved memory, or why it is none.
    pub(super) fn loaded(saved: &Value) -> std::result::Result<Self, String> {
        let memory: Self =
            serde_json::from_value(saved.clone()).map_err(|error| error.to_string())?;
        match memory.leaves.iter().find(|(_, score)| **score < 0.0) {
            None => Ok(memory),
            Some((leaf, score)) => Err(format!("the score of leaf {leaf} is {score}")),
        }
    }

    /// Takes norms of leaves, of which the share `share` stays as before.
    pub(super) fn see(&mut self, norms: BTreeMap<usize, f64>, share: f64) {
        for (leaf, norm) in norms {
            let score = self.leaves.entry(leaf).or_insert(norm);
            *score = share * *score + (1.0 - share) * norm;
        }
    }

    /// The memory after the blocks at `drawn` were drawn of `names`, which have `scores`.
    pub(super) fn after(&self, names: &[&str], scores: &[Option<f64>], drawn: &[usize]) -> Self {
        let mut after = self.clone();
        let known: Vec<f64> = scores.iter().flatten().copied().collect();
        after.mean = known.iter().fold(0.0, |mean, score| mean + score / known.len() as f64);
        after.drawn.clear();
        for (name, score) in drawn.iter().filter_map(|&at| names.get(at).zip(scores.get(at))) {
            after.drawn.insert((*name).into(), *score);
            after.counts.insert((*name).into(), self.count(name).saturating_add(1));
        }
        after
    }

    pub(super) fn score(&self, leaf: usize) -> Option<f64> {
        self.leaves.get(&leaf).copied()
    }

    /// How often the block was drawn.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    pub(super) fn has_drawn(&self, name: &str) -> bool {
        self.drawn.contains_key(name)
    }

    /// The mean of all scores at the last draw.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// The scores at the last draw, as the end of a sentence.
    pub(super) fn told(&self) -> String {
        let shown = |score: &Option<f64>| score.map_or("none yet".into(), |s| format!("{s:.3e}"));
        let scores: Vec<String> = self.drawn.values().map(shown).collect();
        format!("; drawn with the score {}, the mean is {:.3e}", scores.join(", "), self.mean)
    }
}
