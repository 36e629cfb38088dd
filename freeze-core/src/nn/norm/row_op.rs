//! Row normalisation as an operation of candle's graph.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Device, Layout, Result, Shape, Tensor};

use crate::nn::nothing::of_nothing;
use crate::nn::record::{self, Work};

use super::rows::{self, RowGrads, RowStats};
use super::{Center, Element, Wanted, by_dtype, check_eps, cpu_slice, internal_dtype, slice};

/// Normalises the last dimension and scales it: kernels on the CPU, candle's operations elsewhere.
pub(crate) fn normalize_rows(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
    center: Center,
) -> Result<Tensor> {
    check(x, weight, bias)?;
    check_eps(eps)?;
    if x.elem_count() == 0 {
        return of_nothing(x);
    }
    if !matches!(x.device(), Device::Cpu) {
        return compose(x, weight, bias, eps, center);
    }
    let op = RowNorm { eps, center, stats: OnceLock::new() };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => record::apply2(&x, &weight, Work::Elements, op),
        Some(bias) => record::apply3(&x, (&weight, &bias.contiguous()?), Work::Elements, op),
    }
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let size = x.dim(D::Minus1)?;
    for (name, tensor) in [("weight", Some(weight)), ("bias", bias)] {
        let Some(tensor) = tensor else { continue };
        if tensor.dims() != [size] {
            candle_core::bail!(
                "the input's last dimension is {size}, but the {name} has shape {:?}",
                tensor.dims()
            )
        }
        if tensor.dtype() != x.dtype() {
            candle_core::bail!(
                "the input is {:?}, but the {name} is {:?}; convert one with `to_dtype`",
                x.dtype(),
                tensor.dtype()
            )
        }
    }
    Ok(())
}

/// The same in candle's own operations, each of which has a backward: for other devices.
pub(super) fn compose(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
    center: Center,
) -> Result<Tensor> {
    let dtype = internal_dtype(x.dtype());
    let wide = x.to_dtype(dtype)?;
    let wide = match center {
        Center::Mean => wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?,
        Center::Zero => wide,
    };
    let deviation = (wide.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let scaled = wide.broadcast_div(&deviation)?.broadcast_mul(&weight.to_dtype(dtype)?)?;
    match bias {
        None => scaled,
        Some(bias) => scaled.broadcast_add(&bias.to_dtype(dtype)?)?,
    }
    .to_dtype(x.dtype())
}

struct RowNorm {
    eps: f64,
    center: Center,
    /// Found by the forward, used by the backward.
    stats: OnceLock<Vec<RowStats>>,
}

impl RowNorm {
    fn forward<T: Element>(
        &self,
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let bias = bias.map(|(storage, layout)| slice::<T>(storage, layout)).transpose()?;
        let weight = slice::<T>(weight.0, weight.1)?;
        let (out, stats) = rows::forward(slice(x.0, x.1)?, weight, bias, self.eps, self.center);
        // Set once: an operation runs forward once.
        let _ = self.stats.set(stats);
        Ok((T::to_cpu_storage_owned(out), x.1.shape().clone()))
    }

    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Result<[Option<Tensor>; 3]> {
        by_dtype!(x.dtype(), "normalize-rows", T => self.backward_as::<T>(x, weight, grad, wanted))
    }

    fn backward_as<T: Element>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Result<[Option<Tensor>; 3]> {
        let grad = grad.contiguous()?;
        let RowGrads { input, weight: dw, bias } = {
            let (xs, xl) = x.storage_and_layout();
            let (ws, wl) = weight.storage_and_layout();
            let (gs, gl) = grad.storage_and_layout();
            let x = cpu_slice::<T>(&xs, xl)?;
            let weight = cpu_slice::<T>(&ws, wl)?;
            let stats = self.stats.get().map_or(&[] as &[_], Vec::as_slice);
            rows::backward(x, weight, cpu_slice(&gs, gl)?, stats, self.center, wanted)
        };
        let tensor = |values: Option<Vec<T>>, like: &Tensor| {
            values.map(|v| Tensor::from_vec(v, like.shape(), &Device::Cpu)).transpose()
        };
        Ok([tensor(input, x)?, tensor(dw, weight)?, tensor(bias, weight)?])
    }
}

impl CustomOp2 for RowNorm {
    fn name(&self) -> &'static str {
        "normalize-rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), "normalize-rows", T => self.forward::<T>((x, xl), (w, wl), None))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let wanted = Wanted { input: x.track_op(), weight: weight.track_op(), bias: false };
        let [x, weight, _] = self.backward(x, weight, grad, wanted)?;
        Ok((x, weight))
    }
}

impl CustomOp3 for RowNorm {
    fn name(&self) -> &'static str {
        "normalize-rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let bias = Some((b, bl));
        by_dtype!(x.dtype(), "normalize-rows", T => self.forward::<T>((x, xl), (w, wl), bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted =
            Wanted { input: x.track_op(), weight: weight.track_op(), bias: bias.track_op() };
        let [x, weight, bias] = self.backward(x, weight, grad, wanted)?;
        Ok((x, weight, bias))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;

    #[test]
    fn the_composition_agrees_with_the_kernels() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::F16, 4e-3)] {
            let random = |shape: &[usize]| {
                Var::from_tensor(&Tensor::randn(0.2f64, 1.0, shape, &Device::Cpu)?.to_dtype(dtype)?)
            };
            let (x, w, b) = (random(&[5, 9])?, random(&[9])?, random(&[9])?);
            for center in [Center::Mean, Center::Zero] {
                for bias in [None, Some(b.as_tensor())] {
                    let kernel = normalize_rows(&x, &w, bias, 1e-5, center)?;
                    let composed = compose(&x, &w, bias, 1e-5, center)?;
                    assert!(off(&kernel, &composed)? < tolerance);
                    let kernel = kernel.sqr()?.mean_all()?.backward()?;
                    let composed = composed.sqr()?.mean_all()?.backward()?;
                    for var in [&x, &w, &b] {
                        match (kernel.get(var), composed.get(var)) {
                            (Some(k), Some(c)) => assert!(off(k, c)? < tolerance),
                            (k, c) => assert!(k.is_none() && c.is_none() && bias.is_none()),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.abs()?.max_all()?.to_scalar()
    }
}
