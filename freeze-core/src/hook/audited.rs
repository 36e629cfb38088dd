//! Which steps the hook has looked at, and what it saw.

use crate::audit::Finding;
use crate::{Freezable, Freezer};

/// What is known of the steps.
#[derive(Debug, Default)]
pub(super) struct Audited {
    /// Which leaves were frozen when a step was last looked at.
    under: Option<Vec<bool>>,
    /// What was found and not reported yet.
    findings: Vec<Finding>,
    /// Said that no step was ever shown.
    warned: bool,
}

impl Audited {
    /// Warns once if no step was ever shown.
    pub(super) fn warn_if_blind(&mut self) {
        if self.under.is_none() && !self.warned {
            self.warned = true;
            tracing::warn!(
                "no step was shown to the hook, so that nobody sees whether gradients arrive where \
                 they should; call its `backward` for `loss.backward()`"
            );
        }
    }

    /// What was found since this was asked last.
    pub(super) fn report(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Which leaves are frozen, if no step was looked at since they are.
    pub(super) fn is_due<M: Freezable>(&self, freezer: &Freezer<M>) -> Option<Vec<bool>> {
        let states = freezer.plan().states().iter();
        let frozen: Vec<bool> = states.map(|state| state.is_frozen()).collect();
        (self.under.as_ref() != Some(&frozen)).then_some(frozen)
    }

    pub(super) fn take(&mut self, findings: Vec<Finding>, frozen: Vec<bool>) {
        findings.iter().for_each(Finding::trace);
        self.findings.extend(findings);
        self.under = Some(frozen);
    }
}
