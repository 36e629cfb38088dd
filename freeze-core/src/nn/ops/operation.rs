//! What an operation is: a forward on storages, a backward for the operands that are tracked.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, DType, Layout, MetalStorage, Result, Shape, Storage, Tensor, bail,
};

/// A storage and the layout of a tensor in it.
pub(crate) type Operand<'a, S> = (&'a S, &'a Layout);

/// A function of `N` tensors, such as an input, a weight and a bias.
///
/// The operands are contiguous, unless it is applied to views (`record::apply_to_views`).
pub(crate) trait Operation<const N: usize>: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// The shape of the result; by default that of the input.
    fn shape(&self, operands: [&Layout; N]) -> Result<Shape> {
        Ok(operands[0].shape().clone())
    }

    /// The result on the CPU.
    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage>;

    /// The result on a CUDA card, by default by candle's operations. Not called for empty results.
    #[cfg(feature = "cuda")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        self.portable(operands)
    }

    /// The result by candle's operations, on any device. Not called for empty results.
    fn portable<S: Stored>(&self, _: [Operand<'_, S>; N]) -> Result<S> {
        bail!("{}: no kernel for this device", self.name())
    }

    /// What the backward reads of operands and result if these gradients are wanted, by default all. What no
    /// backward reads is not held, unless candle holds it, as a variable; its tensor has the shape, type and device, no
    /// elements that mean anything and no strides. Asked after the forward.
    fn reads(&self, _wanted: [bool; N]) -> Reads<N> {
        Reads { operands: [true; N], result: true }
    }

    /// The gradients of the operands that are wanted, given the result `y` and its gradient, which
    /// is not empty. Of these tensors only `y` may be tracked.
    fn gradients(
        &self,
        operands: [&Tensor; N],
        y: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]>;
}

/// What of an operation's operands and result its backward reads, besides their shapes and types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads<const N: usize> {
    pub(crate) operands: [bool; N],
    pub(crate) result: bool,
}

impl<const N: usize> Reads<N> {
    pub(crate) const NOTHING: Self = Self { operands: [false; N], result: false };
    pub(crate) const OPERANDS: Self = Self { operands: [true; N], result: false };

    /// What a product of the first two operands does, with a bias for the third: each for the other's gradient.
    pub(crate) fn of_product(wanted: [bool; N]) -> Self {
        let operands = std::array::from_fn(|place| match place {
            0 => wanted[1],
            1 => wanted[0],
            _ => false,
        });
        Self { operands, result: false }
    }
}

/// An operation of any type, by which all that candle and a recorder do with operations is compiled once and not
/// for each.
pub(crate) trait AnyOperation<const N: usize>: Send + Sync {
    fn name(&self) -> &'static str;

    fn shape(&self, operands: [&Layout; N]) -> Result<Shape>;

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage>;

    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage>;

    fn metal(&self, operands: [Operand<'_, MetalStorage>; N]) -> Result<MetalStorage>;

    fn reads(&self, wanted: [bool; N]) -> Reads<N>;

    fn gradients(
        &self,
        operands: [&Tensor; N],
        y: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]>;
}

impl<O: Operation<N>, const N: usize> AnyOperation<N> for O {
    fn name(&self) -> &'static str {
        Operation::name(self)
    }

    fn shape(&self, operands: [&Layout; N]) -> Result<Shape> {
        Operation::shape(self, operands)
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        Operation::cpu(self, operands)
    }

    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        #[cfg(feature = "cuda")]
        return Operation::cuda(self, operands);
        #[cfg(not(feature = "cuda"))]
        self.portable(operands)
    }

    fn metal(&self, operands: [Operand<'_, MetalStorage>; N]) -> Result<MetalStorage> {
        self.portable(operands)
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        Operation::reads(self, wanted)
    }

    fn gradients(
        &self,
        operands: [&Tensor; N],
        y: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        Operation::gradients(self, operands, y, grad, wanted)
    }
}

/// A storage whose device allocates storages of the same kind.
pub(crate) trait Stored: BackendStorage<Device: BackendDevice<Storage = Self>> {
    /// The storage, if it is of this kind.
    fn of(storage: &Storage) -> Option<&Self>;
}

/// `gradient(index)` for each operand that is wanted.
pub(crate) fn each_wanted<const N: usize>(
    wanted: [bool; N],
    gradient: impl Fn(usize) -> Result<Tensor>,
) -> Result<[Option<Tensor>; N]> {
    let mut gradients = [const { None }; N];
    for (place, to) in gradients.iter_mut().enumerate().filter(|(place, _)| wanted[*place]) {
        *to = Some(gradient(place)?);
    }
    Ok(gradients)
}

/// An error for an operand of another type than the input.
pub(crate) fn check_dtype(name: &str, x: DType, (what, other): (&str, DType)) -> Result<()> {
    match x == other {
        true => Ok(()),
        false => bail!("{name}: the input is {x:?}, {what} {other:?}"),
    }
}

macro_rules! stored {
    ($($storage:ident: $kind:ident),+) => {$(
        impl Stored for $storage {
            fn of(storage: &Storage) -> Option<&Self> {
                match storage {
                    Storage::$kind(storage) => Some(storage),
                    _ => None,
                }
            }
        }
    )+};
}

stored!(CpuStorage: Cpu, CudaStorage: Cuda, MetalStorage: Metal);

#[cfg(test)]
pub(crate) mod tests {
    use candle_core::WithDType;

    use super::*;

    /// What an operation makes of tensors on the CPU by candle's operations, which it takes elsewhere.
    pub(crate) fn portable<const N: usize>(
        op: &impl Operation<N>,
        operands: [&Tensor; N],
    ) -> Result<Tensor> {
        let storages = operands.map(Tensor::storage_and_layout);
        let operands = storages.each_ref().map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => (storage, *layout),
            _ => panic!("a tensor on the cpu"),
        });
        let shape = op.shape(operands.map(|(_, layout)| layout))?;
        let y = op.portable(operands)?;
        let len = shape.elem_count();
        let y = Tensor::from_vec(f64::cpu_storage_data(y)?, len, &candle_core::Device::Cpu)?;
        y.reshape(shape)
    }
}
