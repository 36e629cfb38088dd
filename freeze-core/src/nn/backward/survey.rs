//! Finds out which gradients of a loss come from operations of ours alone, by a backward that keeps
//! none.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use candle_core::{Result, Tensor, TensorId};

use super::pass::Graph;
use super::sink::{Sink, with_sink};
use crate::kernel::StorageId;

/// The variables of a loss whose gradients come only from operations of ours in this graph. Not
/// those that candle's own operations contribute to, that a nested backward uses, or that an
/// operation reads as an untracked tensor.
///
/// # Errors
///
/// An operation's backward fails.
pub(crate) fn survey(loss: &Tensor) -> Result<HashSet<TensorId>> {
    let survey = Rc::new(RefCell::new(Survey::default()));
    let grads = with_sink(survey.clone(), Graph::Retained, || loss.backward())?;
    let Survey { kept, hidden, untracked } = survey.take();
    let plain = kept.into_iter().filter(|(id, storage)| {
        grads.get_id(*id).is_none() && !hidden.contains(id) && !untracked.contains(storage)
    });
    Ok(plain.map(|(id, _)| id).collect())
}

#[derive(Default)]
struct Survey {
    kept: HashMap<TensorId, StorageId>,
    hidden: HashSet<TensorId>,
    /// The storages that operations read as untracked tensors.
    untracked: HashSet<StorageId>,
}

impl Sink for Survey {
    fn keep(&mut self, variable: &Tensor, _: Tensor) -> Result<()> {
        self.kept.insert(variable.id(), StorageId::of(variable));
        Ok(())
    }

    fn reads(&mut self, operands: &[&Tensor]) -> Result<()> {
        let untracked = operands.iter().filter(|operand| !operand.track_op());
        self.untracked.extend(untracked.map(|operand| StorageId::of(operand)));
        Ok(())
    }

    fn kept_within(&mut self, variable: &Tensor) {
        self.hidden.insert(variable.id());
    }
}
