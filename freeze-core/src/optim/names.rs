//! The names that state is saved under: the optimizer's own, or passed for one call.

use std::collections::BTreeSet;

use super::Fused;
use super::rule::UpdateRule;
use crate::error::{Error, Result, listed};
use crate::plan::{PlannedVar, by_id};

/// The name of each slot; if it has none, that of its variable in `lent`.
///
/// # Errors
///
/// A slot has no name, or two have the same.
pub(super) fn names<R: UpdateRule>(
    optimizer: &Fused<R>,
    lent: &[PlannedVar],
) -> Result<Vec<String>> {
    let lent = by_id(lent);
    let mut names = Vec::with_capacity(optimizer.slots.len());
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for slot in &optimizer.slots {
        let name = slot.name.as_ref().or_else(|| lent.get(&slot.var.id()).map(|var| &var.name));
        let name = name.ok_or(Error::Unnamed { optimizer: R::KIND })?;
        if !seen.insert(name) {
            twice.insert(name);
        }
        names.push(name.to_string());
    }
    if twice.is_empty() {
        return Ok(names);
    }
    let twice = listed(twice);
    Err(Error::Unsaved {
        what: format!("the state of {}", R::KIND),
        why: format!(
            "two of its variables are named {twice}, perhaps those of two models; build it with \
             `with_names` and set one model apart by `PlannedVar::within`"
        ),
    })
}
