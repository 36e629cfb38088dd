//! `y = x wᵀ + b`.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::op::Add;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::bias::{add_in_place, rows, sum_rows};
use super::cpu::Real;
use super::device::{accelerators2, accelerators3};
use crate::nn::record::{self, Work};

/// `x wᵀ + b`: `x` is `[.., in]`, `weight` `[out, in]`, `bias` `[out]`, the result `[.., out]`.
///
/// The backward is one matmul over the flattened leading dimensions for each of `x` and `weight`
/// that is tracked, and a column sum for a tracked `bias`.
///
/// # Errors
///
/// Shapes that do not fit, operands of different dtypes or on different devices.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, inner) = weight.dims2()?;
    if x.dims().last() != Some(&inner) {
        bail!(
            "linear: the input {:?} does not end in {inner}, the second dimension of the weight \
             {:?}",
            x.shape(),
            weight.shape()
        );
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => record::apply2(&x, &weight, Work::Products, LinearOp),
        Some(bias) if bias.dims() == [out] => {
            record::apply3(&x, (&weight, &bias.contiguous()?), Work::Products, LinearOp)
        }
        Some(bias) => bail!(
            "linear: the bias has shape {:?}, expected [{out}], the first dimension of the weight \
             {:?}",
            bias.shape(),
            weight.shape()
        ),
    }
}

struct LinearOp;

impl LinearOp {
    const NAME: &'static str = "linear";

    /// The product, on any device.
    fn product<S>(&self, x: (&S, &Layout), w: (&S, &Layout)) -> Result<(S, Shape)>
    where
        S: BackendStorage,
        S::Device: BackendDevice<Storage = S>,
    {
        let ((x, x_l), (w, w_l)) = (x, w);
        let (n, k) = w_l.shape().dims2()?;
        let leading = &x_l.dims()[..x_l.dims().len().saturating_sub(1)];
        let (shape, m) = (Shape::from([leading, &[n]].concat()), leading.iter().product());
        if m * n * k == 0 {
            return Ok((x.device().zeros_impl(&shape, x.dtype())?, shape));
        }
        let rows = Layout::contiguous_with_offset((m, k), x_l.start_offset());
        Ok((x.matmul(w, (1, m, n, k), &rows, &w_l.transpose(0, 1)?)?, shape))
    }

    /// The product and the bias, on any device.
    fn biased<S>(&self, x: (&S, &Layout), w: (&S, &Layout), b: (&S, &Layout)) -> Result<(S, Shape)>
    where
        S: BackendStorage,
        S::Device: BackendDevice<Storage = S>,
    {
        let (y, shape) = self.product(x, w)?;
        let y_l = Layout::contiguous(&shape);
        Ok((y.binary_impl::<Add>(b.0, &y_l, &b.1.broadcast_as(&shape)?)?, shape))
    }

    fn input(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        rows(grad)?.matmul(&w.detach())?.reshape(x.shape()).map(Some)
    }

    fn weight(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !w.track_op() {
            return Ok(None);
        }
        rows(grad)?.t()?.matmul(&rows(x)?).map(Some)
    }
}

impl CustomOp2 for LinearOp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        w: &CpuStorage,
        w_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.product((x, x_l), (w, w_l))
    }

    accelerators2!(Self::product);

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Self::input(x, w, grad)?, Self::weight(x, w, grad)?))
    }
}

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// The bias is added in place: candle's addition would allocate the result a second time.
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        w: &CpuStorage,
        w_l: &Layout,
        b: &CpuStorage,
        b_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match (x, w, b) {
            (CpuStorage::F32(_), CpuStorage::F32(_), CpuStorage::F32(_)) => {
                let (y, shape) = self.product((x, x_l), (w, w_l))?;
                Ok((add_in_place(y, &f32::read(b, b_l)?)?, shape))
            }
            (CpuStorage::F64(_), CpuStorage::F64(_), CpuStorage::F64(_)) => {
                let (y, shape) = self.product((x, x_l), (w, w_l))?;
                Ok((add_in_place(y, &f64::read(b, b_l)?)?, shape))
            }
            _ => self.biased((x, x_l), (w, w_l), (b, b_l)),
        }
    }

    accelerators3!(Self::biased);

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = (Self::input(x, w, grad)?, Self::weight(x, w, grad)?);
        let db = if b.track_op() { Some(sum_rows(&rows(grad)?)?) } else { None };
        Ok((dx, dw, db))
    }
}
