//! The updates of many parameters of one card: one launch for each type of elements, and nothing that waits for the
//! card before all is launched.

use std::collections::HashSet;
use std::ops::Deref;

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Storage, Tensor, Var, bail};

use super::arguments::Arguments;
use super::{GradMap, State};
use crate::kernel::StorageId;
use crate::kernel::cuda::{Arg, Array, File, Grid, Row, Table, empty, launch, operand, upload};

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

/// The items of one type, by their places among all.
struct Group<'a> {
    dtype: DType,
    places: Vec<usize>,
    rows: Vec<Row<'a>>,
}

impl<'a> Group<'a> {
    fn push(&mut self, place: usize, row: Row<'a>) {
        self.places.push(place);
        self.rows.push(row);
    }
}

struct Run<'a> {
    card: &'a CudaDevice,
    numbers: CudaStorage,
    map: GradMap,
    first: First,
}

impl Run<'_> {
    fn all<A: Arguments>(
        &self,
        groups: &[Group<'_>],
        items: usize,
        measured: bool,
    ) -> Result<Outcome> {
        let mut tables = Vec::with_capacity(groups.len());
        for group in groups {
            tables.push((group, Table::new(self.card, &group.rows)?));
        }
        let found = match self.first {
            First::Nothing => None,
            _ => Some(self.look(&tables)?),
        };
        let mut measurements = Vec::new();
        for (group, table) in &tables {
            let sums = self.update::<A>(group.dtype, table, found.as_ref(), measured)?;
            measurements.extend(sums.map(|sums| (&group.places, sums)));
        }
        // Only now the host waits for the card.
        let mut outcome = Outcome { finite: true, norm: None, sums: Vec::new() };
        if let Some(found) = &found {
            outcome.finite = found.stop.to_cpu_storage()?.as_slice::<u32>()? == [0];
            if let First::Norm(_) = self.first {
                let norm = found.norm.to_cpu_storage()?;
                outcome.norm = norm.as_slice::<f64>()?.first().copied();
            }
        }
        if measured {
            outcome.sums = vec![[0.0; 7]; items];
        }
        for (places, sums) in measurements {
            let sums = sums.to_cpu_storage()?;
            for (place, sums) in places.iter().zip(sums.as_slice::<f64>()?.as_chunks::<7>().0) {
                outcome.sums[*place] = *sums;
            }
        }
        Ok(outcome)
    }

    /// Launches what is asked of the gradients first.
    fn look(&self, tables: &[(&Group<'_>, Table)]) -> Result<Found> {
        let found =
            Found { stop: upload(self.card, &[0u32])?, norm: upload(self.card, &[0f64; 2])? };
        let stop = Array::whole(&found.stop)?;
        let First::Norm(bound) = self.first else {
            for (group, table) in tables {
                let (rows, table_array) = (Arg::Size(table.rows), Array::whole(&table.storage)?);
                let args = [rows, Arg::Of(&table_array), Arg::Of(&stop)];
                launch(
                    self.card,
                    (File::Update, "look"),
                    group.dtype,
                    Grid::blocks(table.blocks),
                    &args,
                )?;
            }
            return Ok(found);
        };
        let blocks = tables.iter().map(|(_, table)| table.blocks).sum();
        let sums = empty(self.card, blocks, DType::F64)?;
        let (sums, mut at) = (Array::whole(&sums)?, 0);
        for (group, table) in tables {
            let (own, array) = (sums.part(at, at + table.blocks)?, Array::whole(&table.storage)?);
            let args = [Arg::Size(table.rows), Arg::Of(&array), Arg::Of(&own)];
            launch(
                self.card,
                (File::Update, "squares"),
                group.dtype,
                Grid::blocks(table.blocks),
                &args,
            )?;
            at += table.blocks;
        }
        let norm = Array::whole(&found.norm)?;
        let args =
            [Arg::Size(blocks), Arg::Of(&sums), Arg::Number(bound), Arg::Of(&norm), Arg::Of(&stop)];
        launch(self.card, (File::Update, "fold_squares"), DType::F32, Grid::blocks(1), &args)?;
        Ok(found)
    }

    /// Launches the updates of one table, and the sums of what they measured.
    fn update<A: Arguments>(
        &self,
        dtype: DType,
        table: &Table,
        found: Option<&Found>,
        measured: bool,
    ) -> Result<Option<CudaStorage>> {
        let (scale, bound) = self.map.scale_and_bound();
        let (rows, grid) = (Arg::Size(table.rows), Grid::blocks(table.blocks));
        let (numbers, table_array) = (Array::whole(&self.numbers)?, Array::whole(&table.storage)?);
        let stop = found.map(|found| Array::whole(&found.stop)).transpose()?;
        let factor = match (self.first, found) {
            (First::Norm(_), Some(found)) => Some(Array::whole(&found.norm)?.part(1, 2)?),
            _ => None,
        };
        let mut args = vec![
            rows,
            Arg::Of(&table_array),
            Arg::Of(&numbers),
            Arg::Number(scale),
            Arg::Number(bound),
            Arg::Maybe(factor.as_ref()),
            Arg::Maybe(stop.as_ref()),
        ];
        if !measured {
            launch(self.card, (File::Update, A::KERNEL), dtype, grid, &args)?;
            return Ok(None);
        }
        // Zeros, because the kernel writes nothing where it stops.
        let tallies = upload(self.card, &vec![0f64; table.blocks * 7])?;
        let sums = empty(self.card, table.rows * 7, DType::F64)?;
        let (tally_array, sum_array) = (Array::whole(&tallies)?, Array::whole(&sums)?);
        args.push(Arg::Of(&tally_array));
        launch(self.card, (File::Update, A::MEASURED), dtype, grid, &args)?;
        let (blocks, grid) = (Arg::Size(table.blocks), Grid::blocks(table.rows));
        let fold =
            [rows, Arg::Of(&table_array), blocks, Arg::Of(&tally_array), Arg::Of(&sum_array)];
        launch(self.card, (File::Update, "fold_tallies"), dtype, grid, &fold)?;
        Ok(Some(sums))
    }
}

/// What the card found, on the card.
struct Found {
    /// Not 0 if an element is infinite or NaN.
    stop: CudaStorage,
    /// The norm, and the factor for the gradients.
    norm: CudaStorage,
}
