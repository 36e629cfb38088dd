//! Which steps the hook has looked at, and what it saw.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::audit::{Finding, glance};
use crate::error::Result;
use crate::model::{Freezable, Freezer};

/// What is known of the steps.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// Which leaves were frozen when a step was last looked at.
    under: Option<Vec<bool>>,
    /// What was found and not reported yet.
    findings: Vec<Finding>,
    /// Said that no step was ever shown.
    warned: bool,
}

impl Audited {
    /// Warns once if no step was ever shown.
    pub(crate) fn warn_if_blind(&mut self) {
        if self.under.is_none() && !self.warned {
            self.warned = true;
            tracing::warn!(
                "no step was shown to the hook, so that nobody sees whether gradients arrive where \
                 they should; call its `backward` for `loss.backward()`"
            );
        }
    }

    /// What was found since this was asked last.
    pub(crate) fn report(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Which leaves are frozen, if no step was looked at since they are.
    pub(crate) fn is_due<M: Freezable>(&self, freezer: &Freezer<M>) -> Option<Vec<bool>> {
        let states = freezer.plan().states().iter();
        let frozen: Vec<bool> = states.map(|state| state.is_frozen()).collect();
        (self.under.as_ref() != Some(&frozen)).then_some(frozen)
    }

    /// Looks at a step, if none was looked at since leaves froze or thawed.
    pub(crate) fn look<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: &Tensor,
        grads: &GradStore,
    ) -> Result<()> {
        if let Some(frozen) = self.is_due(freezer) {
            self.take(glance(freezer, loss, grads)?, frozen);
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, findings: Vec<Finding>, frozen: Vec<bool>) {
        findings.iter().for_each(Finding::trace);
        self.findings.extend(findings);
        self.under = Some(frozen);
    }
}
