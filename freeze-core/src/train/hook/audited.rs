//! Which steps have been checked, and the findings.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::audit::{Finding, glance};
use crate::error::Result;
use crate::model::{Freezable, Freezer};

/// The record of checked steps.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// Which leaves were frozen when a step was last checked.
    under: Option<Vec<bool>>,
    /// Findings that have not been reported yet.
    findings: Vec<Finding>,
    /// Whether the warning that no step was ever checked has been given.
    warned: bool,
}

impl Audited {
    /// Warns once if no step has ever been checked.
    pub(crate) fn warn_if_blind(&mut self) {
        if self.under.is_none() && !self.warned {
            self.warned = true;
            tracing::warn!(
                "no step was shown to the hook, so that nobody sees whether gradients arrive where \
                 they should; call its `backward` for `loss.backward()`"
            );
        }
    }

    /// The findings since the last report.
    pub(crate) fn report(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Which leaves are frozen, if no step has been checked since that changed.
    pub(crate) fn is_due<M: Freezable>(&self, freezer: &Freezer<M>) -> Option<Vec<bool>> {
        let states = freezer.plan().states().iter();
        let frozen: Vec<bool> = states.map(|state| state.is_frozen()).collect();
        (self.under.as_ref() != Some(&frozen)).then_some(frozen)
    }

    /// Checks a step, if none has been checked since leaves froze or thawed.
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
