//! A policy's decision: a plan, reasons and metrics.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Reason;
use crate::plan::{FreezePlan, StatePolicy};

/// What a policy decides at one point of the run.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use candle_nn::{VarBuilder, linear};
/// # let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
/// # let net = vec![linear(2, 2, vb.pp("a"))?, linear(2, 2, vb.pp("b"))?];
/// use freeze_core::{Decision, FreezePlan};
///
/// let mut plan = FreezePlan::all_trained(&net)?;
/// plan.freeze("0")?;
/// let decision = Decision::new(plan)
///     .because("0", "froze: its gradient is 1 % of the largest")
///     .metric("smallest_gradient", 0.01);
/// assert_eq!(decision.why[0].to_string(), "`0` froze: its gradient is 1 % of the largest");
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// The plan to apply: the base plan, refined.
    pub plan: FreezePlan,
    /// The reasons for the states of leaves. [`Freezer::follow`](crate::Freezer::follow) keeps
    /// those of leaves that changed, and adds one for each leaf that froze or thawed without a
    /// reason.
    pub why: Vec<Reason>,
    /// Numbers by name, which a hook passes to the [`MetricSink`](crate::MetricSink)s.
    pub metrics: BTreeMap<String, f64>,
    /// What becomes of the optimizer state of frozen parameters, from now on; `None`: as each
    /// optimizer is set.
    pub frozen_state: Option<StatePolicy>,
    /// The leaves whose trained parameters start again from new optimizer state, by index.
    pub restarts: Vec<usize>,
    /// Whether the run should end: there is nothing left that is worth training.
    pub ends_run: bool,
}

impl Decision {
    /// The reference's name for the metric [`depth`](Self::depth).
    pub const LAYERS_FROZEN: &str = "layer_freezing/layers_frozen";

    /// The reference's name for the metric [`percentage`](Self::percentage).
    pub const PERCENTAGE_FROZEN: &str = "layer_freezing/percentage_frozen";

    /// A decision for `plan`, without reasons and metrics.
    pub fn new(plan: FreezePlan) -> Self {
        Self {
            plan,
            why: Vec::new(),
            metrics: BTreeMap::new(),
            frozen_state: None,
            restarts: Vec::new(),
            ends_run: false,
        }
    }

    /// Sets what becomes of the optimizer state of frozen parameters.
    pub fn keeping(self, state: StatePolicy) -> Self {
        Self { frozen_state: Some(state), ..self }
    }

    /// Lets the trained parameters of the leaves at these indices start from new optimizer state.
    pub fn restarting(mut self, leaves: impl IntoIterator<Item = usize>) -> Self {
        self.restarts.extend(leaves);
        self
    }

    /// Adds the reason for the state of the leaf at the path `leaf`; see [`Reason`].
    pub fn because(mut self, leaf: impl Into<String>, text: impl Into<String>) -> Self {
        self.why.push(Reason { leaf: leaf.into(), text: text.into() });
        self
    }

    /// Sets a metric.
    pub fn metric(mut self, name: impl Into<String>, value: f64) -> Self {
        self.metrics.insert(name.into(), value);
        self
    }

    /// The number of leaves that the policy freezes from the front: the metric if it is set,
    /// otherwise the number of frozen leaves before the first trained one.
    pub fn depth(&self) -> usize {
        let front = || self.plan.states().iter().take_while(|state| state.is_frozen()).count();
        self.metrics.get(Self::LAYERS_FROZEN).map_or_else(front, |&depth| depth as usize)
    }

    /// How much the policy has frozen, in [0, 1]: the metric if it is set, otherwise the share of
    /// all leaves that are frozen.
    pub fn percentage(&self) -> f64 {
        let share = || self.plan.frozen_leaves() as f64 / self.plan.len().max(1) as f64;
        self.metrics.get(Self::PERCENTAGE_FROZEN).copied().unwrap_or_else(share)
    }

    /// Adds the metrics of the reference, for a plan that stays as it is.
    pub(crate) fn unchanged(self) -> Self {
        let plan = self.plan.clone();
        self.settled(&plan, &plan, String::new)
    }

    /// Completes the decision after the current plan has changed from `before` to `after`: a reason
    /// for each leaf that changed, and the metrics of the reference.
    pub(super) fn settled(
        mut self,
        before: &FreezePlan,
        after: &FreezePlan,
        policy: impl FnOnce() -> String,
    ) -> Self {
        let (depth, percentage) = (self.depth(), self.percentage());
        self.metrics.insert(Self::LAYERS_FROZEN.into(), depth as f64);
        self.metrics.insert(Self::PERCENTAGE_FROZEN.into(), percentage);
        if before == after {
            self.why.clear();
            return self;
        }
        let said = std::mem::take(&mut self.why).into_iter();
        let mut said: HashMap<String, String> = said.map(|why| (why.leaf, why.text)).collect();
        let policy = policy();
        let states = before.states().iter().zip(after.states());
        for (leaf, (from, to)) in after.paths().iter().zip(states).filter(|(_, (a, b))| a != b) {
            let turned = match (from.is_frozen(), to.is_frozen()) {
                (false, true) => Some("froze"),
                (true, false) => Some("thawed"),
                _ => None,
            };
            let asked = || turned.map(|turned| format!("{turned}, as {policy} asks"));
            let text = said.remove(leaf).or_else(asked);
            self.why.extend(text.map(|text| Reason { leaf: leaf.clone(), text }));
        }
        self
    }
}
