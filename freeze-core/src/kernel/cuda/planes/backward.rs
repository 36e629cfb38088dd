//! The gradients of planes that were normalised.

use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

use super::{ByMoments, Given, Units, packs, width};
use crate::kernel::cuda::array::{Array, empty};
use crate::kernel::cuda::launch::{Arg, Grid, launch};
use crate::kernel::cuda::source::File;
use crate::kernel::norm::Center;
use crate::kernel::norm::by_planes::From;
use crate::kernel::norm::planes::Over;

impl ByMoments {
    /// The gradients of input and residual, if they are wanted. Those of weight and bias are written to `scales`.
    ///
    /// Sums are taken only if the input's gradient passes through the moments, or weight or bias want theirs.
    pub(crate) fn backward(
        &self,
        device: &CudaDevice,
        given: Given<'_>,
        grad: Array<'_>,
        [input, residual]: [bool; 2],
        scales: [Option<Array<'_>>; 2],
    ) -> Result<[Option<CudaStorage>; 2]> {
        self.check(&given)?;
        if grad.len != given.x.len {
            bail!("a gradient of {} elements for {}", grad.len, given.x.len)
        }
        if scales.iter().flatten().any(|scale| scale.len != self.channels()) {
            bail!("expected room for the gradients of {} channels", self.channels())
        }
        let room = |wanted: bool| match wanted {
            true => empty(device, given.x.len, given.x.dtype).map(Some),
            false => Ok(None),
        };
        let (dx, passed) = (room(input)?, room(residual)?);
        let through = passed.as_ref().map(Array::whole).transpose()?;
        let by_moments = input && matches!(self.from, From::Input(_));
        let summed = by_moments || scales.iter().any(Option::is_some);
        let mut sums = None;
        if summed {
            let parts = self.sums(device, given, grad, through)?;
            sums = self.fold(device, given, &parts, by_moments, scales)?;
        }
        let (given, grad, through) = match through {
            // What passes the rectifier is there already.
            Some(passed) if summed => {
                (Given { residual: None, rectifies: false, ..given }, passed, None)
            }
            _ => (given, grad, through),
        };
        if dx.is_some() || through.is_some() {
            self.input(device, given, grad, sums.as_ref(), (through, dx.as_ref()))?;
        }
        Ok([dx, passed])
    }

    /// The sums of the gradient and of its products with the normalised input, for each piece of a channel, or of a
    /// plane if there are groups.
    fn sums(
        &self,
        device: &CudaDevice,
        given: Given<'_>,
        grad: Array<'_>,
        through: Option<Array<'_>>,
    ) -> Result<Parts> {
        let Given { x, residual, rectifies, .. } = given;
        let units = self.units(x);
        let pieces = units.pieces();
        let parts = empty(device, 2 * pieces * units.units, DType::F64)?;
        let (to, moments) = (Array::whole(&parts)?, Array::whole(&self.moments)?);
        let mut read = vec![x, grad];
        read.extend(residual.into_iter().chain(through));
        let mut args = units.args().to_vec();
        args.push(Arg::Flag(width(units.run, &read)));
        args.extend(&self.sizes(x)[2..]);
        args.extend(given.args(&moments));
        args.extend([
            Arg::Of(&grad),
            Arg::Flag(u32::from(rectifies)),
            Arg::Maybe(through.as_ref()),
            Arg::Of(&to),
        ]);
        launch(device, (File::Planes, "gradient_sums"), x.dtype, units.grid(), &args)?;
        Ok(Parts { sums: parts, units, pieces })
    }

    /// Adds pieces up, to the gradients of weight and bias and, if asked for, to two sums for each set.
    fn fold(
        &self,
        device: &CudaDevice,
        given: Given<'_>,
        parts: &Parts,
        of_sets: bool,
        scales: [Option<Array<'_>>; 2],
    ) -> Result<Option<CudaStorage>> {
        let sets = match of_sets {
            true => Some(empty(device, 2 * self.sets, DType::F64)?),
            false => None,
        };
        let to = sets.as_ref().map(Array::whole).transpose()?;
        let sums = Array::whole(&parts.sums)?;
        let channels = self.channels();
        let [weight, _] = given.affine;
        let (members, rows) = (parts.units.units / self.sets, parts.units.units / channels);
        let args = [
            Arg::Size(self.sets),
            Arg::Size(members),
            Arg::Size(rows),
            Arg::Size(channels),
            Arg::Size(parts.pieces),
            Arg::Maybe(weight.as_ref()),
            Arg::Of(&sums),
            Arg::Maybe(to.as_ref()),
            Arg::Maybe(scales[0].as_ref()),
            Arg::Maybe(scales[1].as_ref()),
        ];
        let of_channels = if scales.iter().any(Option::is_some) { channels } else { 0 };
        let blocks = to.map_or(0, |_| self.sets) + of_channels;
        let grid = Grid::rows(blocks, members.max(rows) * parts.pieces);
        launch(device, (File::Planes, "gradient_of_parts"), given.x.dtype, grid, &args)?;
        Ok(sets)
    }

    /// One pass for the gradient of the input and for what passes the rectifier.
    fn input(
        &self,
        device: &CudaDevice,
        given: Given<'_>,
        grad: Array<'_>,
        sums: Option<&CudaStorage>,
        (through, dx): (Option<Array<'_>>, Option<&CudaStorage>),
    ) -> Result<()> {
        let Given { x, residual, rectifies, .. } = given;
        let dx = dx.map(Array::whole).transpose()?;
        let sums = sums.map(Array::whole).transpose()?;
        let moments = Array::whole(&self.moments)?;
        let (wide, grid) = packs(&[Some(x), residual, Some(grad), through, dx]);
        let about_zero = matches!(self.from, From::Input(Center::Zero));
        let mut args = self.sizes(x).to_vec();
        args.push(wide);
        args.extend(given.args(&moments));
        args.extend([
            Arg::Of(&grad),
            Arg::Flag(u32::from(rectifies)),
            Arg::Flag(u32::from(about_zero)),
            Arg::Maybe(sums.as_ref()),
            Arg::Maybe(through.as_ref()),
            Arg::Maybe(dx.as_ref()),
        ]);
        launch(device, (File::Planes, "gradient_of_input"), x.dtype, grid, &args)
    }

    /// Channels, or planes where they are in groups.
    fn units(&self, x: Array<'_>) -> Units {
        let (channels, len) = (self.channels(), self.planes.len);
        let count = x.len / len;
        match self.planes.over {
            Over::Batch => Units { rows: count / channels, units: channels, run: len },
            Over::Group(_) => Units { rows: 1, units: count, run: len },
        }
    }
}

/// Two sums for each piece of a unit.
struct Parts {
    sums: CudaStorage,
    units: Units,
    pieces: usize,
}
