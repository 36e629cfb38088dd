//! The launches of an update: first the look at the gradients, then the updates, and the numbers that come of them.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Result};

use super::{First, Outcome};
use crate::kernel::cuda::{Arg, Array, File, Grid, Row, Table, empty, launch, upload};
use crate::kernel::update::GradMap;
use crate::kernel::update::arguments::Arguments;

/// The items of one type, by their places among all.
pub(super) struct Group<'a> {
    pub(super) dtype: DType,
    pub(super) places: Vec<usize>,
    pub(super) rows: Vec<Row<'a>>,
}

impl<'a> Group<'a> {
    pub(super) fn push(&mut self, place: usize, row: Row<'a>) {
        self.places.push(place);
        self.rows.push(row);
    }
}

/// One run over all of them: first [`look_at`](Self::look_at) for each group, then [`update_all`](Self::update_all).
pub(super) struct Run<'a> {
    card: &'a CudaDevice,
    map: GradMap,
    first: First,
    found: Option<Found>,
    /// For the norm, the sums of squares of all blocks.
    squares: Option<CudaStorage>,
    groups: Vec<(DType, Vec<usize>, Table)>,
    /// How many blocks the tables so far have.
    blocks: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        card: &'a CudaDevice,
        map: GradMap,
        first: First,
        elements: impl Iterator<Item = usize>,
    ) -> Result<Self> {
        let found = match first {
            First::Nothing => None,
            _ => Some(Found { stop: upload(card, &[0u32])?, norm: upload(card, &[0f64; 2])? }),
        };
        let squares = match first {
            First::Norm(_) => Some(empty(card, elements.map(Table::blocks_of).sum(), DType::F64)?),
            _ => None,
        };
        Ok(Self { card, map, first, found, squares, groups: Vec::new(), blocks: 0 })
    }

    /// Launches what is asked of a group's gradients first.
    pub(super) fn look_at(&mut self, group: Group<'_>) -> Result<()> {
        let Group { dtype, places, rows } = group;
        let table = Table::new(self.card, &rows)?;
        let (rows, grid) = (Arg::Size(table.rows), Grid::blocks(table.blocks));
        let array = Array::whole(&table.storage)?;
        if let Some(squares) = &self.squares {
            let own = Array::whole(squares)?.part(self.blocks, self.blocks + table.blocks)?;
            let args = [rows, Arg::Of(&array), Arg::Of(&own)];
            launch(self.card, (File::Update, "squares"), dtype, grid, &args)?;
        } else if let Some(found) = &self.found {
            let stop = Array::whole(&found.stop)?;
            let args = [rows, Arg::Of(&array), Arg::Of(&stop)];
            launch(self.card, (File::Update, "look"), dtype, grid, &args)?;
        }
        self.blocks += table.blocks;
        self.groups.push((dtype, places, table));
        Ok(())
    }

    /// Launches the updates, and waits for what came of it.
    pub(super) fn update_all<A: Arguments>(
        &self,
        numbers: &CudaStorage,
        items: usize,
        measured: bool,
    ) -> Result<Outcome> {
        self.fold_squares()?;
        let mut room = Vec::with_capacity(self.groups.len());
        for (.., table) in &self.groups {
            room.push(measured.then(|| Measurement::of(self.card, table)).transpose()?);
        }
        // From here on nothing takes memory: what cannot fit has failed before the first update.
        for ((dtype, _, table), room) in self.groups.iter().zip(&room) {
            self.update::<A>(*dtype, table, numbers, room.as_ref())?;
        }
        // Only now the host waits for the card.
        let mut outcome = Outcome { finite: true, norm: None, sums: Vec::new() };
        if let Some(found) = &self.found {
            outcome.finite = found.stop.to_cpu_storage()?.as_slice::<u32>()? == [0];
            if let First::Norm(_) = self.first {
                let norm = found.norm.to_cpu_storage()?;
                outcome.norm = norm.as_slice::<f64>()?.first().copied();
            }
        }
        if measured {
            outcome.sums = vec![[0.0; 7]; items];
        }
        let measurements = self.groups.iter().zip(room);
        for ((_, places, _), room) in measurements.filter_map(|(group, room)| Some((group, room?)))
        {
            let sums = room.sums.to_cpu_storage()?;
            for (place, sums) in places.iter().zip(sums.as_slice::<f64>()?.as_chunks::<7>().0) {
                outcome.sums[*place] = *sums;
            }
        }
        Ok(outcome)
    }

    /// Launches the norm of the sums of squares.
    fn fold_squares(&self) -> Result<()> {
        let (First::Norm(bound), Some(squares), Some(found)) =
            (self.first, &self.squares, &self.found)
        else {
            return Ok(());
        };
        let (norm, stop) = (Array::whole(&found.norm)?, Array::whole(&found.stop)?);
        let (blocks, squares) = (Arg::Size(self.blocks), Array::whole(squares)?);
        let args = [blocks, Arg::Of(&squares), Arg::Number(bound), Arg::Of(&norm), Arg::Of(&stop)];
        launch(self.card, (File::Update, "fold_squares"), DType::F32, Grid::blocks(1), &args)
    }

    /// Launches the updates of one table, and the sums of what they measured.
    fn update<A: Arguments>(
        &self,
        dtype: DType,
        table: &Table,
        numbers: &CudaStorage,
        measurement: Option<&Measurement>,
    ) -> Result<()> {
        let (scale, bound) = self.map.scale_and_bound();
        let (rows, grid) = (Arg::Size(table.rows), Grid::blocks(table.blocks));
        let (numbers, table_array) = (Array::whole(numbers)?, Array::whole(&table.storage)?);
        let stop = self.found.as_ref().map(|found| Array::whole(&found.stop)).transpose()?;
        let factor = match (self.first, &self.found) {
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
        let Some(Measurement { tallies, sums }) = measurement else {
            return launch(self.card, (File::Update, A::KERNEL), dtype, grid, &args);
        };
        let (tally_array, sum_array) = (Array::whole(tallies)?, Array::whole(sums)?);
        args.push(Arg::Of(&tally_array));
        launch(self.card, (File::Update, A::MEASURED), dtype, grid, &args)?;
        let (blocks, grid) = (Arg::Size(table.blocks), Grid::blocks(table.rows));
        let fold =
            [rows, Arg::Of(&table_array), blocks, Arg::Of(&tally_array), Arg::Of(&sum_array)];
        launch(self.card, (File::Update, "fold_tallies"), dtype, grid, &fold)
    }
}

/// Room for what the update of a table measures.
struct Measurement {
    /// Of each block.
    tallies: CudaStorage,
    /// Of each row.
    sums: CudaStorage,
}

impl Measurement {
    fn of(card: &CudaDevice, table: &Table) -> Result<Self> {
        // Zeros, because the kernel writes nothing where it stops.
        let tallies = upload(card, &vec![0f64; table.blocks * 7])?;
        Ok(Self { tallies, sums: empty(card, table.rows * 7, DType::F64)? })
    }
}

/// What the card found, on the card.
struct Found {
    /// Not 0 if an element is infinite or NaN.
    stop: CudaStorage,
    /// The norm, and the factor for the gradients.
    norm: CudaStorage,
}
