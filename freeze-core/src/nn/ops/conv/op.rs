//! The operation: decides which gradients are computed, and by what.

use std::sync::Mutex;
#[cfg(feature = "cudnn")]
use std::sync::PoisonError;

#[cfg(feature = "cudnn")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::conv::CudnnFwdAlgo;
use candle_core::{CpuStorage, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use super::on_card;
use super::pieces::{in_pieces, of_forward};
use super::portable;
use crate::kernel::conv::{self, Geometry, Settings};
use crate::kernel::slices::{read, tensor, with, with2};
use crate::kernel::{Real, by_real};
use crate::nn::ops::operation::{Operand, Operation, Reads, Stored, check_dtype, each_wanted};
use crate::nn::record::{self, Work};

/// A convolution as an operation of the graph.
pub(super) struct Conv {
    name: &'static str,
    settings: Settings,
    /// On devices other than the CPU: the result, taken by the forward. It is computed beforehand,
    /// because candle's storages take a convolution's sizes in a struct that only candle can
    /// construct.
    ready: Mutex<Option<Tensor>>,
    /// The same, by cuDNN.
    #[cfg(feature = "cudnn")]
    made: Mutex<Option<CudaStorage>>,
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
        let is_empty = geometry.shape(x.rank()).elem_count() == 0;
        #[cfg(feature = "cudnn")]
        let made = match is_empty || algo.is_some() {
            true => None,
            false => on_card::forward(&geometry, x, weight, bias)?,
        };
        #[cfg(feature = "cudnn")]
        let is_made = made.is_some();
        #[cfg(not(feature = "cudnn"))]
        let is_made = false;
        let ready = match x.device().is_cpu() || is_empty || is_made {
            true => None,
            false => Some(stock(&geometry, (settings, algo), [x, weight], bias)?),
        };
        let op = Self {
            name,
            settings,
            ready: Mutex::new(ready),
            #[cfg(feature = "cudnn")]
            made: Mutex::new(made),
        };
        match bias {
            None => record::apply([x, weight], Work::Products, op),
            Some(bias) => record::apply([x, weight, bias], Work::Products, op),
        }
    }

    fn geometry(&self, x: &Layout, w: &Layout) -> Result<Geometry> {
        Geometry::new(self.name, x, w, self.settings)
    }

    fn forward(&self, operands: &[Operand<'_, CpuStorage>]) -> Result<CpuStorage> {
        let ((x, x_l), (w, w_l)) = (operands[0], operands[1]);
        let (g, dtype) = (self.geometry(x_l, w_l)?, x.dtype());
        for (parameter, _) in &operands[1..] {
            check_dtype(self.name, dtype, ("a parameter", parameter.dtype()))?;
        }
        by_real!(dtype, T => {
            let bias = operands.get(2).map(|(b, b_l)| read::<T>(b, b_l)).transpose()?;
            let (x, w) = (read::<T>(x, x_l)?, read::<T>(w, w_l)?);
            Ok(T::write(conv::forward(&g, &x, &w, bias.as_deref()), dtype))
        })
    }
}

/// The operands are an input, a weight and, if there are three, a bias.
impl<const N: usize> Operation<N> for Conv {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shape(&self, operands: [&Layout; N]) -> Result<Shape> {
        Ok(self.geometry(operands[0], operands[1])?.shape(operands[0].dims().len()))
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        self.forward(&operands)
    }

    #[cfg(feature = "cudnn")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        match self.made.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(made) => Ok(made),
            None => self.portable(operands),
        }
    }

    /// A copy of the result computed beforehand: candle cannot take a storage out of a tensor.
    fn portable<S: Stored>(&self, _: [Operand<'_, S>; N]) -> Result<S> {
        let ready = match self.ready.lock() {
            Ok(mut ready) => ready.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        let elsewhere =
            || bail!("{}: the operands are on different devices; move them to one", self.name);
        let Some(ready) = ready else { return elsewhere() };
        let (storage, layout) = ready.storage_and_layout();
        match S::of(&storage) {
            Some(storage) => storage.try_clone(layout),
            None => elsewhere(),
        }
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        Reads::of_product(wanted)
    }

    fn gradients(
        &self,
        operands: [&Tensor; N],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        let (x, w, set) = (operands[0], operands[1], self.settings);
        let g = self.geometry(x.layout(), w.layout())?;
        if !x.device().is_cpu() {
            return each_wanted(wanted, |place| {
                #[cfg(feature = "cudnn")]
                if let 0 | 1 = place
                    && let Some(found) = on_card::gradient(place, &g, [x, w], grad)?
                {
                    return Ok(found);
                }
                match place {
                    0 => portable::input_gradient(&g, set, w, grad),
                    1 => portable::weight_gradient(&g, set, x, grad),
                    #[cfg(feature = "cuda")]
                    _ if grad.device().is_cuda() => on_card::bias_gradient(&g, grad),
                    _ => portable::bias_gradient(grad),
                }
            });
        }
        each_wanted(wanted, |place| gradient(&g, place, [x, w, grad], operands[place].shape()))
    }
}

/// That of an operand on the CPU.
fn gradient(g: &Geometry, place: usize, tensors: [&Tensor; 3], shape: &Shape) -> Result<Tensor> {
    let [x, w, grad] = tensors;
    by_real!(x.dtype(), T => {
        let values = match place {
            0 => with2([w, grad], |w: &[T], grad: &[T]| Ok(conv::input_gradient(g, w, grad)))?,
            1 => with2([x, grad], |x: &[T], grad: &[T]| Ok(conv::weight_gradient(g, x, grad)))?,
            _ => with(grad, |grad: &[T]| Ok(conv::bias_gradient(g, grad)))?,
        };
        tensor(values, shape, x.dtype())
    })
}

/// candle's own convolution, detached.
fn stock(
    g: &Geometry,
    (set, algo): (Settings, Option<CudnnFwdAlgo>),
    [x, w]: [&Tensor; 2],
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let Settings { padding, stride, dilation, groups } = set;
    let (x, w) = (x.contiguous()?.detach(), w.contiguous()?.detach());
    let y = in_pieces(&x, of_forward(g), |x| match x.rank() {
        3 => x.conv1d_with_algo(&w, padding, stride, dilation, groups, algo),
        _ => x.conv2d_with_algo(&w, padding, stride, dilation, groups, algo),
    })?;
    match (bias, x.rank()) {
        (None, _) => Ok(y),
        #[cfg(feature = "cuda")]
        (Some(bias), _) if y.device().is_cuda() => on_card::add_bias(y, &bias.detach()),
        (Some(bias), 3) => y.broadcast_add(&bias.detach().reshape((1, (), 1))?),
        (Some(bias), _) => y.broadcast_add(&bias.detach().reshape((1, (), 1, 1))?),
    }
}
