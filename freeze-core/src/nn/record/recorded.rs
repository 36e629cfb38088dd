//! Operations that time a part of their backward.

use std::time::Instant;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape,
    Tensor,
};

use super::{Backward, Part, edit, time};

/// An operation, the call that it reports as, and what it times.
pub(super) struct Recorded<C> {
    pub(super) op: C,
    pub(super) call: usize,
    pub(super) part: Part,
}

/// Passes its input on: its backward tells when candle comes to what lies below it.
pub(super) struct Mark {
    pub(super) call: usize,
}

/// Runs the backward, the timed part ahead of it, reports the times, and returns the gradients.
///
/// The part comes first and no other runs in that round, so that it finds operands as cold as a real
/// step does.
fn report<G>(
    (call, part): (usize, Part),
    grad: &Tensor,
    [input, weight]: [bool; 2],
    parts: [&dyn Fn() -> Result<()>; 2],
    whole: impl FnOnce() -> Result<G>,
    weights: impl FnOnce(&G) -> Vec<Tensor>,
) -> Result<G> {
    let device = grad.device();
    device.synchronize()?;
    let mut taken = Backward::default();
    let alone = |index: usize| time(device, parts[index]).map(|((), taken)| taken);
    match part {
        Part::Input if input && weight => taken.input = Some(alone(0)?),
        Part::Weight if input && weight => taken.weight = Some(alone(1)?),
        _ => {}
    }
    let start = Instant::now();
    let gradients = whole()?;
    device.synchronize()?;
    match part {
        Part::Whole => taken.span = Some((start, Instant::now())),
        Part::Input => {}
        Part::Weight => {
            let weights = weights(&gradients);
            let add = || weights.iter().try_for_each(|grad| grad.zeros_like()?.add(grad).map(drop));
            taken.add_weight = Some(time(device, add)?.1);
        }
    }
    edit(call, |call| call.backward = taken);
    Ok(gradients)
}

impl<C: CustomOp1> CustomOp1 for Recorded<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        self.op.cpu_fwd(s, l)
    }

    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        self.op.cuda_fwd(s, l)
    }

    fn metal_fwd(&self, s: &MetalStorage, l: &Layout) -> Result<(MetalStorage, Shape)> {
        self.op.metal_fwd(s, l)
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let none: &dyn Fn() -> Result<()> = &|| Ok(());
        let whole = || self.op.bwd(x, y, grad);
        report((self.call, self.part), grad, [x.track_op(), false], [none, none], whole, |_| {
            Vec::new()
        })
    }
}

impl<C: CustomOp2> CustomOp2 for Recorded<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.op.cpu_fwd(s1, l1, s2, l2)
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.op.cuda_fwd(s1, l1, s2, l2)
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.op.metal_fwd(s1, l1, s2, l2)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x0, w0) = (x.detach(), w.detach());
        report(
            (self.call, self.part),
            grad,
            [x.track_op(), w.track_op()],
            [&|| self.op.bwd(x, &w0, y, grad).map(drop), &|| {
                self.op.bwd(&x0, w, y, grad).map(drop)
            }],
            || self.op.bwd(x, w, y, grad),
            |(_, w)| w.iter().cloned().collect(),
        )
    }
}

impl<C: CustomOp3> CustomOp3 for Recorded<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.op.cpu_fwd(s1, l1, s2, l2, s3, l3)
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.op.cuda_fwd(s1, l1, s2, l2, s3, l3)
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
        s3: &MetalStorage,
        l3: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.op.metal_fwd(s1, l1, s2, l2, s3, l3)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x0, w0, b0) = (x.detach(), w.detach(), b.detach());
        report(
            (self.call, self.part),
            grad,
            [x.track_op(), w.track_op() || b.track_op()],
            [&|| self.op.bwd(x, &w0, &b0, y, grad).map(drop), &|| {
                self.op.bwd(&x0, w, b, y, grad).map(drop)
            }],
            || self.op.bwd(x, w, b, y, grad),
            |(_, w, b)| w.iter().chain(b).cloned().collect(),
        )
    }
}

impl CustomOp1 for Mark {
    fn name(&self) -> &'static str {
        "mark"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        copy(s, l)
    }

    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        copy(s, l)
    }

    fn metal_fwd(&self, s: &MetalStorage, l: &Layout) -> Result<(MetalStorage, Shape)> {
        copy(s, l)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.device().synchronize()?;
        let now = Instant::now();
        edit(self.call, |call| call.backward.span = Some((now, now)));
        Ok(Some(grad.clone()))
    }
}

/// The storage as it is; candle wants a new one.
fn copy<S: candle_core::backend::BackendStorage>(s: &S, l: &Layout) -> Result<(S, Shape)> {
    Ok((s.try_clone(l)?, l.shape().clone()))
}
