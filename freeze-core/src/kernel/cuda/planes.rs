//! Normalisation of planes by moments that stay on the card, and what becomes of running ones.

mod backward;
mod bias;

pub(crate) use bias::{add_to_channels, channel_sums};

use candle_core::{CudaDevice, CudaStorage, DType, Result, Tensor, bail};

use super::array::{Array, empty, on_card};
use super::launch::{Arg, Grid, launch};
use super::source::File;
use crate::kernel::internal_dtype;
use crate::kernel::norm::Center;
use crate::kernel::norm::by_planes::From;
use crate::kernel::norm::planes::{Over, Planes};

/// The moments to normalise by.
pub(crate) struct ByMoments {
    planes: Planes,
    /// The mean of each set of planes, then one over the standard deviation of each, in f64.
    moments: CudaStorage,
    sets: usize,
    from: From,
}

/// What is normalised: an input, per channel a weight and a bias, and a residual of the input's size that is added.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) x: Array<'a>,
    pub(crate) affine: [Option<Array<'a>>; 2],
    pub(crate) residual: Option<Array<'a>>,
    pub(crate) rectifies: bool,
}

impl<'a> Given<'a> {
    /// What each kernel takes of it and of the moments, without the rectifier.
    fn args(&'a self, moments: &'a Array<'a>) -> [Arg<'a>; 5] {
        let [weight, bias] = &self.affine;
        [
            Arg::Of(&self.x),
            Arg::Maybe(self.residual.as_ref()),
            Arg::Maybe(weight.as_ref()),
            Arg::Maybe(bias.as_ref()),
            Arg::Of(moments),
        ]
    }
}

/// The mean and the biased variance of each set of planes, in the type of arithmetic.
pub(crate) type Moments = [CudaStorage; 2];

/// The moments of an input itself.
pub(crate) fn of_input(
    device: &CudaDevice,
    x: Array<'_>,
    planes: Planes,
    center: Center,
    eps: f64,
) -> Result<(ByMoments, Moments)> {
    let count = planes_of(x, planes)?;
    let sets = planes.sets(count);
    let units = match planes.over {
        Over::Batch => Units { rows: count / sets, units: sets, run: planes.len },
        Over::Group(size) => Units { rows: 1, units: sets, run: size * planes.len },
    };
    if units.rows * units.units * units.run != x.len {
        bail!("{} elements for sets of planes as {planes:?} says", x.len)
    }
    let vector = || empty(device, sets, internal_dtype(x.dtype));
    let (found, moments) = ([vector()?, vector()?], empty(device, 2 * sets, DType::F64)?);
    let outputs = [Array::whole(&moments)?, Array::whole(&found[0])?, Array::whole(&found[1])?];
    let pieces = units.pieces();
    let parts = match pieces {
        1 => None,
        _ => Some(empty(device, 2 * pieces * sets, DType::F64)?),
    };
    let parts = parts.as_ref().map(Array::whole).transpose()?;
    let [rows, sets_of, run] = units.args();
    let about_zero = Arg::Flag(u32::from(center == Center::Zero));
    let [to, mean, variance] = outputs.each_ref().map(Arg::Of);
    let width = Arg::Flag(width(units.run, &[x]));
    let (from, eps) = (Arg::Of(&x), Arg::Number(eps));
    let part = Arg::Maybe(parts.as_ref());
    let args = [rows, sets_of, run, width, from, about_zero, eps, part, to, mean, variance];
    launch(device, (File::Planes, "moments_of_units"), x.dtype, units.grid(), &args)?;
    if parts.is_some() {
        let pieces = Arg::Size(pieces);
        let args = [rows, sets_of, run, pieces, from, about_zero, eps, part, to, mean, variance];
        let kernel = (File::Planes, "moments_of_parts");
        launch(device, kernel, x.dtype, Grid { blocks: [sets, 1, 1], threads: 32 }, &args)?;
    }
    Ok((ByMoments { planes, moments, sets, from: From::Input(center) }, found))
}

/// Given moments of each channel, in the type that arithmetic on elements of type `dtype` runs in.
pub(crate) fn of_constants(
    device: &CudaDevice,
    [mean, variance]: [Array<'_>; 2],
    planes: Planes,
    eps: f64,
    dtype: DType,
) -> Result<ByMoments> {
    let sets = planes.channels;
    if mean.len != sets || variance.len != sets {
        bail!("{} means and {} variances of {sets} channels", mean.len, variance.len)
    }
    let moments = empty(device, 2 * sets, DType::F64)?;
    let to = Array::whole(&moments)?;
    let eps = Arg::Number(eps);
    let args = [Arg::Size(sets), Arg::Of(&mean), Arg::Of(&variance), eps, Arg::Of(&to)];
    launch(device, (File::Planes, "constants"), dtype, Grid::each(sets), &args)?;
    Ok(ByMoments { planes, moments, sets, from: From::Running })
}

impl ByMoments {
    pub(crate) fn sets(&self) -> usize {
        self.sets
    }

    pub(crate) fn channels(&self) -> usize {
        self.planes.channels
    }

    /// `(x - mean) * rstd * weight + bias`, plus the residual, and rectified if asked for.
    pub(crate) fn forward(&self, device: &CudaDevice, given: Given<'_>) -> Result<CudaStorage> {
        self.check(&given)?;
        let Given { x, residual, rectifies, .. } = given;
        let y = empty(device, x.len, x.dtype)?;
        let (to, moments) = (Array::whole(&y)?, Array::whole(&self.moments)?);
        let (wide, grid) = packs(&[Some(x), residual, Some(to)]);
        let mut args = self.sizes(x).to_vec();
        args.push(wide);
        args.extend(given.args(&moments));
        args.extend([Arg::Flag(u32::from(rectifies)), Arg::Of(&to)]);
        launch(device, (File::Planes, "normalize"), x.dtype, grid, &args)?;
        Ok(y)
    }

    fn check(&self, given: &Given<'_>) -> Result<()> {
        let count = planes_of(given.x, self.planes)?;
        let residual = given.residual.map_or(given.x.len, |residual| residual.len);
        let scales = given.affine.iter().flatten().all(|scale| scale.len == self.planes.channels);
        if self.planes.sets(count) != self.sets || residual != given.x.len || !scales {
            bail!("operands do not fit the moments of {} sets", self.sets)
        }
        Ok(())
    }

    /// What every kernel takes that goes through planes.
    fn sizes(&self, x: Array<'_>) -> [Arg<'static>; 5] {
        let Planes { channels, len, over } = self.planes;
        let group = match over {
            Over::Batch => 0,
            Over::Group(size) => size,
        };
        [x.len, len, channels, group, self.sets].map(Arg::Size)
    }
}

/// Moves running statistics in place: `kept` of them, and `shares` of a batch's mean and variance. All are of one
/// type, f32 or f64. The mean stays if its share is `None`.
pub(crate) fn move_running(
    running: [&Tensor; 2],
    batch: [&Tensor; 2],
    kept: f64,
    (share_of_mean, share_of_variance): (Option<f64>, f64),
) -> Result<()> {
    if running.iter().any(|running| !running.is_contiguous()) {
        bail!("running statistics are contiguous")
    }
    on_card([running[0], running[1], batch[0], batch[1]], |device, [mean, variance, by, and]| {
        let n = variance.len;
        if [mean.len, by.len, and.len] != [n; 3] {
            bail!("running statistics of {n} channels by others of {}", by.len)
        }
        let args = [
            Arg::Size(n),
            Arg::Number(kept),
            Arg::Number(share_of_mean.unwrap_or(0.0)),
            Arg::Number(share_of_variance),
            Arg::Of(&by),
            Arg::Of(&and),
            Arg::Maybe(share_of_mean.map(|_| &mean)),
            Arg::Of(&variance),
        ];
        launch(device, (File::Planes, "move_running"), variance.dtype, Grid::each(n), &args)
    })
}

/// Two vectors of one size as one.
pub(crate) fn joined(device: &CudaDevice, [first, second]: [Array<'_>; 2]) -> Result<CudaStorage> {
    if first.len != second.len {
        bail!("vectors of {} and {} elements", first.len, second.len)
    }
    let both = empty(device, 2 * first.len, first.dtype)?;
    let to = Array::whole(&both)?;
    let args = [Arg::Size(first.len), Arg::Of(&first), Arg::Of(&second), Arg::Of(&to)];
    launch(device, (File::Planes, "join"), first.dtype, Grid::each(first.len), &args)?;
    Ok(both)
}

/// How many planes an input has.
fn planes_of(x: Array<'_>, planes: Planes) -> Result<usize> {
    let sample = planes.channels * planes.len;
    if x.len == 0 || sample == 0 || !x.len.is_multiple_of(sample) {
        bail!("{} elements in {} channels of {} elements", x.len, planes.channels, planes.len)
    }
    Ok(x.len / planes.len)
}

/// The units that sums are taken over, and how they lie: `[rows, units, run]`.
#[derive(Clone, Copy)]
struct Units {
    rows: usize,
    units: usize,
    run: usize,
}

impl Units {
    /// In how many pieces each is added up, so that there is work for a card. It must not depend on the card, since
    /// bits depend on it.
    fn pieces(&self) -> usize {
        const BLOCKS: usize = 1024;
        const LEAST: usize = 1 << 13;
        BLOCKS.div_ceil(self.units).min(self.rows * self.run / LEAST).clamp(1, 0xffff)
    }

    fn grid(&self) -> Grid {
        let pieces = self.pieces();
        let grid = Grid::rows(self.units, self.rows * self.run / pieces);
        Grid { blocks: [self.units, pieces, 1], ..grid }
    }

    fn args(&self) -> [Arg<'static>; 3] {
        [self.rows, self.units, self.run].map(Arg::Size)
    }
}

/// How many elements can be read at once where runs begin at multiples of `run`: 16 bytes, 8, or one.
fn width(run: usize, arrays: &[Array<'_>]) -> u32 {
    let full = 16 / arrays[0].dtype.size_in_bytes();
    let aligned = arrays.iter().all(|array| array.address.is_multiple_of(16));
    let fits = |width: &usize| aligned && run.is_multiple_of(*width);
    [full, full / 2].into_iter().find(fits).unwrap_or(1) as u32
}

/// Whether neighbours are read 16 bytes at once, and a grid that goes through all elements so.
fn packs(arrays: &[Option<Array<'_>>]) -> (Arg<'static>, Grid) {
    let mut arrays = arrays.iter().flatten();
    let aligned = arrays.clone().all(|array| array.address.is_multiple_of(16));
    let (len, bytes) = arrays.next().map_or((0, 1), |x| (x.len, x.dtype.size_in_bytes()));
    let width = if aligned { 16 / bytes } else { 1 };
    (Arg::Flag(u32::from(aligned)), Grid::each(len.div_ceil(width)))
}
