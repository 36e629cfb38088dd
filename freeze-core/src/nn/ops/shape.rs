//! The same elements in another shape or order: between operations of the graph where candle's own views
//! would have their gradients filled with zeros and added to.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, Layout, Result, Shape, Tensor, WithDType, bail};

use super::operation::{Operand, Operation, Reads, Stored};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{on_card, operand, order, tensor};
use crate::kernel::slices::{read, with};
use crate::kernel::{Element, by_element, swap_rows};
use crate::nn::record::{self, Work};

/// `x` with all dimensions from `first` on as one. It costs a copy forward and nothing backward; candle's
/// costs nothing forward, and fills and adds a gradient backward.
///
/// # Errors
///
/// `x` has no dimension `first`, or elements that are no floating point numbers.
pub fn flatten_from(x: &Tensor, first: usize) -> Result<Tensor> {
    if first >= x.rank() {
        bail!("flatten_from: the input has shape {:?}, no dimension {first}", x.shape());
    }
    let (kept, rest) = x.dims().split_at(first);
    let shape = Shape::from([kept, &[rest.iter().product()]].concat());
    record::apply([x], Work::Elements, Order { shape, swap: None })
}

/// `[batch, sequence, heads * size]` as `[batch, heads, sequence, size]`, in one copy each way: queries, keys
/// and values for [`scaled_dot_product_attention`](super::scaled_dot_product_attention).
///
/// # Errors
///
/// Another number of dimensions, or a last one that `heads` does not divide.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    match *x.dims() {
        [batch, sequence, width] if heads > 0 && width % heads == 0 => {
            let size = width / heads;
            let shape = Shape::from((batch, heads, sequence, size));
            record::apply([x], Work::Elements, Order { shape, swap: Some([sequence, heads, size]) })
        }
        _ => bail!(
            "split_heads: the input has shape {:?}, expected [batch, sequence, width] with a width of \
             {heads} heads",
            x.shape()
        ),
    }
}

/// `[batch, heads, sequence, size]` as `[batch, sequence, heads * size]`: the way back of [`split_heads`].
///
/// # Errors
///
/// Another number of dimensions.
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, sequence, size) = x.dims4()?;
    let shape = Shape::from((batch, sequence, heads * size));
    record::apply([x], Work::Elements, Order { shape, swap: Some([heads, sequence, size]) })
}

/// Elements in `shape`, after two dimensions have changed places.
struct Order {
    shape: Shape,
    /// The two, and the elements that stay together.
    swap: Option<[usize; 3]>,
}

impl Order {
    fn of<T: Element>(&self, x: &[T]) -> Vec<T> {
        match self.swap {
            None => x.to_vec(),
            Some(sizes) => swap_rows(x, sizes),
        }
    }
}

impl Operation<1> for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn shape(&self, _: [&Layout; 1]) -> Result<Shape> {
        Ok(self.shape.clone())
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        by_element!(x.dtype(), "order", T => {
            Ok(T::to_cpu_storage_owned(self.of::<T>(&read(x, layout)?)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        let sizes = self.swap.unwrap_or([1, 1, x.1.shape().elem_count()]);
        order::swap_rows(&x.0.device, &operand(x)?, sizes)
    }

    fn portable<S: Stored>(&self, [(x, layout)]: [Operand<'_, S>; 1]) -> Result<S> {
        let from = match self.swap {
            None => layout.clone(),
            Some([first, second, size]) => {
                let batch = layout.shape().elem_count() / (first * second * size).max(1);
                let shape = (batch, first, second, size);
                Layout::contiguous_with_offset(shape, layout.start_offset()).transpose(1, 2)?
            }
        };
        let mut y = x.device().zeros_impl(&self.shape, x.dtype())?;
        x.copy_strided_src(&mut y, 0, &from)?;
        Ok(y)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::NOTHING
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(match self.swap {
            None => grad.reshape(x.shape())?,
            #[cfg(feature = "cuda")]
            Some([first, second, size]) if grad.device().is_cuda() => {
                let dx = on_card([grad], |device, [grad]| {
                    order::swap_rows(device, &grad, [second, first, size])
                })?;
                tensor(dx, x.shape())
            }
            Some([first, second, size]) if !grad.device().is_cpu() => {
                let grad = grad.reshape(((), second, first, size))?;
                grad.transpose(1, 2)?.contiguous()?.reshape(x.shape())?
            }
            Some([first, second, size]) => by_element!(grad.dtype(), "order", T => {
                let dx = with(grad, |grad: &[T]| Ok(swap_rows(grad, [second, first, size])))?;
                Tensor::from_vec(dx, x.shape(), x.device())
            })?,
        })])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device::Cpu;

    use super::*;
    use crate::nn::ops::operation::tests::portable;

    #[test]
    fn the_portable_way_is_the_kernels() -> Result<()> {
        let x = Tensor::randn(0f64, 1., (2, 3, 4), &Cpu)?;
        let split = Order { shape: Shape::from((2, 2, 3, 2)), swap: Some([3, 2, 2]) };
        let (found, expected) = (portable(&split, [&x])?, split_heads(&x, 2)?);
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
        assert_eq!((found.dims(), values(&found)?), (expected.dims(), values(&expected)?));
        let flat = Order { shape: Shape::from((2, 12)), swap: None };
        assert_eq!(values(&portable(&flat, [&x])?)?, values(&x)?);
        Ok(())
    }
}
