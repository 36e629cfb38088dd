//! Which leaves train at one point of a run, as sinks are told.

use crate::plan::FreezePlan;

/// The plan at one point of a run, with what else decides how its leaves train.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use candle_nn::{VarBuilder, linear};
/// # use freeze_core::{FreezePlan, PlanNow};
/// # let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
/// # let net = vec![linear(2, 2, vb.pp("a"))?, linear(2, 2, vb.pp("b"))?];
/// let mut plan = FreezePlan::all_trained(&net)?;
/// plan.freeze("0")?;
/// let now = PlanNow::of(&plan).cached(1);
/// assert_eq!((now.plan.frozen_leaves(), now.cached), (1, 1));
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlanNow<'a> {
    /// The state of every leaf.
    pub plan: &'a FreezePlan,
    /// The number of leaves, from the front, that are frozen and whose output comes from the activation cache.
    pub cached: usize,
    /// What the run's policy says of itself, if there is one.
    pub policy: Option<String>,
    /// The bytes of state that all optimizers hold; `None` if one of them cannot tell. Where ranks share the state,
    /// those of this rank.
    pub state_bytes: Option<usize>,
    /// The bytes of the variables that train, which are those of a step's gradients.
    pub gradient_bytes: Option<usize>,
    /// The bytes of the results that the graph of the batch's loss holds until its backward. What needs no gradient,
    /// such as the batch itself, and what an operation keeps beside operands and result are not counted. `None` where no
    /// batch has been computed under the plan yet.
    pub activation_bytes: Option<usize>,
}

impl<'a> PlanNow<'a> {
    /// Of a plan, without cache and policy.
    pub fn of(plan: &'a FreezePlan) -> Self {
        Self {
            plan,
            cached: 0,
            policy: None,
            state_bytes: None,
            gradient_bytes: None,
            activation_bytes: None,
        }
    }

    /// Sets how many leaves the activation cache stands for: at most those that are frozen from the front.
    pub fn cached(self, leaves: usize) -> Self {
        let front = self.plan.states().iter().take_while(|state| state.is_frozen()).count();
        Self { cached: leaves.min(front), ..self }
    }

    /// Sets what the policy says of itself.
    pub fn policy(self, policy: impl Into<String>) -> Self {
        Self { policy: Some(policy.into()), ..self }
    }
}
