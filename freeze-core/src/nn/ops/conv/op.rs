//! The operation: which gradient is computed, and where.

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::conv::CudnnFwdAlgo;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape, Storage,
    Tensor, bail,
};

use super::geometry::{Geometry, Settings};
use super::{cpu, portable};
use crate::nn::ops::cpu::{Real, tensor, with, with_real};
use crate::nn::ops::device::{accelerators2, accelerators3};
use crate::nn::record::{self, Work};

/// A convolution as an operation of the graph.
pub(super) struct Conv {
    name: &'static str,
    settings: Settings,
    /// Devices other than the CPU: the result, computed outside since candle's storages take a
    /// convolution's sizes in a struct that only candle can fill. Taken by the forward.
    ready: Mutex<Option<Tensor>>,
}

impl Conv {
    /// Checks the shapes and runs the operation.
    pub(super) fn apply(
        name: &'static str,
        settings: Settings,
        algo: Option<CudnnFwdAlgo>,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let geometry = Geometry::new(name, x.layout(), weight.layout(), settings)?;
        if let Some(bias) = bias.filter(|bias| bias.dims() != [geometry.channels_out]) {
            bail!(
                "{name}: the bias has shape {:?}, expected [{}], one for each output channel",
                bias.shape(),
                geometry.channels_out
            );
        }
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        let ready = match x.device().is_cpu() {
            true => None,
            false if geometry.shape(x.rank()).elem_count() == 0 => {
                Some(Tensor::zeros(geometry.shape(x.rank()), x.dtype(), x.device())?)
            }
            false => Some(stock(settings, algo, &x, &weight, bias)?),
        };
        let op = Self { name, settings, ready: Mutex::new(ready) };
        match bias {
            None => record::apply2(&x, &weight, Work::Products, op),
            Some(bias) => record::apply3(&x, (&weight, &bias.contiguous()?), Work::Products, op),
        }
    }

    fn forward(
        &self,
        x: (&CpuStorage, &Layout),
        w: (&CpuStorage, &Layout),
        b: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let g = Geometry::new(self.name, x.1, w.1, self.settings)?;
        let dtype = x.0.dtype();
        if let Some(other) = [Some(w), b].into_iter().flatten().find(|t| t.0.dtype() != dtype) {
            bail!("{}: the input is {dtype:?}, a parameter {:?}", self.name, other.0.dtype());
        }
        let shape = g.shape(x.1.dims().len());
        with_real!(dtype, T => {
            let bias = b.map(|(b, l)| T::read(b, l)).transpose()?;
            let (x, w) = (T::read(x.0, x.1)?, T::read(w.0, w.1)?);
            Ok((T::write(cpu::forward(&g, &x, &w, bias.as_deref()), dtype), shape))
        })
    }

    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let g = Geometry::new(self.name, x.layout(), w.layout(), self.settings)?;
        let [want_x, want_w] = [x.track_op(), w.track_op()];
        let (x, w, grad) = (x.detach(), w.detach(), grad.detach().contiguous()?);
        if grad.elem_count() == 0 {
            let zeros = |want: bool, like: &Tensor| want.then(|| like.zeros_like()).transpose();
            return Ok([zeros(want_x, &x)?, zeros(want_w, &w)?]);
        }
        if !x.device().is_cpu() {
            let dx = want_x
                .then(|| portable::input_gradient(&g, self.settings, &w, &grad))
                .transpose()?;
            let dw = want_w
                .then(|| portable::weight_gradient(&g, self.settings, &x, &grad))
                .transpose()?;
            return Ok([dx, dw]);
        }
        with_real!(x.dtype(), T => with(&grad, |grad: &[T]| {
            let dx = |w: &[T]| Ok(cpu::input_gradient(&g, w, grad));
            let dx = want_x.then(|| tensor(with(&w, dx)?, x.shape(), x.dtype())).transpose()?;
            let dw = |x: &[T]| Ok(cpu::weight_gradient(&g, x, grad));
            let dw = want_w.then(|| tensor(with(&x, dw)?, w.shape(), w.dtype())).transpose()?;
            Ok([dx, dw])
        }))
    }

    fn bias_gradient(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        grad: &Tensor,
    ) -> Result<Option<Tensor>> {
        if !b.track_op() {
            return Ok(None);
        }
        let grad = grad.detach().contiguous()?;
        if grad.elem_count() == 0 {
            return b.zeros_like().map(Some);
        }
        if !grad.device().is_cpu() {
            return portable::bias_gradient(&grad).map(Some);
        }
        let g = Geometry::new(self.name, x.layout(), w.layout(), self.settings)?;
        with_real!(grad.dtype(), T => {
            let sums = with(&grad, |grad: &[T]| Ok(cpu::bias_gradient(&g, grad)))?;
            tensor(sums, b.shape(), b.dtype()).map(Some)
        })
    }

    /// The result computed outside. It is a copy: candle has no way to take a storage out of a tensor.
    fn hand_over<S: Accelerator>(&self) -> Result<(S, Shape)> {
        let ready = match self.ready.lock() {
            Ok(mut ready) => ready.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        let Some(ready) = ready else {
            bail!("{}: the operands are on different devices; move them to one", self.name)
        };
        let (storage, layout) = ready.storage_and_layout();
        match S::of(&storage) {
            Some(storage) => Ok((storage.try_clone(layout)?, ready.shape().clone())),
            None => bail!("{}: the operands are on different devices; move them to one", self.name),
        }
    }

    fn handed_over<S: Accelerator>(
        &self,
        _: (&S, &Layout),
        _: (&S, &Layout),
    ) -> Result<(S, Shape)> {
        self.hand_over()
    }

    fn handed_over_biased<S: Accelerator>(
        &self,
        _: (&S, &Layout),
        _: (&S, &Layout),
        _: (&S, &Layout),
    ) -> Result<(S, Shape)> {
        self.hand_over()
    }
}

/// The storage of one kind of device other than the CPU.
trait Accelerator: BackendStorage {
    fn of(storage: &Storage) -> Option<&Self>;
}

impl Accelerator for CudaStorage {
    fn of(storage: &Storage) -> Option<&Self> {
        match storage {
            Storage::Cuda(storage) => Some(storage),
            _ => None,
        }
    }
}

impl Accelerator for MetalStorage {
    fn of(storage: &Storage) -> Option<&Self> {
        match storage {
            Storage::Metal(storage) => Some(storage),
            _ => None,
        }
    }
}

/// candle's own convolution, outside the graph.
fn stock(
    set: Settings,
    algo: Option<CudnnFwdAlgo>,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let Settings { padding, stride, dilation, groups } = set;
    let (x, w) = (x.detach(), w.detach());
    let y = match x.rank() {
        3 => x.conv1d_with_algo(&w, padding, stride, dilation, groups, algo)?,
        _ => x.conv2d_with_algo(&w, padding, stride, dilation, groups, algo)?,
    };
    match (bias, x.rank()) {
        (None, _) => Ok(y),
        (Some(bias), 3) => y.broadcast_add(&bias.detach().reshape((1, (), 1))?),
        (Some(bias), _) => y.broadcast_add(&bias.detach().reshape((1, (), 1, 1))?),
    }
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        w: &CpuStorage,
        w_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_l), (w, w_l), None)
    }

    accelerators2!(Self::handed_over);

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw] = self.gradients(x, w, grad)?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        w: &CpuStorage,
        w_l: &Layout,
        b: &CpuStorage,
        b_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_l), (w, w_l), Some((b, b_l)))
    }

    accelerators3!(Self::handed_over_biased);

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw] = self.gradients(x, w, grad)?;
        Ok((dx, dw, self.bias_gradient(x, w, b, grad)?))
    }
}
