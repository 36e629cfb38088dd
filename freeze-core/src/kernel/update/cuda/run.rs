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

/// One run over all of them.
pub(super) struct Run<'a> {
    pub(super) card: &'a CudaDevice,
    pub(super) numbers: CudaStorage,
    pub(super) map: GradMap,
    pub(super) first: First,
}

impl Run<'_> {
    pub(super) fn all<A: Arguments>(
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
