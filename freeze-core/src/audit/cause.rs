//! Finds out by experiment why a leaf got no gradient.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var};

use super::probe::{Prober, Step};
use super::repeat::Repeats;
use super::trial::Saved;
use super::{AuditedLeaf, Cause, CutAt};
use crate::error::Result;
use crate::model::nudged::nudged;
use crate::model::{Freezable, Leaf};
use crate::plan::FreezePlan;

/// How far the values of a leaf are moved, as a share of its largest element: first a little, then,
/// if nothing changes, so far that a dead unit or rounding cannot hide the effect.
const NUDGES: [f64; 2] = [0.05, 2.0];

pub(super) struct Missing<'a, M, F> {
    pub(super) prober: &'a Prober<'a, M, F>,
    pub(super) plan: &'a FreezePlan,
    pub(super) step: &'a Step,
    pub(super) repeats: &'a Repeats,
    pub(super) vars: &'a HashMap<TensorId, Var>,
}

impl<M, F> Missing<'_, M, F>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    /// The cause for every leaf that lacks a gradient, by index.
    pub(super) fn causes(
        &self,
        leaves: &[Leaf],
        audited: &[AuditedLeaf],
    ) -> Result<Vec<(usize, Cause)>> {
        let missing: Vec<&AuditedLeaf> =
            audited.iter().filter(|leaf| !leaf.missing.is_empty()).collect();
        let (mut cut, mut causes) = (Vec::new(), Vec::new());
        for audited in missing {
            let leaf = &leaves[audited.index];
            let cause = if !self.step.value.is_finite() {
                Cause::NonFiniteLoss
            } else if self.is_reached_at_times(leaf, &audited.missing) {
                Cause::AtTimes
            } else if self.repeats.value_differs {
                Cause::RandomLoss
            } else if self.moves_the_loss(leaf, &audited.missing)? {
                cut.push(leaf.index);
                continue;
            } else {
                Cause::Unused
            };
            causes.push((leaf.index, cause));
        }
        let at = |index| (index, Cause::Cut(self.cut_at(index, &cut, leaves, audited)));
        causes.extend(cut.iter().copied().map(at));
        Ok(causes)
    }

    /// Whether, over all evaluations, a gradient reached each of the named parameters at least
    /// once.
    fn is_reached_at_times(&self, leaf: &Leaf, params: &[String]) -> bool {
        let mut params = leaf.params.iter().filter(|param| params.contains(&param.name));
        params.all(|param| self.repeats.reached.contains(&param.id))
    }

    /// Whether other values of the named parameters change the loss.
    fn moves_the_loss(&self, leaf: &Leaf, params: &[String]) -> Result<bool> {
        let params = leaf.params.iter().filter(|param| params.contains(&param.name));
        let vars = params.filter_map(|param| self.vars.get(&param.id)).cloned().collect();
        let saved = Saved::new(vars)?;
        for share in NUDGES {
            for (var, value) in saved.iter() {
                var.set(&nudged(value, share)?)?;
            }
            let value = self.prober.value(self.plan)?;
            saved.restore()?;
            if value != self.step.value {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cut_at(
        &self,
        index: usize,
        cut: &[usize],
        leaves: &[Leaf],
        audited: &[AuditedLeaf],
    ) -> CutAt {
        for (leaf, audited) in leaves.iter().zip(audited).skip(index) {
            if let Some(kind) = leaf.no_backward.filter(|_| cut.contains(&leaf.index)) {
                return CutAt::Leaf { path: leaf.path.clone(), kind };
            }
            // This leaf trains and got its gradient, so the cut is before it.
            if audited.outcome == super::Outcome::Trained && audited.missing.is_empty() {
                break;
            }
        }
        CutAt::AtOrAbove
    }
}
