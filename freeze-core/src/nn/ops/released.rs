//! Operations that have been released, as long as a graph has them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::{Tensor, TensorId};

use crate::error::{Error, Result};

/// The names of all of them, by their stand-ins.
static ALL: LazyLock<Mutex<HashMap<TensorId, &'static str>>> = LazyLock::new(Default::default);

fn all() -> MutexGuard<'static, HashMap<TensorId, &'static str>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error if the graph of a loss has an operation that was released: before a backward, which would come to it when
/// others have been gone through.
pub(crate) fn check_retained(loss: &Tensor) -> Result<()> {
    if all().is_empty() {
        return Ok(());
    }
    check_held(&loss.sorted_nodes())
}

/// An error if one of the nodes is an operation that was released.
pub(crate) fn check_held(nodes: &[&Tensor]) -> Result<()> {
    let all = all();
    match nodes.iter().find_map(|node| all.get(&node.id())) {
        Some(op) => Err(Error::Released { op }),
        None => Ok(()),
    }
}

/// A stand-in that is released, until it is dropped.
pub(super) struct Released(TensorId);

impl Released {
    pub(super) fn new(stand_in: TensorId, name: &'static str) -> Self {
        all().insert(stand_in, name);
        Self(stand_in)
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        all().remove(&self.0);
    }
}
