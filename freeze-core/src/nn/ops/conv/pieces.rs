//! candle's convolutions in pieces of the batch.

use candle_core::{Result, Tensor, bail};

use crate::kernel::conv::{Axis, Geometry};

/// As many numbers of columns as a convolution of candle's may have on a card: it counts them in 32 bits, and would
/// compute the first ones alone.
const MOST: usize = i32::MAX as usize;

/// The numbers of columns that candle makes of a group's channels for the convolution of all samples.
pub(super) fn of_forward(g: &Geometry) -> usize {
    columns(g, |axis| axis.kernel)
}

/// The same for the gradient of the weight, where it is the gradient that goes over the input: with strides to more places
/// than the kernel has.
pub(super) fn of_weight_gradient(g: &Geometry) -> usize {
    columns(g, |axis| {
        let reach = (axis.output - 1) * axis.stride + 1;
        (axis.input + 2 * axis.padding).saturating_sub(reach) / axis.dilation + 1
    })
}

fn columns(g: &Geometry, taps: impl Fn(Axis) -> usize) -> usize {
    g.batch * g.pixels() * (g.channels_in / g.groups) * taps(g.height) * taps(g.width)
}

/// What `run` makes of `x`, whose `rows`, the first dimension, have so many `columns` together: of pieces of it, one after
/// the other, where a card cannot count them.
///
/// # Errors
///
/// A row alone has too many.
pub(super) fn in_pieces(
    x: &Tensor,
    columns: usize,
    run: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    match x.device().is_cuda() {
        true => at_most(MOST, x, columns, run),
        false => run(x),
    }
}

fn at_most(
    most: usize,
    x: &Tensor,
    columns: usize,
    run: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if columns <= most {
        return run(x);
    }
    let rows = x.dim(0)?;
    let each = columns / rows;
    let piece = most / each;
    if piece == 0 {
        bail!(
            "a convolution with {each} numbers of columns in a row of its batch: candle's has at most {most} on a card; \
             build with the feature `cudnn`"
        )
    }
    let pieces = (0..rows).step_by(piece);
    let pieces = pieces.map(|at| run(&x.narrow(0, at, piece.min(rows - at))?.contiguous()?));
    Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::kernel::conv::Settings;

    #[test]
    fn pieces_together_are_the_whole() -> Result<()> {
        let x = Tensor::arange(0f32, 7. * 2. * 9., &Device::Cpu)?.reshape((7, 2, 9))?;
        let w = Tensor::arange(0f32, 3. * 2. * 4., &Device::Cpu)?.reshape((3, 2, 4))?;
        let conv = |x: &Tensor| x.conv1d(&w, 1, 1, 1, 1);
        let whole = conv(&x)?.flatten_all()?.to_vec1::<f32>()?;
        // Eight places, each with the eight taps of two channels.
        let columns = 7 * 8 * 8;
        for most in [columns, columns - 1, 200, 64] {
            let sizes = std::cell::RefCell::new(Vec::new());
            let run = |x: &Tensor| {
                sizes.borrow_mut().push(x.dim(0)?);
                conv(x)
            };
            let found = at_most(most, &x, columns, run)?;
            assert_eq!(found.dims(), [7, 3, 8]);
            assert_eq!(found.flatten_all()?.to_vec1::<f32>()?, whole, "{most}");
            let expected = match most {
                200 => vec![3, 3, 1],
                64 => vec![1; 7],
                most if most < columns => vec![6, 1],
                _ => vec![7],
            };
            assert_eq!(sizes.into_inner(), expected);
        }
        let error = at_most(63, &x, columns, conv).expect_err("a row of 64").to_string();
        assert!(error.contains("64 numbers of columns"), "{error}");
        Ok(())
    }

    #[test]
    fn columns_are_those_of_the_operands() -> Result<()> {
        let zeros =
            |dims: [usize; 4]| Tensor::zeros(&dims[..], candle_core::DType::F32, &Device::Cpu);
        let (x, w) = (zeros([5, 4, 9, 7])?, zeros([6, 2, 3, 1])?);
        let set = Settings { padding: 1, stride: 3, dilation: 1, groups: 2 };
        let g = Geometry::new("conv2d", x.layout(), w.layout(), set)?;
        assert_eq!((g.height.output, g.width.output), (3, 3));
        assert_eq!(of_forward(&g), 5 * 9 * 2 * 3);
        // 11 and 9 rows and columns, of which the gradient reaches over 7: it has 5 and 3 places.
        assert_eq!(of_weight_gradient(&g), 5 * 9 * 2 * (5 * 3));
        Ok(())
    }
}
