//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864), with a backward that candle's lacks.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, Device, Error, Layout, Result, Shape, Tensor, WithDType, bail};

use super::nothing::of_nothing;
use super::operation::{Operand, Operation, Reads};
use super::shape::split_heads;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{Array, on_card, operand, order, tensor};
use crate::kernel::rope::{Order, Turn, rotate};
use crate::kernel::slices::{read, with, with2};
use crate::kernel::{self, Element, by_element, internal_dtype, real_dtype};
use crate::nn::record::{self, Work};

const NAME: &str = "rope";

/// Queries or keys `x`, `[batch, heads, length, size]`, turned by their positions: elements `i` and
/// `i + size / 2` are a point of the plane, which position `p` turns by the angle whose cosine and sine are
/// `cos[p][i]` and `sin[p][i]`.
///
/// The tables are `[length, size / 2]`, in f32 or the type of `x`; they get no gradient. For positions that
/// do not begin at 0, narrow them. Halves are computed in f32. `candle_nn::rotary_emb::rope` gives the same
/// numbers and no gradient, so the projections of queries and keys before it would stop learning.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use freeze_core::nn::ops::rope;
///
/// // Positions 0 and 1, at a right angle a position.
/// let (cos, sin) = (Tensor::new(&[[1f32], [0.]], &Cpu)?, Tensor::new(&[[0f32], [1.]], &Cpu)?);
/// let x = Tensor::new(&[[[[3f32, 4.], [3., 4.]]]], &Cpu)?;
/// assert_eq!(rope(&x, &cos, &sin)?.flatten_all()?.to_vec1::<f32>()?, [3., 4., -4., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// Another number of dimensions, an odd size, tables of another shape or type, on another device or tracked,
/// or an element type other than f32, f64, f16 and bf16.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    match *x.dims() {
        [_, _, length, size] if size % 2 == 0 => {
            apply(x, Rope::new(x, [cos, sin], [length, size / 2], Order::Kept)?)
        }
        _ => bail!(
            "{NAME}: the input has shape {:?}, expected [batch, heads, length, size] with an even size",
            x.shape()
        ),
    }
}

/// [`split_heads`] and then [`rope`], in one copy each way: `[batch, length, heads * size]` becomes
/// `[batch, heads, length, size]`.
///
/// # Errors
///
/// As [`rope`], or a width that `heads` does not divide.
pub fn split_heads_rope(x: &Tensor, heads: usize, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    match *x.dims() {
        [_, length, width] if heads > 0 && width % (2 * heads) == 0 => {
            let sizes = [length, width / heads / 2];
            apply(x, Rope::new(x, [cos, sin], sizes, Order::Split(heads))?)
        }
        _ => bail!(
            "split_heads_rope: the input has shape {:?}, expected [batch, length, width] with a width of \
             {heads} heads of an even size",
            x.shape()
        ),
    }
}

fn apply(x: &Tensor, op: Rope) -> Result<Tensor> {
    match (x.device(), op.order) {
        (_, Order::Kept) if x.elem_count() == 0 => of_nothing(x),
        (_, Order::Split(heads)) if x.elem_count() == 0 => split_heads(x, heads),
        (device, _) if kernel::on(device) => record::apply([x], Work::Elements, op),
        _ => op.compose(x),
    }
}

struct Rope {
    /// Cosines and sines, of the type of arithmetic.
    tables: [Tensor; 2],
    /// Positions, and points of each.
    sizes: [usize; 2],
    order: Order,
}

impl Rope {
    fn new(x: &Tensor, tables: [&Tensor; 2], sizes: [usize; 2], order: Order) -> Result<Self> {
        let Some(real) = real_dtype(x.dtype()) else {
            return Err(Error::UnsupportedDTypeForOp(x.dtype(), NAME).bt());
        };
        for (what, table) in ["cosines", "sines"].into_iter().zip(tables) {
            if table.dims() != sizes {
                bail!(
                    "{NAME}: the {what} have shape {:?}, expected {sizes:?}: a row for each position \
                     of the input, of half its size",
                    table.shape()
                );
            }
            if ![candle_core::DType::F32, x.dtype()].contains(&table.dtype()) {
                bail!(
                    "{NAME}: the {what} are {:?}, expected F32 or the input's {:?}",
                    table.dtype(),
                    x.dtype()
                );
            }
            if !table.device().same_device(x.device()) {
                bail!("{NAME}: the {what} are on another device than the input; move them there");
            }
            if table.track_op() {
                bail!("{NAME}: the {what} are tracked, but get no gradient here; detach them");
            }
        }
        let [cos, sin] = tables.map(|table| table.to_dtype(real)?.contiguous());
        Ok(Self { tables: [cos?, sin?], sizes, order })
    }

    fn rotate<T: Element>(&self, x: &[T], turn: Turn) -> Result<Vec<T>> {
        with2(self.tables.each_ref(), |cos: &[T::Real], sin: &[T::Real]| {
            Ok(rotate(x, [cos, sin], self.sizes, self.order(turn), turn))
        })
    }

    fn order(&self, turn: Turn) -> Order {
        match turn {
            Turn::Forward => self.order,
            Turn::Back => self.order.back(),
        }
    }

    #[cfg(feature = "cuda")]
    fn rotate_on_card(&self, x: &Array<'_>, turn: Turn) -> Result<CudaStorage> {
        on_card(self.tables.each_ref(), |device, [cos, sin]| {
            order::rotate(device, x, [&cos, &sin], self.sizes, (self.order(turn), turn))
        })
    }

    fn compose(&self, x: &Tensor) -> Result<Tensor> {
        let x = match self.order {
            Order::Split(heads) => split_heads(x, heads)?,
            _ => x.clone(),
        };
        let wide = x.to_dtype(internal_dtype(x.dtype()))?;
        let [_, half] = self.sizes;
        let (x1, x2) = (wide.narrow(D::Minus1, 0, half)?, wide.narrow(D::Minus1, half, half)?);
        let [cos, sin] = &self.tables;
        let y1 = (x1.broadcast_mul(cos)? - x2.broadcast_mul(sin)?)?;
        let y2 = (x1.broadcast_mul(sin)? + x2.broadcast_mul(cos)?)?;
        Tensor::cat(&[y1, y2], D::Minus1)?.to_dtype(x.dtype())
    }
}

impl Operation<1> for Rope {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, [x]: [&Layout; 1]) -> Result<Shape> {
        match self.order {
            Order::Split(heads) => {
                let [length, half] = self.sizes;
                Ok(Shape::from((x.dims()[0], heads, length, 2 * half)))
            }
            _ => Ok(x.shape().clone()),
        }
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        by_element!(x.dtype(), NAME, T => {
            Ok(T::to_cpu_storage_owned(self.rotate::<T>(&read(x, layout)?, Turn::Forward)?))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        self.rotate_on_card(&operand(x)?, Turn::Forward)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::NOTHING
    }

    /// The rotation by the angles' negatives.
    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        #[cfg(feature = "cuda")]
        if grad.device().is_cuda() {
            let dx = on_card([grad], |_, [grad]| self.rotate_on_card(&grad, Turn::Back))?;
            return Ok([Some(tensor(dx, x.shape()))]);
        }
        by_element!(grad.dtype(), NAME, T => {
            let dx = with(grad, |grad: &[T]| self.rotate(grad, Turn::Back))?;
            Ok([Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device::Cpu, Var};

    use super::*;

    #[test]
    fn the_composition_agrees_with_the_kernel() -> Result<()> {
        let angles = Tensor::rand(-3f64, 3., (5, 3), &Cpu)?;
        let tables = [angles.cos()?, angles.sin()?];
        let tables = tables.each_ref();
        for (shape, order) in [(vec![2, 4, 5, 6], Order::Kept), (vec![2, 5, 24], Order::Split(4))] {
            for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::BF16, 0.02)] {
                let x = Var::rand(-1f64, 1., shape.clone(), &Cpu)?;
                let run = |composed: bool| -> Result<[Vec<f64>; 2]> {
                    let input = x.to_dtype(dtype)?;
                    let tables = tables.map(|table| table.to_dtype(dtype));
                    let [cos, sin] = tables;
                    let op = Rope::new(&input, [&cos?, &sin?], [5, 3], order)?;
                    let y = if composed { op.compose(&input)? } else { apply(&input, op)? };
                    assert_eq!((y.dims(), y.dtype()), (&[2, 4, 5, 6][..], dtype));
                    let grads = y.to_dtype(DType::F64)?.powf(3.)?.sum_all()?.backward()?;
                    let Some(grad) = grads.get(&x) else { bail!("no gradient") };
                    let [y, grad] =
                        [&y, grad].map(|t| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1());
                    Ok([y?, grad?])
                };
                for (kernel, composed) in run(false)?.iter().zip(run(true)?) {
                    let near = |(a, b): (&f64, &f64)| (a - b).abs() < tolerance;
                    assert!(kernel.iter().zip(&composed).all(near), "{order:?} {dtype:?}");
                }
            }
        }
        Ok(())
    }
}
