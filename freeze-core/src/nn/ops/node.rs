//! Operations as nodes of candle's graph.

use std::sync::{Arc, Mutex, OnceLock};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape,
    Tensor, TensorId, WithDType, bail,
};

use super::elements::{Computed, Elements};
use super::held;
use super::left::Left;
use super::links::{self, Link};
use super::operation::{AnyOperation, Operand, Stored};
use super::stand_in::{Kept, StandIn, gradients};
use crate::kernel::{self, no_elements, reading};

/// As many operands as an operation takes.
pub(crate) trait Operands<const N: usize> {
    /// The result of `op`, as a node of candle's graph if an operand is tracked.
    fn apply(self, op: Arc<dyn AnyOperation<N>>) -> Result<Tensor>;
}

/// An operation as candle takes it.
enum Node<const N: usize> {
    /// With the result itself.
    Plain(Arc<dyn AnyOperation<N>>),
    /// With a result of one number, or of none on a card.
    StandIn(StandIn<N>),
}

/// The result of `op`; `make` is the candle function for so many operands. On the CPU and on a CUDA card what is
/// tracked gets a stand-in.
fn apply<const N: usize>(
    op: Arc<dyn AnyOperation<N>>,
    operands: [&Tensor; N],
    make: impl FnOnce([&Tensor; N], Node<N>) -> Result<Tensor>,
) -> Result<Tensor> {
    let first = operands[0].device();
    let one = operands.iter().all(|operand| operand.device().same_device(first));
    if !one || !kernel::on(first) || !operands.iter().any(|operand| operand.track_op()) {
        return make(operands, Node::Plain(op));
    }
    let computed = compute(&*op, operands)?;
    let (reads, found) = (op.reads(operands.map(Tensor::track_op)), operands.map(links::of));
    let inboxes = found.each_ref().map(|link| link.as_ref().map(|link| link.inbox.clone()));
    let (node, remains) = StandIn::new(op.name(), inboxes);
    let inbox = node.inbox.clone();
    let nodes = std::array::from_fn(|place| match &found[place] {
        Some(link) => &link.stand_in,
        None => operands[place],
    });
    let stand_in = make(nodes, Node::StandIn(node))?;
    let id = Arc::<OnceLock<TensorId>>::default();
    let elements = Elements {
        computed: Mutex::new(Some(computed)),
        inbox: inbox.clone(),
        id: id.clone(),
        stand_in: stand_in.detach(),
    };
    let y = stand_in.apply_op1(elements)?;
    let left = |place: usize| Left::of(operands[place], reads.operands[place]);
    remains.set(Kept {
        op,
        operands: std::array::from_fn(|place| found[place].is_some().then(|| left(place))),
        result: Left::of(&y, reads.result),
    });
    // It is set here alone.
    let _ = id.set(y.id());
    let read = (0..N).filter(|&place| reads.operands[place] && found[place].is_some());
    held::note(&stand_in, read.map(|place| operands[place]).chain(reads.result.then_some(&y)));
    links::insert(y.id(), Link { stand_in, inbox });
    Ok(y)
}

/// The result, before candle's graph has a node for it.
fn compute<const N: usize>(
    op: &dyn AnyOperation<N>,
    operands: [&Tensor; N],
) -> Result<(Computed, Shape)> {
    #[cfg(feature = "cuda")]
    if operands[0].device().is_cuda() {
        let (y, shape) = with_storages(op, operands, |operands| {
            elsewhere::<CudaStorage, N>(op, operands, |op, operands| op.cuda(operands))
        })?;
        return Ok((Computed::OnCard(y), shape));
    }
    let (y, shape) = with_storages(op, operands, |operands| on_cpu(op, operands))?;
    Ok((Computed::Here(y), shape))
}

fn with_storages<S: Stored, R, const N: usize>(
    op: &dyn AnyOperation<N>,
    operands: [&Tensor; N],
    run: impl FnOnce([Operand<'_, S>; N]) -> Result<R>,
) -> Result<R> {
    let reading = reading(operands);
    let mut all = Vec::with_capacity(N);
    for (storage, operand) in reading.storages().zip(operands) {
        match S::of(storage) {
            Some(storage) => all.push((storage, operand.layout())),
            None => bail!("{}: expected operands on one device", op.name()),
        }
    }
    match all.try_into() {
        Ok(operands) => run(operands),
        Err(_) => bail!("{}: expected {N} operands", op.name()),
    }
}

fn on_cpu<const N: usize>(
    op: &dyn AnyOperation<N>,
    operands: [Operand<'_, CpuStorage>; N],
) -> Result<(CpuStorage, Shape)> {
    let shape = op.shape(operands.map(|(_, layout)| layout))?;
    Ok((op.cpu(operands)?, shape))
}

fn elsewhere<S: Stored, const N: usize>(
    op: &dyn AnyOperation<N>,
    operands: [Operand<'_, S>; N],
    run: impl FnOnce(&dyn AnyOperation<N>, [Operand<'_, S>; N]) -> Result<S>,
) -> Result<(S, Shape)> {
    let shape = op.shape(operands.map(|(_, layout)| layout))?;
    // CUDA cannot launch a kernel for no elements.
    let y = match shape.elem_count() {
        0 => operands[0].0.device().zeros_impl(&shape, operands[0].0.dtype())?,
        _ => run(op, operands)?,
    };
    Ok((y, shape))
}

impl<const N: usize> Node<N> {
    fn on_card(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<(CudaStorage, Shape)> {
        match self {
            Self::Plain(op) => elsewhere(&**op, operands, |op, operands| op.cuda(operands)),
            Self::StandIn(_) => Ok((no_elements(operands[0].0.device())?, Shape::from(0))),
        }
    }

    fn on_metal(&self, operands: [Operand<'_, MetalStorage>; N]) -> Result<(MetalStorage, Shape)> {
        match self {
            Self::Plain(op) => elsewhere(&**op, operands, |op, operands| op.metal(operands)),
            Self::StandIn(stand_in) => bail!("{}: no stand-in on Metal", stand_in.name),
        }
    }

    fn here(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<(CpuStorage, Shape)> {
        match self {
            Self::Plain(op) => on_cpu(&**op, operands),
            Self::StandIn(_) => Ok((f64::to_cpu_storage_owned(vec![0.0]), Shape::from(()))),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Plain(op) => op.name(),
            Self::StandIn(stand_in) => stand_in.name,
        }
    }

    /// What candle adds up for each operand.
    fn backward(
        &self,
        nodes: [&Tensor; N],
        node: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        match self {
            Self::Plain(op) => gradients(&**op, [nodes, nodes], [node, node], grad),
            Self::StandIn(stand_in) => stand_in.backward(nodes, node, grad),
        }
    }
}

macro_rules! node_of {
    (
        $n:literal, $custom:ident, $apply:ident, $gradients:expr => $type:ty,
        $first:ident: $s:ident $l:ident $(, $other:ident: $os:ident $ol:ident)*
    ) => {
        impl Operands<$n> for [&Tensor; $n] {
            fn apply(self, op: Arc<dyn AnyOperation<$n>>) -> Result<Tensor> {
                apply(op, self, |[$first $(, $other)*], node| $first.$apply($($other,)* node))
            }
        }

        impl $custom for Node<$n> {
            fn name(&self) -> &'static str {
                self.name()
            }

            fn cpu_fwd(
                &self,
                $s: &CpuStorage,
                $l: &Layout
                $(, $os: &CpuStorage, $ol: &Layout)*
            ) -> Result<(CpuStorage, Shape)> {
                self.here([($s, $l) $(, ($os, $ol))*])
            }

            fn cuda_fwd(
                &self,
                $s: &CudaStorage,
                $l: &Layout
                $(, $os: &CudaStorage, $ol: &Layout)*
            ) -> Result<(CudaStorage, Shape)> {
                self.on_card([($s, $l) $(, ($os, $ol))*])
            }

            fn metal_fwd(
                &self,
                $s: &MetalStorage,
                $l: &Layout
                $(, $os: &MetalStorage, $ol: &Layout)*
            ) -> Result<(MetalStorage, Shape)> {
                self.on_metal([($s, $l) $(, ($os, $ol))*])
            }

            fn bwd(
                &self,
                $first: &Tensor,
                $($other: &Tensor,)*
                y: &Tensor,
                grad: &Tensor,
            ) -> Result<$type> {
                let [$first $(, $other)*] = self.backward([$first $(, $other)*], y, grad)?;
                Ok($gradients)
            }
        }
    };
}

type Gradient = Option<Tensor>;

node_of!(1, CustomOp1, apply_op1, x => Gradient, x: s1 l1);
node_of!(2, CustomOp2, apply_op2, (x, w) => (Gradient, Gradient), x: s1 l1, w: s2 l2);
node_of!(
    3, CustomOp3, apply_op3, (x, w, b) => (Gradient, Gradient, Gradient),
    x: s1 l1, w: s2 l2, b: s3 l3
);
