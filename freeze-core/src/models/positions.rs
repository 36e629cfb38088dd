//! Position embeddings of a grid of patches, for a grid of another size: bicubic interpolation (Keys, 1981, with
//! a = -0.75), as PyTorch's `interpolate(mode="bicubic", align_corners=False)` computes it.

use candle_core::{Device, Result, Tensor};

use crate::kernel::internal_dtype;
use crate::nn::ops;

/// `positions`, `[1, 1 + h w, size]` with that of the class token in front, for a grid `to` (height, width) instead
/// of `from`. The gradient goes back to `positions`.
pub(super) fn resized(
    positions: &Tensor,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<Tensor> {
    if from == to {
        return Ok(positions.clone());
    }
    let (dtype, device) = (positions.dtype(), positions.device());
    let wide = internal_dtype(dtype);
    let shares = shares(from, to);
    let shares = Tensor::from_vec(shares, (to.0 * to.1, from.0 * from.1), &Device::Cpu)?;
    // Metal has no F64.
    let shares = shares.to_dtype(wide)?.to_device(device)?;
    let grid = positions.narrow(1, 1, from.0 * from.1)?.squeeze(0)?.to_dtype(wide)?;
    let grid = ops::linear(&grid.t()?, &shares, None)?.t()?;
    let grid = grid.to_dtype(dtype)?.unsqueeze(0)?;
    Tensor::cat(&[&positions.narrow(1, 0, 1)?, &grid], 1)
}

/// The share of each old place in each new one, `[new places, old places]`.
fn shares(from: (usize, usize), to: (usize, usize)) -> Vec<f64> {
    let (rows, columns) = (line(from.0, to.0), line(from.1, to.1));
    let mut shares = Vec::with_capacity(to.0 * to.1 * from.0 * from.1);
    for row in rows.chunks(from.0) {
        for column in columns.chunks(from.1) {
            shares.extend(row.iter().flat_map(|row| column.iter().map(move |column| row * column)));
        }
    }
    shares
}

/// The same along one side, `[to, from]`. Places outside are those at the edge.
fn line(from: usize, to: usize) -> Vec<f64> {
    let mut line = vec![0.0; to * from];
    let scale = from as f64 / to as f64;
    for (place, line) in line.chunks_mut(from).enumerate() {
        let at = scale * (place as f64 + 0.5) - 0.5;
        for tap in -1..=2 {
            let near = at.floor() + f64::from(tap);
            // Below 0 becomes 0.
            line[(near as usize).min(from - 1)] += cubic(at - near);
        }
    }
    line
}

/// The kernel at a distance of at most 2.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    match distance.abs() {
        x if x <= 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x => ((x - 5.0) * x + 8.0) * A * x - 4.0 * A,
    }
}
