//! The updates of many parameters of one card: one launch for each type of elements, and nothing that waits for the
//! card before all is launched.

mod run;

use std::collections::HashSet;
use std::ops::Deref;

use candle_core::{CudaDevice, Layout, Result, Storage, Tensor, Var, bail};

use super::arguments::Arguments;
use super::{GradMap, State};
use crate::kernel::StorageId;
use crate::kernel::cuda::{Array, Row, operand, upload};
use run::{Group, Run};

/// A parameter, its contiguous gradient of the same type and shape, its state, and the numbers of its update.
pub(crate) struct Item<'a, A> {
    pub(crate) var: &'a Var,
    pub(crate) grad: Tensor,
    pub(crate) state: Option<&'a State>,
    pub(crate) numbers: A,
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

/// Whether the updates of these can be one launch: all on one card, no storage twice.
pub(crate) fn fit<'a>(vars: impl Iterator<Item = &'a Var>) -> bool {
    let (mut first, mut known) = (None, HashSet::new());
    for var in vars {
        let device = first.get_or_insert(var.device());
        if !var.device().is_cuda() || !device.same_device(var.device()) {
            return false;
        }
        if !known.insert(StorageId::of(var)) {
            return false;
        }
    }
    first.is_some()
}

/// Updates all items, which [`fit`] together.
pub(crate) fn update_all<A: Arguments>(
    items: &[Item<'_, A>],
    map: GradMap,
    first: First,
    measured: bool,
) -> Result<Outcome> {
    let mut storages = Vec::with_capacity(items.len());
    for item in items {
        storages.push(Storages {
            theta: item.var.storage_and_layout(),
            grad: item.grad.storage_and_layout(),
            state: item.state.map(|state| (state.tensor.storage_and_layout(), state)),
        });
    }
    let Some(card) = storages.first().map(|storages| device(&storages.theta.0)).transpose()? else {
        return Ok(Outcome { finite: true, norm: None, sums: Vec::new() });
    };
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut numbers = Numbers::default();
    for (place, (item, storages)) in items.iter().zip(&storages).enumerate() {
        if item.grad.elem_count() == 0 {
            continue;
        }
        let row = storages.row::<A>(numbers.set(&item.numbers))?;
        let dtype = item.var.dtype();
        match groups.iter_mut().find(|group| group.dtype == dtype) {
            Some(group) => group.push(place, row),
            None => groups.push(Group { dtype, places: vec![place], rows: vec![row] }),
        }
    }
    let run = Run { card, numbers: upload(card, &numbers.all)?, map, first };
    run.all::<A>(&groups, items.len(), measured)
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

fn device(storage: &Storage) -> Result<&CudaDevice> {
    match storage {
        Storage::Cuda(storage) => Ok(&storage.device),
        _ => bail!("expected a parameter on a card"),
    }
}

/// The different sets of numbers, one after the other. Parameters mostly share one.
#[derive(Default)]
struct Numbers {
    all: Vec<f64>,
}

impl Numbers {
    fn set(&mut self, arguments: &impl Arguments) -> u32 {
        let set: Vec<f64> = arguments.numbers().copied().collect();
        let known = self.all.chunks(set.len()).position(|known| known == set);
        let place = known.unwrap_or_else(|| {
            let place = self.all.len() / set.len();
            self.all.extend(&set);
            place
        });
        place as u32
    }
}
