//! What the hook did.

use std::collections::BTreeMap;

use crate::audit::Finding;
use crate::plan::Change;
use crate::policy::{Decision, Reason};

/// What the hook did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// What changed in model and optimizers: leaves frozen, tied parameters that still train,
    /// parameters and bytes released.
    pub change: Change,
    /// The reasons: a sentence for each leaf that froze or thawed, in the order of the leaves.
    pub why: Vec<Reason>,
    /// The policy's metrics by name; they always include those of the reference, under its names.
    pub metrics: BTreeMap<String, f64>,
    /// Findings in the steps since the last report, if the hook checked them:
    /// [`LayerFreezing::backward`](crate::LayerFreezing::backward),
    /// [`LayerFreezing::audit_change`](crate::LayerFreezing::audit_change).
    pub findings: Vec<Finding>,
    /// Whether the policy asks to end the run: there is nothing left that is worth training.
    pub ends_run: bool,
    /// Whether the policy was asked. If it was not due, the metrics are counts of the plan as it is, and no
    /// [`MetricSink`](crate::MetricSink) is told of them.
    pub asked: bool,
}

impl Report {
    pub(super) fn of(decision: Decision, change: Change, findings: Vec<Finding>) -> Self {
        let Decision { why, metrics, ends_run, .. } = decision;
        Self { change, why, metrics, findings, ends_run, asked: true }
    }

    /// Of a policy that was not due.
    pub(super) fn unasked(self) -> Self {
        Self { asked: false, ..self }
    }

    /// The number of leaves that the policy freezes from the front.
    pub fn depth(&self) -> usize {
        self.metrics.get(Decision::LAYERS_FROZEN).map_or(0, |&depth| depth as usize)
    }

    /// The share that the policy has frozen, in [0, 1]; see [`Decision::percentage`].
    pub fn percentage(&self) -> f64 {
        self.metrics.get(Decision::PERCENTAGE_FROZEN).copied().unwrap_or(0.0)
    }
}
