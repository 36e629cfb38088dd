//! Plane normalisation on a CUDA card as an operation of candle's graph: the moments stay there.

use candle_core::{CpuStorage, CudaStorage, Result, Tensor, bail};

use super::plane_op::Then;
use super::plane_sum_op::ends;
use super::{Affine, three};
use crate::kernel::cuda::planes::{ByMoments, Given, of_constants, of_input};
use crate::kernel::cuda::{Array, empty, on_card, operand, tensor};
use crate::kernel::norm::{Center, planes::Planes};
use crate::kernel::{internal_dtype, real_dtype};
use crate::nn::ops::operation::{Operand, Operation, Reads};
use crate::nn::record::{self, Work};

/// Normalises by the input's own moments: also mean and biased variance of each set of planes.
pub(super) fn by_input(
    x: &Tensor,
    planes: Planes,
    center: Center,
    affine: Affine<'_>,
    eps: f64,
    then: Then<'_>,
) -> Result<(Tensor, [Tensor; 2])> {
    check(x)?;
    let (by, [mean, variance]) =
        on_card([x], |device, [x]| of_input(device, x, planes, center, eps))?;
    let vector = |storage: CudaStorage, sets| tensor(storage, sets);
    let sets = by.sets();
    let statistics = [vector(mean, sets), vector(variance, sets)];
    Ok((apply(by, x, affine, then)?, statistics))
}

/// Normalises each channel by a mean and a variance of any float type.
pub(super) fn by_constants(
    x: &Tensor,
    statistics: [&Tensor; 2],
    planes: Planes,
    affine: Affine<'_>,
    eps: f64,
    then: Then<'_>,
) -> Result<Tensor> {
    check(x)?;
    let wide = internal_dtype(x.dtype());
    let [mean, variance] = statistics.map(|vector| vector.detach().to_dtype(wide));
    let by = on_card([&mean?, &variance?], |device, moments| {
        of_constants(device, moments, planes, eps, x.dtype())
    })?;
    apply(by, x, affine, then)
}

fn check(x: &Tensor) -> Result<()> {
    match real_dtype(x.dtype()) {
        Some(_) => Ok(()),
        None => bail!("normalize-planes: no kernel for {:?}", x.dtype()),
    }
}

fn apply(by: ByMoments, x: &Tensor, affine: Affine<'_>, then: Then<'_>) -> Result<Tensor> {
    let op = |adds| PlanesOnCard { by, adds, rectifies: !matches!(then, Then::Nothing) };
    match (then, affine) {
        (Then::AddRelu(residual), None) => {
            record::apply([x, residual], Work::Inputs(Default::default()), op(true))
        }
        (Then::AddRelu(residual), Some(affine)) => ends([x, residual], affine, op(true)),
        (_, None) => record::apply([x], Work::Elements, op(false)),
        (_, Some((weight, bias))) => record::apply([x, weight, bias], Work::Elements, op(false)),
    }
}

/// Of an input and, if there are three, a weight and a bias. If it adds, of an input, a residual and, if there are
/// three, weight and bias in one.
struct PlanesOnCard {
    by: ByMoments,
    adds: bool,
    rectifies: bool,
}

impl PlanesOnCard {
    fn given<'a>(&self, operands: &[Array<'a>]) -> Result<Given<'a>> {
        let (x, rectifies) = (operands[0], self.rectifies);
        if !self.adds {
            let affine = [operands.get(1).copied(), operands.get(2).copied()];
            return Ok(Given { x, affine, residual: None, rectifies });
        }
        let affine = match operands.get(2) {
            None => [None; 2],
            Some(both) => self.halves(*both)?.map(Some),
        };
        Ok(Given { x, affine, residual: operands.get(1).copied(), rectifies })
    }

    /// Weight and bias of both.
    fn halves<'a>(&self, both: Array<'a>) -> Result<[Array<'a>; 2]> {
        let channels = self.by.channels();
        Ok([both.part(0, channels)?, both.part(channels, both.len)?])
    }
}

impl<const N: usize> Operation<N> for PlanesOnCard {
    fn name(&self) -> &'static str {
        match self.adds {
            false => "normalize-planes",
            true => "normalize-planes-add-relu",
        }
    }

    fn cpu(&self, _: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        bail!("{}: expected tensors on a card", Operation::<N>::name(self))
    }

    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        let arrays = operands.into_iter().map(operand).collect::<Result<Vec<_>>>()?;
        self.by.forward(&operands[0].0.device, self.given(&arrays)?)
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
        let or_grad = |place| operands.get(place).copied().unwrap_or(grad);
        let wanted = three(&wanted);
        let tensors = [or_grad(0), or_grad(1), or_grad(2), grad];
        let storages = on_card(tensors, |device, [first, second, third, grad]| {
            let given = self.given(&[first, second, third][..N])?;
            let room = |place: usize, is_scale: bool| match is_scale && wanted[place] {
                true => empty(device, or_grad(place).elem_count(), grad.dtype).map(Some),
                false => Ok(None),
            };
            // Of weight and bias, or of both in the second.
            let scales = [room(1, !self.adds)?, room(2, true)?];
            let [first, second] = scales.each_ref().map(|room| room.as_ref().map(Array::whole));
            let to = match [first.transpose()?, second.transpose()?] {
                [_, Some(both)] if self.adds => self.halves(both)?.map(Some),
                apart => apart,
            };
            let inputs = [wanted[0], self.adds && wanted[1]];
            let [dx, residual] = self.by.backward(device, given, grad, inputs, to)?;
            let [weight, last] = scales;
            Ok([dx, residual.or(weight), last])
        })?;
        let mut gradients = [const { None }; N];
        for ((to, operand), storage) in gradients.iter_mut().zip(operands).zip(storages) {
            *to = storage.map(|storage| tensor(storage, operand.shape()));
        }
        Ok(gradients)
    }
}
