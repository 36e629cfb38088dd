//! Plane normalisation as an operation of candle's graph.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, Device, Layout, Result, Shape, Tensor, WithDType,
};

use crate::nn::record::{self, Work};

use super::planes::{Moments, Planes, combine, gradient_sums, scale};
use super::{Center, Element, Wanted, by_dtype, cpu_slice, slice};

const NAME: &str = "normalize-planes";

/// Normalises by given moments; the input is `[batch, channels, ..]` and contiguous, on the CPU.
pub(crate) struct PlaneNorm {
    pub(crate) planes: Planes,
    /// The number that is subtracted, for each set of planes.
    pub(crate) mean: Vec<f64>,
    /// One over the standard deviation, for each set of planes.
    pub(crate) rstd: Vec<f64>,
    pub(crate) from: From,
}

/// Where the moments come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// From the input, so that its gradient passes through them.
    Input(Center),
    /// From elsewhere: they are constants.
    Running,
}

impl PlaneNorm {
    pub(crate) fn new(planes: Planes, moments: Moments, eps: f64, from: From) -> Self {
        let rstd = moments.variance.into_iter().map(|v| (v + eps).sqrt().recip()).collect();
        Self { planes, mean: moments.mean, rstd, from }
    }

    /// Applies to an input with or without a weight and a bias per channel.
    pub(crate) fn apply(self, x: &Tensor, affine: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
        match affine {
            None => record::apply1(x, self),
            Some((weight, bias)) => {
                let affine = (&weight.contiguous()?, &bias.contiguous()?);
                record::apply3(x, affine, Work::Elements, self)
            }
        }
    }

    fn forward<T: Element>(
        &self,
        x: (&CpuStorage, &Layout),
        affine: Option<[(&CpuStorage, &Layout); 2]>,
    ) -> Result<(CpuStorage, Shape)> {
        let channels = |i: usize| affine.map(|a| slice::<T>(a[i].0, a[i].1)).transpose();
        let (weight, bias) = (channels(0)?, channels(1)?);
        let out = scale(slice::<T>(x.0, x.1)?, self.planes, |plane| {
            let (set, channel) = (self.planes.set(plane), self.planes.channel(plane));
            let (center, rest) = two_parts::<T>(self.mean[set]);
            let scale = self.rstd[set] * weight.map_or(1.0, |w| w[channel].to_f64());
            let offset = bias.map_or(0.0, |b| b[channel].to_f64());
            [center, scale, offset - rest * scale]
        });
        Ok((T::to_cpu_storage_owned(out), x.1.shape().clone()))
    }

    /// The gradients of input, weight and bias. With `h = grad * weight` and means over the set:
    /// `dx = rstd * (h - mean(h) - x_hat * mean(h * x_hat))`; constant moments leave `rstd * h`.
    fn backward<T: Element>(
        &self,
        x: &Tensor,
        weight: Option<&Tensor>,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Result<[Option<Tensor>; 3]> {
        let Self { planes, mean, rstd, from } = self;
        let weight: Option<Vec<f64>> = weight.map(values::<T>).transpose()?;
        let weight = |plane| weight.as_ref().map_or(1.0, |w| w[planes.channel(plane)]);
        let grad = grad.contiguous()?;
        let (xs, xl) = x.storage_and_layout();
        let (gs, gl) = grad.storage_and_layout();
        let (x_values, grad) = (cpu_slice::<T>(&xs, xl)?, cpu_slice::<T>(&gs, gl)?);

        let through = matches!(from, From::Input(_)) && wanted.input;
        let sums = if through || wanted.weight || wanted.bias {
            let center = |plane| two_parts::<T>(mean[planes.set(plane)]).0;
            gradient_sums(x_values, grad, *planes, center)
        } else {
            Vec::new()
        };
        let (mut dw, mut db) = (vec![0.0; planes.channels], vec![0.0; planes.channels]);
        let (mut h, mut h_hat) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        for (plane, [sum, product]) in sums.iter().enumerate() {
            let (set, channel, weight) = (planes.set(plane), planes.channel(plane), weight(plane));
            let hat = (product - two_parts::<T>(mean[set]).1 * sum) * rstd[set];
            dw[channel] += hat;
            db[channel] += sum;
            h[set] += weight * sum;
            h_hat[set] += weight * hat;
        }
        let count = x_values.len() as f64 / mean.len() as f64;
        let input = wanted.input.then(|| {
            combine(x_values, grad, *planes, |plane| {
                let set = planes.set(plane);
                let (center, rest) = two_parts::<T>(mean[set]);
                let scale = rstd[set] * weight(plane);
                let slope = match from {
                    From::Input(_) => -rstd[set] * rstd[set] * h_hat[set] / count,
                    From::Running => return [center, 0.0, scale, 0.0],
                };
                let offset = match from {
                    From::Input(Center::Mean) => -rstd[set] * h[set] / count,
                    From::Input(Center::Zero) | From::Running => 0.0,
                };
                [center, slope, scale, offset - rest * slope]
            })
        });
        let channels = |values: Vec<f64>| {
            let values: Vec<T> = values.into_iter().map(T::from_f64).collect();
            Tensor::from_vec(values, planes.channels, &Device::Cpu)
        };
        Ok([
            input.map(|dx| Tensor::from_vec(dx, x.shape(), &Device::Cpu)).transpose()?,
            wanted.weight.then(|| channels(dw)).transpose()?,
            wanted.bias.then(|| channels(db)).transpose()?,
        ])
    }
}

/// The nearest number of the arithmetic's type, and what is missing from it.
fn two_parts<T: Element>(mean: f64) -> (f64, f64) {
    let near = T::Real::from_f64(mean).to_f64();
    (near, mean - near)
}

fn values<T: Element>(tensor: &Tensor) -> Result<Vec<f64>> {
    let (storage, layout) = tensor.storage_and_layout();
    Ok(cpu_slice::<T>(&storage, layout)?.iter().map(|value| value.to_f64()).collect())
}

impl CustomOp1 for PlaneNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), NAME, T => self.forward::<T>((x, xl), None))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let wanted = Wanted { input: x.track_op(), weight: false, bias: false };
        let [x, _, _] = by_dtype!(x.dtype(), NAME, T => self.backward::<T>(x, None, grad, wanted))?;
        Ok(x)
    }
}

impl CustomOp3 for PlaneNorm {
    fn name(&self) -> &'static str {
        NAME
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
        let affine = Some([(w, wl), (b, bl)]);
        by_dtype!(x.dtype(), NAME, T => self.forward::<T>((x, xl), affine))
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
        let [x, weight, bias] =
            by_dtype!(x.dtype(), NAME, T => self.backward::<T>(x, Some(weight), grad, wanted))?;
        Ok((x, weight, bias))
    }
}
