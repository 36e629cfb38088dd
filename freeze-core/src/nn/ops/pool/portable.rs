//! The gradients of pooling composed of candle's operations, for every device.
//!
//! One term for each position in a window: the inputs at that position of every window are selected
//! by index, and their gradients added back by index.

use candle_core::{Device, Result, Tensor};

use crate::kernel::Windows;

/// Each window's gradient at its first maximum.
pub(super) fn max_gradient(w: &Windows, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let mut open = grad.ones_like()?;
    each_position(w, x, |rows, columns| {
        let here = x.index_select(rows, 2)?.index_select(columns, 3)?;
        let hit = (here.eq(y)?.to_dtype(grad.dtype())? * &open)?;
        open = (&open - &hit)?;
        grad * hit
    })
}

/// Each window's gradient, spread evenly.
pub(super) fn mean_gradient(w: &Windows, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let share = grad.affine(w.scale::<f64>(), 0.)?;
    each_position(w, x, |_, _| Ok(share.clone()))
}

/// The sum over the positions in a window of `f(rows, columns)` of the position.
fn each_position(
    w: &Windows,
    x: &Tensor,
    mut f: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    let mut dx = Tensor::zeros((n, c, height, width), x.dtype(), x.device())?;
    for row in 0..w.kernel.0 {
        let rows = every(row, w.stride.0, w.output.0, x.device())?;
        let mut lines = Tensor::zeros((n, c, w.output.0, width), x.dtype(), x.device())?;
        for column in 0..w.kernel.1 {
            let columns = every(column, w.stride.1, w.output.1, x.device())?;
            lines = lines.index_add(&columns, &f(&rows, &columns)?, 3)?;
        }
        dx = dx.index_add(&rows, &lines, 2)?;
    }
    Ok(dx)
}

/// The indices `first, first + step, ..`.
fn every(first: usize, step: usize, count: usize, device: &Device) -> Result<Tensor> {
    let indices: Vec<u32> = (0..count).map(|i| (first + i * step) as u32).collect();
    Tensor::new(indices, device)
}
