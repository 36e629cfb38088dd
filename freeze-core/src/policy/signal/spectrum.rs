//! Spectrum: trains the matrices that stand out of their noise, chosen once.

use std::collections::BTreeMap;

use candle_core::{DType, Var};
use serde::{Deserialize, Serialize};

use super::memory::{ByLeaf, frozen, settings_and_memory};
use super::singular::{SingularScore, best_scores};
use crate::error::{Error, Result, check_number};
use crate::plan::{FreezePlan, matching_any};
use crate::policy::{
    Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Seen, Settings,
};

/// Trains, of each type of module, the `percent` per cent whose weights stand out most of their noise,
/// chosen once, before the first step: [`SingularScore`] has the formula.
///
/// The type of a leaf is its path without numbers, so that `layers.0.mlp.up` and `layers.1.mlp.up` are
/// of one type. The number chosen is rounded down. Leaves without a number in their path, such as
/// embeddings and the head, always train, and so do those that patterns of `always` match. Leaves
/// without a matrix, such as norms, are frozen. A tensor of more than two dimensions counts as a matrix
/// whose rows are its first; a leaf with several matrices has the mean of their scores.
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{Settings, SpectrumSettings, best_scores};
///
/// let policy = SpectrumSettings { percent: 25.0, ..Default::default() }.policy()?;
/// assert!(policy.describe().starts_with("spectrum("));
/// assert_eq!(best_scores(&[0.1, 0.3, 0.2, 0.3], 50.0), [1, 3]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Hartford et al., "Spectrum", 2024, arXiv:2406.06623; official code
/// cognitivecomputations/spectrum, with 50 per cent by default.
///
/// Departs from the official code: types are compared whole (there `mlp.gate` also takes `mlp.gate_proj`,
/// and the order of types decides); a matrix of zeros comes last (there its score is infinite); vectors
/// are not ranked (there all tie at 1, and the first in the model are chosen).
///
/// Limits: the score depends on the scale of the weights, so it compares only leaves that were
/// initialised alike; a type with fewer than `100 / percent` leaves freezes whole. Leaves that are
/// frozen by hand are not counted. Singular values take about a second for a matrix of 1024 x 1024.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    settings: SpectrumSettings,
    memory: Memory,
}

/// The settings of [`Spectrum`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SpectrumSettings {
    /// How many per cent of the leaves of a type train, from 0 to 100; 50.
    pub percent: f64,
    /// Patterns of leaves that train in any case; none.
    pub always: Vec<String>,
}

impl Default for SpectrumSettings {
    fn default() -> Self {
        Self { percent: 50.0, always: vec![] }
    }
}

impl Settings for SpectrumSettings {
    const NAME: &'static str = "spectrum";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "trains matrices that stand out of their noise, chosen once";
    type Policy = Spectrum;

    fn policy(self) -> Result<Spectrum> {
        check_number("percent", self.percent, 0.0..=100.0, "a number from 0 to 100")?;
        Ok(Spectrum { settings: self, memory: Memory::default() })
    }
}

/// What is remembered of the weights at the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The score of each leaf with a matrix; `None` before the weights were seen.
    scores: Option<ByLeaf>,
}

/// The type of the module at a path: the path without its numbers.
///
/// ```
/// use freeze_core::policy::module_type;
///
/// assert_eq!(module_type("model.layers.3.mlp.up"), Some("model.layers.mlp.up".into()));
/// assert_eq!(module_type("head"), None);
/// ```
///
/// `None` if there is no number in it.
pub fn module_type(path: &str) -> Option<String> {
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let kept: Vec<&str> = path.split('.').filter(|part| !is_number(part)).collect();
    (kept.len() < path.split('.').count()).then(|| kept.join("."))
}

impl Spectrum {
    /// The leaves to freeze, with reasons.
    fn rest(&self, scores: &ByLeaf, base: &FreezePlan) -> Result<BTreeMap<usize, String>> {
        let mut types: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
        let mut rest = BTreeMap::new();
        for (leaf, path) in base.paths().iter().enumerate() {
            match (module_type(path), scores.get(&leaf)) {
                (None, _) => {}
                (Some(_), None) => {
                    rest.insert(leaf, "froze: it has no matrix that trains".to_string());
                }
                (Some(kind), Some(&score)) => types.entry(kind).or_default().push((leaf, score)),
            }
        }
        for leaves in types.values() {
            let scores: Vec<f64> = leaves.iter().map(|(_, score)| *score).collect();
            let ranks = best_scores(&scores, 100.0);
            let chosen = best_scores(&scores, self.settings.percent).len();
            for (rank, &at) in ranks.iter().enumerate().skip(chosen) {
                let ((leaf, score), of) = (leaves[at], leaves.len());
                let text = format!(
                    "froze: its score {score:.4} is number {} of {of} of its type, {chosen} train",
                    rank + 1
                );
                rest.insert(leaf, text);
            }
        }
        for pattern in &self.settings.always {
            let matched = matching_any(pattern, base.paths())?;
            matched.iter().for_each(|leaf| drop(rest.remove(leaf)));
        }
        Ok(rest)
    }
}

/// The score of a variable; `None` if it is no matrix.
fn score_of(tensor: &Seen, var: &Var) -> Result<Option<f64>> {
    let &[rows, ref columns @ ..] = var.dims() else { return Ok(None) };
    if columns.is_empty() || var.elem_count() == 0 {
        return Ok(None);
    }
    let numbers = var.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    if let Some(&value) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(Error::Observed { name: tensor.name().into(), what: "weight", value });
    }
    let columns = columns.iter().product();
    Ok(Some(SingularScore::of(&numbers, rows, columns)?.score))
}

impl Policy for Spectrum {
    fn is_due(&self, _: Elapsed, moment: Moment) -> bool {
        moment == Moment::Start
    }

    fn needs(&self, _: Elapsed) -> Needs {
        match self.memory.scores {
            None => Needs::TENSORS,
            Some(_) => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        if self.memory.scores.is_some() {
            return Ok(());
        }
        let mut sums: BTreeMap<usize, (f64, u32)> = BTreeMap::new();
        for tensor in seen.tensors() {
            let score = tensor.tensor().map(|var| score_of(tensor, var)).transpose()?;
            if let Some(score) = score.flatten() {
                let (sum, count) = sums.entry(tensor.leaf()).or_default();
                (*sum, *count) = (*sum + score, *count + 1);
            }
        }
        let mean = |(leaf, (sum, count)): (usize, (f64, u32))| (leaf, sum / f64::from(count));
        self.memory.scores = Some(sums.into_iter().map(mean).collect());
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let Some(scores) = &self.memory.scores else {
            let why = "it has not seen the weights, which `Training` shows it before the first step; in \
                       a loop of your own pass `observe` an `Observation::at_start` with them";
            return Err(Error::policy("spectrum", why));
        };
        let rest = self.rest(scores, base)?;
        frozen(base, rest)
    }

    settings_and_memory!();
}
