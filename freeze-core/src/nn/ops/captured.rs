//! Nodes that a recomputed stage reaches by itself, so that no backward may release them before the stage is released.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::{Tensor, TensorId};

/// The nodes that one stage captured, as long as this lives.
pub(crate) struct Captured(Vec<TensorId>);

/// How many stages have captured a node.
static ALL: LazyLock<Mutex<HashMap<TensorId, usize>>> = LazyLock::new(Default::default);

fn all() -> MutexGuard<'static, HashMap<TensorId, usize>> {
    // The counts are right after each change.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// What stages have captured within the stage that runs, if one does.
    static WITHIN: RefCell<Option<Vec<TensorId>>> = const { RefCell::new(None) };
}

/// Runs a stage; also returns what stages within it have captured.
pub(crate) fn captured_within<R>(run: impl FnOnce() -> R) -> (R, Vec<TensorId>) {
    /// Restores the previous list, also after a panic.
    struct Outer(Option<Vec<TensorId>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            WITHIN.set(self.0.take());
        }
    }
    let _outer = Outer(WITHIN.replace(Some(Vec::new())));
    let result = run();
    (result, WITHIN.take().unwrap_or_default())
}

impl Captured {
    /// The `nodes` that the results of a stage depend on, and what stages `within` it have captured. The nodes that it made
    /// itself are among them, which nobody comes to again, since it makes others when it runs again.
    pub(crate) fn new(nodes: &[&Tensor], within: Vec<TensorId>) -> Self {
        let mut ids = within;
        ids.extend(nodes.iter().map(|node| node.id()));
        WITHIN.with_borrow_mut(|around| around.iter_mut().for_each(|around| around.extend(&ids)));
        let mut all = all();
        ids.iter().for_each(|id| *all.entry(*id).or_default() += 1);
        Self(ids)
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        let mut all = all();
        for id in &self.0 {
            if let Some(stages) = all.get_mut(id) {
                *stages -= 1;
                if *stages == 0 {
                    all.remove(id);
                }
            }
        }
    }
}

/// Whether a stage has captured the node.
pub(super) fn has(node: TensorId) -> bool {
    all().contains_key(&node)
}
