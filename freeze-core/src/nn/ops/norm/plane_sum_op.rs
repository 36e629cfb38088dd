//! The end of a residual block as one operation: planes are normalised, a residual is added, and the sum is
//! rectified.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, Layout, Result, Shape, Tensor, WithDType};

use super::{Affine, of_operands, three};
use crate::kernel::by_element;
#[cfg(feature = "cuda")]
use crate::kernel::cuda;
use crate::kernel::norm::by_planes::ByPlanes;
use crate::kernel::slices::{read, with, with3};
use crate::nn::ops::operation::{Operand, Operation, Reads, each_wanted};
use crate::nn::record::{self, Work};

const NAME: &str = "normalize-planes-add-relu";

/// On the CPU; the residual has the input's shape.
pub(super) fn apply(
    by: ByPlanes,
    x: &Tensor,
    residual: &Tensor,
    affine: Affine<'_>,
) -> Result<Tensor> {
    let op = PlaneNormSum(by);
    match affine {
        None => record::apply([x, residual], Work::Inputs(Default::default()), op),
        Some(affine) => ends([x, residual], affine, op),
    }
}

/// The operation on an input, a residual, and weight and bias in one.
pub(super) fn ends(
    [x, residual]: [&Tensor; 2],
    (weight, bias): (&Tensor, &Tensor),
    op: impl Operation<3>,
) -> Result<Tensor> {
    let both = both((weight, bias))?;
    record::apply_made_of([x, residual, &both], &[weight, bias], Work::Elements, op)
}

/// Weight and bias in one, `[2, channels]`: candle's operations have three operands at most.
fn both((weight, bias): (&Tensor, &Tensor)) -> Result<Tensor> {
    record::apply([weight, bias], Work::Elements, Both)
}

/// Of an input, a residual and, of three operands, weight and bias in one.
struct PlaneNormSum(ByPlanes);

impl<const N: usize> Operation<N> for PlaneNormSum {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        self.forward(&operands)
    }

    fn reads(&self, _: [bool; N]) -> Reads<N> {
        Reads::OPERANDS
    }

    fn gradients(
        &self,
        operands: [&Tensor; N],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        self.backward(&operands, grad, three(&wanted)).map(of_operands)
    }
}

impl PlaneNormSum {
    fn forward(&self, operands: &[Operand<'_, CpuStorage>]) -> Result<CpuStorage> {
        let [(x, x_l), (residual, residual_l)] = [operands[0], operands[1]];
        by_element!(x.dtype(), NAME, T => {
            let both = operands.get(2).map(|&(s, l)| read::<T>(s, l)).transpose()?;
            let affine = halves(both.as_deref());
            let (x, residual) = (read::<T>(x, x_l)?, read::<T>(residual, residual_l)?);
            Ok(T::to_cpu_storage_owned(self.0.forward_add_relu(&x, &residual, affine)))
        })
    }

    /// First that of the sum, which is the residual's, and from it the others.
    fn backward(
        &self,
        operands: &[&Tensor],
        grad: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (x, residual, both) = (operands[0], operands[1], operands.get(2));
        let scaled = wanted[2];
        by_element!(x.dtype(), NAME, T => {
            let mut gradients = [const { None }; 3];
            let run = |both: Option<&[T]>| {
                let affine = halves(both);
                with3([x, residual, grad], |x: &[T], residual: &[T], grad: &[T]| {
                    let sum = self.0.backward_of_sum(x, residual, affine, grad);
                    let found = self.0.backward(x, affine, &sum, [wanted[0], scaled, scaled])?;
                    Ok((sum, found))
                })
            };
            let (sum, [dx, dw, db]) = match both {
                None => run(None)?,
                Some(both) => with(both, |both: &[T]| run(Some(both)))?,
            };
            let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
            gradients[0] = dx.map(|dx| tensor(dx, x)).transpose()?;
            if wanted[1] {
                gradients[1] = Some(tensor(sum, residual)?);
            }
            if let (Some(both), Some(dw), Some(db)) = (both, dw, db) {
                gradients[2] = Some(tensor([dw, db].concat(), both)?);
            }
            Ok(gradients)
        })
    }
}

/// Weight and bias of both.
fn halves<T>(both: Option<&[T]>) -> [Option<&[T]>; 2] {
    let (weight, bias) = both.map(|both| both.split_at(both.len() / 2)).unzip();
    [weight, bias]
}

/// Weight and bias, `[2, channels]`.
struct Both;

impl Operation<2> for Both {
    fn name(&self) -> &'static str {
        "weight-and-bias"
    }

    fn shape(&self, [weight, _]: [&Layout; 2]) -> Result<Shape> {
        Ok(Shape::from((2, weight.shape().elem_count())))
    }

    fn cpu(&self, [(w, w_l), (b, b_l)]: [Operand<'_, CpuStorage>; 2]) -> Result<CpuStorage> {
        by_element!(w.dtype(), NAME, T => {
            Ok(T::to_cpu_storage_owned([read::<T>(w, w_l)?, read::<T>(b, b_l)?].concat()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [weight, bias]: [Operand<'_, CudaStorage>; 2]) -> Result<CudaStorage> {
        cuda::planes::joined(&weight.0.device, [cuda::operand(weight)?, cuda::operand(bias)?])
    }

    fn reads(&self, _: [bool; 2]) -> Reads<2> {
        Reads::NOTHING
    }

    fn gradients(
        &self,
        _: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        each_wanted(wanted, |place| grad.get(place)?.copy())
    }
}
