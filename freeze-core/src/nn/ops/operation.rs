//! Operations of candle's graph: a forward on storages, a backward for the operands that are tracked.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, MetalStorage, Result,
    Shape, Storage, Tensor, bail,
};

use crate::nn::backward::keeping;

/// A storage and the layout of a tensor in it.
pub(crate) type Operand<'a, S> = (&'a S, &'a Layout);

/// A function of `N` tensors, such as an input, a weight and a bias.
///
/// The operands are contiguous.
pub(crate) trait Operation<const N: usize>: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// The shape of the result; by default that of the input.
    fn shape(&self, operands: [&Layout; N]) -> Result<Shape> {
        Ok(operands[0].shape().clone())
    }

    /// The result on the CPU.
    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage>;

    /// The result by candle's operations, on any device. Not called for empty results.
    fn portable<S: Stored>(&self, _: [Operand<'_, S>; N]) -> Result<S> {
        bail!("{}: no kernel for this device", self.name())
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

/// The number of operands that an operation takes.
pub(crate) trait Operands<O> {
    /// The result, as a node of candle's graph if an operand is tracked.
    fn apply(self, op: O) -> Result<Tensor>;
}

/// An operation in the form of candle's traits.
struct Node<O>(O);

fn here<const N: usize>(
    op: &impl Operation<N>,
    operands: [Operand<'_, CpuStorage>; N],
) -> Result<(CpuStorage, Shape)> {
    let shape = op.shape(operands.map(|(_, layout)| layout))?;
    Ok((op.cpu(operands)?, shape))
}

fn elsewhere<S: Stored, const N: usize>(
    op: &impl Operation<N>,
    operands: [Operand<'_, S>; N],
) -> Result<(S, Shape)> {
    let shape = op.shape(operands.map(|(_, layout)| layout))?;
    // CUDA cannot launch a kernel for no elements.
    let y = match shape.elem_count() {
        0 => operands[0].0.device().zeros_impl(&shape, operands[0].0.dtype())?,
        _ => op.portable(operands)?,
    };
    Ok((y, shape))
}

fn backward<const N: usize>(
    op: &impl Operation<N>,
    operands: [&Tensor; N],
    y: &Tensor,
    grad: &Tensor,
) -> Result<[Option<Tensor>; N]> {
    let wanted = operands.map(Tensor::track_op);
    let detached = operands.map(Tensor::detach);
    let grad = grad.detach().contiguous()?;
    keeping(operands, y, || match grad.elem_count() {
        0 => each_wanted(wanted, |place| detached[place].zeros_like()),
        _ => op.gradients(detached.each_ref(), y, &grad, wanted),
    })
}

macro_rules! operation_of {
    (
        $n:literal, $custom:ident, $apply:ident, $gradients:expr => $type:ty,
        $first:ident: $s:ident $l:ident $(, $other:ident: $os:ident $ol:ident)*
    ) => {
        impl<O: Operation<$n>> Operands<O> for [&Tensor; $n] {
            fn apply(self, op: O) -> Result<Tensor> {
                let [$first $(, $other)*] = self;
                $first.$apply($($other,)* Node(op))
            }
        }

        impl<O: Operation<$n>> $custom for Node<O> {
            fn name(&self) -> &'static str {
                self.0.name()
            }

            fn cpu_fwd(
                &self,
                $s: &CpuStorage,
                $l: &Layout
                $(, $os: &CpuStorage, $ol: &Layout)*
            ) -> Result<(CpuStorage, Shape)> {
                here(&self.0, [($s, $l) $(, ($os, $ol))*])
            }

            fn cuda_fwd(
                &self,
                $s: &CudaStorage,
                $l: &Layout
                $(, $os: &CudaStorage, $ol: &Layout)*
            ) -> Result<(CudaStorage, Shape)> {
                elsewhere(&self.0, [($s, $l) $(, ($os, $ol))*])
            }

            fn metal_fwd(
                &self,
                $s: &MetalStorage,
                $l: &Layout
                $(, $os: &MetalStorage, $ol: &Layout)*
            ) -> Result<(MetalStorage, Shape)> {
                elsewhere(&self.0, [($s, $l) $(, ($os, $ol))*])
            }

            fn bwd(
                &self,
                $first: &Tensor,
                $($other: &Tensor,)*
                y: &Tensor,
                grad: &Tensor,
            ) -> Result<$type> {
                let [$first $(, $other)*] = backward(&self.0, [$first $(, $other)*], y, grad)?;
                Ok($gradients)
            }
        }
    };
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

type Gradient = Option<Tensor>;

operation_of!(1, CustomOp1, apply_op1, x => Gradient, x: s1 l1);
operation_of!(2, CustomOp2, apply_op2, (x, w) => (Gradient, Gradient), x: s1 l1, w: s2 l2);
operation_of!(
    3, CustomOp3, apply_op3, (x, w, b) => (Gradient, Gradient, Gradient),
    x: s1 l1, w: s2 l2, b: s3 l3
);
stored!(CpuStorage: Cpu, CudaStorage: Cuda, MetalStorage: Metal);
