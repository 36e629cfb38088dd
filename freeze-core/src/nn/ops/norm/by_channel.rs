//! Normalisation of `[batch, channels, ..]`: the kernels on the CPU and on CUDA, candle's operations elsewhere.

use candle_core::{DType, Device, Result, Tensor, bail};

#[cfg(feature = "cuda")]
use super::plane_card_op;
use super::plane_op::{self, Then};
use super::{Affine, check_eps, check_scales};
use crate::kernel::norm::Center;
use crate::kernel::norm::across::{Across, SumOver};
use crate::kernel::norm::by_planes::{ByPlanes, From};
use crate::kernel::norm::planes::{Moments, Over, Planes, moments};
use crate::kernel::{self, by_element, internal_dtype, slices};
use crate::nn::ops::activation::relu;
use crate::nn::ops::binary::add_relu;
use crate::nn::ops::operation::check_dtype;

/// Mean and biased variance of each set, as vectors; in f32 for f16 and bf16.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    pub(crate) mean: Tensor,
    pub(crate) variance: Tensor,
    /// The elements of each set, on all ranks together.
    pub(crate) count: f64,
}

/// Normalises by the input's own statistics, or by those of the inputs of several ranks.
pub(crate) fn by_input(
    x: &Tensor,
    over: Over,
    center: Center,
    affine: Affine<'_>,
    eps: f64,
    then: Then<'_>,
    ranks: Option<&SumOver>,
) -> Result<(Tensor, Statistics)> {
    check(x, affine)?;
    check_eps(eps)?;
    if !in_one_pass(x, then)? {
        let (y, statistics) = by_input(x, over, center, affine, eps, Then::Nothing, ranks)?;
        return Ok((after(y, then)?, statistics));
    }
    if ranks.is_some() && !x.device().is_cpu() {
        bail!(
            "a batch norm over several ranks runs on the CPU alone; use one without `across` on a card"
        )
    }
    if !kernel::on(x.device()) {
        return compose_by_input(x, over, center, affine, eps);
    }
    flat(x, |x, planes| {
        let planes = Planes { over, ..planes };
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let (y, [mean, variance]) =
                plane_card_op::by_input(x, planes, center, affine, eps, then)?;
            let count = (x.elem_count() / mean.elem_count()) as f64;
            return Ok((y, Statistics { mean, variance, count }));
        }
        let moments = by_element!(x.dtype(), "normalize-planes", T => {
            slices::with(x, |x: &[T]| Ok(moments(x, planes, center)))
        })?;
        let count = x.elem_count() as f64 / moments.mean.len() as f64;
        let (moments, across) = match ranks {
            Some(sum) => {
                let (moments, across) = Across::moments(sum.clone(), moments, count, center)?;
                (moments, Some(across))
            }
            None => (moments, None),
        };
        let vector =
            |values: &[f64]| Tensor::new(values, &Device::Cpu)?.to_dtype(internal_dtype(x.dtype()));
        let (mean, variance) = (vector(&moments.mean)?, vector(&moments.variance)?);
        let count = across.as_ref().map_or(count, |across| across.count);
        let statistics = Statistics { mean, variance, count };
        let by = ByPlanes::new(planes, moments, eps, From::Input(center)).across(across);
        Ok((plane_op::apply(by, x, affine, then)?, statistics))
    })
}

/// Normalises each channel by constants of any float type.
pub(crate) fn by_constants(
    x: &Tensor,
    given: [&Tensor; 2],
    affine: Affine<'_>,
    eps: f64,
    then: Then<'_>,
) -> Result<Tensor> {
    check(x, affine)?;
    check_eps(eps)?;
    if !in_one_pass(x, then)? {
        return after(by_constants(x, given, affine, eps, Then::Nothing)?, then);
    }
    if !kernel::on(x.device()) {
        return compose_by_constants(x, given, affine, eps);
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let (y, ()) = flat(x, |x, planes| {
            Ok((plane_card_op::by_constants(x, given, planes, affine, eps, then)?, ()))
        })?;
        return Ok(y);
    }
    let vector = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_vec1::<f64>();
    let [mean, variance] = given;
    let moments = Moments { mean: vector(mean)?, variance: vector(variance)? };
    let (y, ()) = flat(x, |x, planes| {
        let by = ByPlanes::new(planes, moments, eps, From::Running);
        Ok((plane_op::apply(by, x, affine, then)?, ()))
    })?;
    Ok(y)
}

/// Whether what follows can be done in the pass that normalises: by kernels, where `x` has planes.
fn in_one_pass(x: &Tensor, then: Then<'_>) -> Result<bool> {
    if let Then::AddRelu(residual) = then {
        if residual.shape() != x.shape() {
            bail!("the input has shape {:?}, but the residual {:?}", x.shape(), residual.shape())
        }
        check_dtype("batch norm", x.dtype(), ("the residual", residual.dtype()))?;
    }
    Ok(matches!(then, Then::Nothing) || kernel::on(x.device()) && x.rank() > 2)
}

/// What follows, in a pass of its own.
fn after(y: Tensor, then: Then<'_>) -> Result<Tensor> {
    match then {
        Then::Nothing => Ok(y),
        Then::Relu => relu(&y),
        Then::AddRelu(residual) => add_relu(&y, residual),
    }
}

/// Passes `x` contiguous, with planes as long as possible: `[batch, channels]` would have planes of
/// one element, so it is passed as `[channels, batch]`.
fn flat<R>(
    x: &Tensor,
    run: impl FnOnce(&Tensor, Planes) -> Result<(Tensor, R)>,
) -> Result<(Tensor, R)> {
    let over = Over::Batch;
    match *x.dims() {
        [len, channels] => {
            let (y, rest) = run(&x.t()?.contiguous()?, Planes { channels, len, over })?;
            Ok((y.t()?, rest))
        }
        _ => {
            let (channels, len) = (x.dim(1)?, x.dims()[2..].iter().product());
            run(&x.contiguous()?, Planes { channels, len, over })
        }
    }
}

fn check(x: &Tensor, affine: Affine<'_>) -> Result<()> {
    let channels = match *x.dims() {
        [] | [_] => candle_core::bail!(
            "the input has shape {:?}, expected a batch dimension, channels and any further ones",
            x.dims()
        ),
        [_, channels, ..] => channels,
    };
    if x.elem_count() == 0 {
        candle_core::bail!("the input has shape {:?}: nothing to normalise by", x.dims())
    }
    let scales = [("weight", affine.map(|a| a.0)), ("bias", affine.map(|a| a.1))];
    check_scales(x, channels, format_args!("the input has {channels} channels"), scales)
}

fn compose_by_input(
    x: &Tensor,
    over: Over,
    center: Center,
    affine: Affine<'_>,
    eps: f64,
) -> Result<(Tensor, Statistics)> {
    let wide = x.to_dtype(internal_dtype(x.dtype()))?;
    let sets = match over {
        Over::Batch => wide.transpose(0, 1)?,
        Over::Group(size) => wide.reshape((x.dim(0)? * x.dim(1)? / size, ()))?,
    };
    let rows = sets.flatten_from(1)?.contiguous()?;
    let mean = rows.mean_keepdim(1)?;
    let rows = match center {
        Center::Mean => rows.broadcast_sub(&mean)?,
        Center::Zero => rows,
    };
    let variance = rows.sqr()?.mean_keepdim(1)?;
    let rows = rows.broadcast_div(&(&variance + eps)?.sqrt()?)?;
    let hat = match over {
        Over::Batch => rows.reshape(sets.shape())?.transpose(0, 1)?,
        Over::Group(_) => rows.reshape(x.shape())?,
    };
    let vector = |tensor: Tensor| Ok::<_, candle_core::Error>(tensor.flatten_all()?.detach());
    let count = (x.elem_count() / mean.elem_count()) as f64;
    let statistics = Statistics { mean: vector(mean)?, variance: vector(variance)?, count };
    Ok((compose_affine(&hat, affine)?.to_dtype(x.dtype())?, statistics))
}

fn compose_by_constants(
    x: &Tensor,
    [mean, variance]: [&Tensor; 2],
    affine: Affine<'_>,
    eps: f64,
) -> Result<Tensor> {
    let wide = x.to_dtype(internal_dtype(x.dtype()))?;
    let constant = |tensor: &Tensor| per_channel(&tensor.detach(), &wide);
    let deviation = (constant(variance)? + eps)?.sqrt()?;
    let hat = wide.broadcast_sub(&constant(mean)?)?.broadcast_div(&deviation)?;
    compose_affine(&hat, affine)?.to_dtype(x.dtype())
}

fn compose_affine(hat: &Tensor, affine: Affine<'_>) -> Result<Tensor> {
    match affine {
        None => Ok(hat.clone()),
        Some((weight, bias)) => {
            hat.broadcast_mul(&per_channel(weight, hat)?)?.broadcast_add(&per_channel(bias, hat)?)
        }
    }
}

/// A vector over the channels in the shape and type in which it broadcasts to `like`.
fn per_channel(vector: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; like.rank()];
    shape[1] = vector.elem_count();
    vector.to_dtype(like.dtype())?.reshape(shape)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    fn random(shape: &[usize]) -> Result<Var> {
        Var::randn(0.3f64, 1.0, shape, &Device::Cpu)
    }

    fn assert_same(kernel: &Tensor, composed: &Tensor, vars: [&Var; 3]) -> Result<()> {
        // Relative to the largest number of the two, because a small variance makes all of them
        // large.
        let off = |a: &Tensor, b: &Tensor| -> Result<f64> {
            let size = b.abs()?.max_all()?.to_scalar::<f64>()?.max(1.0);
            Ok((a - b)?.abs()?.max_all()?.to_scalar::<f64>()? / size)
        };
        assert!(off(kernel, composed)? < 1e-12);
        let (kernel, composed) = (kernel.powf(3.0)?, composed.powf(3.0)?);
        let (kernel, composed) = (kernel.mean_all()?.backward()?, composed.mean_all()?.backward()?);
        for var in vars {
            match (kernel.get(var), composed.get(var)) {
                (Some(kernel), Some(composed)) => assert!(off(kernel, composed)? < 1e-12),
                (kernel, composed) => assert!(kernel.is_none() && composed.is_none()),
            }
        }
        Ok(())
    }

    #[test]
    fn the_compositions_agree_with_the_kernels() -> Result<()> {
        for shape in [&[5, 4][..], &[3, 4, 7], &[2, 4, 3, 5]] {
            let (x, w, b) = (random(shape)?, random(&[4])?, random(&[4])?);
            for affine in [None, Some((w.as_tensor(), b.as_tensor()))] {
                for center in [Center::Mean, Center::Zero] {
                    for over in [Over::Batch, Over::Group(2), Over::Group(4)] {
                        if shape.len() == 2 && !matches!(over, Over::Batch) {
                            continue;
                        }
                        let (kernel, found) =
                            by_input(&x, over, center, affine, 1e-5, Then::Nothing, None)?;
                        let (composed, expected) =
                            compose_by_input(&x, over, center, affine, 1e-5)?;
                        assert_same(&kernel, &composed, [&x, &w, &b])?;
                        let off = (found.variance - expected.variance)?.abs()?.max_all()?;
                        assert!(off.to_scalar::<f64>()? < 1e-12);
                    }
                }
                let (mean, variance) = (random(&[4])?, random(&[4])?.sqr()?);
                let given = [mean.as_tensor(), &variance];
                let kernel = by_constants(&x, given, affine, 1e-5, Then::Nothing)?;
                let composed = compose_by_constants(&x, given, affine, 1e-5)?;
                assert_same(&kernel, &composed, [&x, &w, &b])?;
            }
        }
        Ok(())
    }
}
