//! The updates of many parameters of one card: one launch for some hundred of them and each type of elements, and nothing
//! that waits for the card before all is launched.

mod run;

use std::ops::Deref;

use candle_core::{Device, Layout, Result, Storage, Tensor, Var, bail};

use super::arguments::Arguments;
use super::{GradMap, State};
use crate::kernel::cuda::{Array, Row, operand, upload};
use run::{Group, Run};

/// As many parameters share a table: while the card looks at the gradients of the first, the host writes down the next.
const TOGETHER: usize = 200;

/// A parameter, its contiguous gradient of the same type and shape in a storage of its own, its state, and which set of
/// numbers its update has.
pub(crate) struct Item<'a> {
    pub(crate) var: &'a Var,
    pub(crate) grad: &'a Tensor,
    pub(crate) state: Option<&'a State>,
    pub(crate) set: u32,
}

/// What is asked of all gradients before the first update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum First {
    /// Nothing: they are known to be finite.
    Nothing,
    /// Whether they are finite.
    Look,
    /// That, and their norm, which is brought down to this bound. Squares of `f64` may overflow: not for those.
    Norm(f64),
}

/// What came of it.
pub(crate) struct Outcome {
    /// If not, nothing was updated.
    pub(crate) finite: bool,
    pub(crate) norm: Option<f64>,
    /// For each item, if it was measured, the seven sums of `Tally` in `update.cu`.
    pub(crate) sums: Vec<[f64; 7]>,
}

/// Updates all items, which are on one card, each in a storage of its own. Parameters mostly share one of the `sets`.
pub(crate) fn update_all<A: Arguments>(
    items: &[Item<'_>],
    sets: &[A],
    map: GradMap,
    first: First,
    measured: bool,
) -> Result<Outcome> {
    let Some(first_item) = items.first() else {
        return Ok(Outcome { finite: true, norm: None, sums: Vec::new() });
    };
    let Device::Cuda(card) = first_item.var.device() else {
        bail!("expected a parameter on a card")
    };
    let mut run = Run::new(card, map, first, items.iter().map(|item| item.grad.elem_count()))?;
    let numbers: Vec<f64> = sets.iter().flat_map(Arguments::numbers).copied().collect();
    let mut held = Vec::new();
    for (at, items) in items.chunks(TOGETHER).enumerate() {
        let mut storages = Vec::with_capacity(items.len());
        for item in items {
            storages.push(Storages {
                theta: item.var.storage_and_layout(),
                grad: item.grad.storage_and_layout(),
                state: item.state.map(|state| (state.tensor.storage_and_layout(), state)),
            });
        }
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (place, (item, storages)) in (at * TOGETHER..).zip(items.iter().zip(&storages)) {
            if item.grad.elem_count() == 0 {
                continue;
            }
            if item.set as usize >= sets.len() {
                bail!("set {} of {} sets of numbers", item.set, sets.len())
            }
            let row = storages.row::<A>(item.set)?;
            let dtype = item.var.dtype();
            match groups.iter_mut().find(|group| group.dtype == dtype) {
                Some(group) => group.push(place, row),
                None => groups.push(Group { dtype, places: vec![place], rows: vec![row] }),
            }
        }
        groups.into_iter().try_for_each(|group| run.look_at(group))?;
        held.push(storages);
    }
    run.update_all::<A>(&upload(card, &numbers)?, items.len(), measured)
}

/// The storages of an item, held while their addresses are used.
struct Storages<'a, G> {
    theta: (G, &'a Layout),
    grad: (G, &'a Layout),
    state: Option<((G, &'a Layout), &'a State)>,
}

impl<G: Deref<Target = Storage>> Storages<'_, G> {
    fn row<A: Arguments>(&self, set: u32) -> Result<Row<'_>> {
        let rows = self.state.as_ref().map(|(_, state)| state.rows).unwrap_or_default();
        if rows.moments < A::MOMENTS {
            bail!("the state is too small for the parameter")
        }
        let state = self.state.as_ref().map(|(place, _)| array(place)).transpose()?;
        let (moments, has_master) = (rows.moments as u32, rows.master);
        let (theta, grad) = (array(&self.theta)?, array(&self.grad)?);
        if theta.dtype != grad.dtype {
            bail!("a gradient of {:?} for a parameter of {:?}", grad.dtype, theta.dtype)
        }
        Ok(Row { theta: Some(theta), grad, state, moments, has_master, set })
    }
}

fn array<'a, G: Deref<Target = Storage>>((storage, layout): &'a (G, &Layout)) -> Result<Array<'a>> {
    match &**storage {
        Storage::Cuda(storage) => operand((storage, layout)),
        _ => bail!("the parameter is on a GPU, its gradient or state is not"),
    }
}
