//! Which stages change what flows through them, seen where they run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Tensor, TensorId};

use super::Stages;
use crate::model::Flow;

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Of each type of model that ran its stages, by name: the paths of all and of those that work.
type Seen = BTreeMap<&'static str, (Vec<String>, BTreeSet<String>)>;

/// Watches the stages that run on this thread until it is dropped.
pub(crate) struct Watch {
    outer: Option<Seen>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { outer: SEEN.replace(Some(Seen::new())) }
    }

    /// The stages of models of type `M` that did not run, or each time returned what they were given. Empty
    /// if no such model ran stage by stage.
    pub(crate) fn idle<M>(&self) -> Vec<String> {
        SEEN.with_borrow(|seen| {
            let seen = seen.as_ref().and_then(|seen| seen.get(std::any::type_name::<M>()));
            let (all, working) = seen.cloned().unwrap_or_default();
            all.into_iter().filter(|path| !working.contains(path)).collect()
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEEN.set(self.outer.take());
    }
}

/// `run(xs)` of a stage, which is noted if stages are watched.
pub(super) fn watched<M: Stages, F: Flow>(
    model: &M,
    stage: M::Stage,
    xs: F,
    run: impl FnOnce(F) -> candle_core::Result<F>,
) -> candle_core::Result<F> {
    if SEEN.with_borrow(Option::is_none) {
        return run(xs);
    }
    let before = ids(&xs);
    let ys = run(xs)?;
    let works = ids(&ys) != before;
    SEEN.with_borrow_mut(|seen| {
        let Some(seen) = seen else { return };
        let (_, working) = seen.entry(std::any::type_name::<M>()).or_insert_with(|| {
            (model.stages().iter().map(ToString::to_string).collect(), BTreeSet::new())
        });
        if works {
            working.insert(stage.to_string());
        }
    });
    Ok(ys)
}

fn ids(flow: &impl Flow) -> Vec<TensorId> {
    flow.tensors().iter().map(Tensor::id).collect()
}
