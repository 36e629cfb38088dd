//! Operations that time the parts of their backward.

use std::time::Instant;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape,
    Tensor,
};

use super::{Backward, edit, time};

/// An operation, and the call that it reports as.
pub(super) struct Recorded<C> {
    pub(super) op: C,
    pub(super) call: usize,
}

/// Passes its input on: its backward tells when candle comes to what lies below it.
pub(super) struct Mark {
    pub(super) call: usize,
}

/// Runs the backward in parts and as a whole, reports the times, and returns the whole's gradients.
fn report<G>(
    call: usize,
    grad: &Tensor,
    [input, weight]: [bool; 2],
    parts: [&dyn Fn() -> Result<()>; 2],
    whole: impl FnOnce() -> Result<G>,
    weights: impl FnOnce(&G) -> Vec<Tensor>,
) -> Result<G> {
    let device = grad.device();
    device.synchronize()?;
    let start = Instant::now();
    let mut taken = Backward::default();
    if input && weight {
        ((), taken.input) = time(device, parts[0])?;
        ((), taken.weight) = time(device, parts[1])?;
    }
    let gradients;
    (gradients, taken.both) = time(device, whole)?;
    match (input, weight) {
        (true, false) => taken.input = taken.both,
        (false, true) => taken.weight = taken.both,
        _ => {}
    }
    let weights = weights(&gradients);
    let add = || weights.iter().try_for_each(|grad| grad.zeros_like()?.add(grad).map(drop));
    ((), taken.add_weight) = time(device, add)?;
    taken.span = Some((start, Instant::now()));
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
        report(self.call, grad, [x.track_op(), false], [none, none], whole, |_| Vec::new())
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
            self.call,
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
            self.call,
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
