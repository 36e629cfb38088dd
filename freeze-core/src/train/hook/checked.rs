//! Steps whose gradients the hook checks.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::audit::{Audit, audit};
use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::nn::{backward, backward_once};
use crate::policy::Policy;
use crate::train::MetricSink;
use crate::train::hook::{Audited, LayerFreezing};

impl<P: Policy, K: MetricSink> LayerFreezing<P, K> {
    /// [`backward`](crate::backward). On the first step, and on the first after leaves froze or thawed, it also
    /// looks whether gradients arrived where they should ([`glance`](crate::audit::glance)), which takes about as long as a
    /// walk through the graph; every finding is warned of through `tracing` and is in the next
    /// [`Report`](crate::Report). Frozen parameters have no gradient in the result, not even of a penalty on
    /// all weights, because not every optimizer knows the plan.
    ///
    /// # Errors
    ///
    /// The backward failed, or as [`glance`](crate::audit::glance).
    pub fn backward<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: &Tensor,
    ) -> Result<GradStore> {
        self.checked(freezer, loss, backward)
    }

    /// [`backward`](Self::backward) that releases activations as it goes, as [`backward_once`].
    ///
    /// # Errors
    ///
    /// Theirs.
    pub fn backward_once<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: &Tensor,
    ) -> Result<GradStore> {
        self.checked(freezer, loss, backward_once)
    }

    fn checked<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: &Tensor,
        backward: fn(&Tensor) -> candle_core::Result<GradStore>,
    ) -> Result<GradStore> {
        let mut grads = backward(loss)?;
        self.audited.look(freezer, loss, &grads)?;
        if freezer.plan().frozen_leaves() > 0 {
            let frozen = freezer.planned_vars().into_iter().filter(|var| var.state.is_frozen());
            frozen.for_each(|var| drop(grads.remove(&var.var)));
        }
        Ok(grads)
    }

    /// The record of checked steps, for callers that run the backward pass themselves.
    pub(crate) fn audited(&mut self) -> &mut Audited {
        &mut self.audited
    }

    /// Audits the model on the first step, and on the first one after leaves froze or thawed; does
    /// nothing in between. Call it before each step with that step's loss. Every finding is also a
    /// `tracing` warning.
    ///
    /// # Errors
    ///
    /// As [`audit`]; the next call tries again.
    pub fn audit_change<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: impl Fn(&M) -> candle_core::Result<Tensor>,
    ) -> Result<Option<Audit>> {
        let Some(frozen) = self.audited.is_due(freezer) else { return Ok(None) };
        let audit = audit(freezer, loss)?;
        self.audited.take(audit.findings(), frozen);
        Ok(Some(audit))
    }
}
