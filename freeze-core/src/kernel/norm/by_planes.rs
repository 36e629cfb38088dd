//! Normalisation of planes by given moments, with a weight and a bias per channel.

use candle_core::WithDType;

use super::Center;
use super::planes::{Moments, Planes, combine, gradient_sums, scale};
use crate::kernel::Element;

/// The moments to normalise by.
pub(crate) struct ByPlanes {
    planes: Planes,
    /// The number that is subtracted, for each set of planes.
    mean: Vec<f64>,
    /// One over the standard deviation, for each set of planes.
    rstd: Vec<f64>,
    from: From,
}

/// The source of the moments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// From the input, so that its gradient passes through them.
    Input(Center),
    /// From elsewhere, so they are constants.
    Running,
}

impl ByPlanes {
    pub(crate) fn new(planes: Planes, moments: Moments, eps: f64, from: From) -> Self {
        let rstd = moments.variance.into_iter().map(|v| (v + eps).sqrt().recip()).collect();
        Self { planes, mean: moments.mean, rstd, from }
    }

    /// `(x - mean) * rstd * weight + bias`.
    pub(crate) fn forward<T: Element>(
        &self,
        x: &[T],
        weight: Option<&[T]>,
        bias: Option<&[T]>,
    ) -> Vec<T> {
        scale(x, self.planes, |plane| {
            let (set, channel) = (self.planes.set(plane), self.planes.channel(plane));
            let (center, rest) = two_parts::<T>(self.mean[set]);
            let scale = self.rstd[set] * weight.map_or(1.0, |w| w[channel].to_f64());
            let offset = bias.map_or(0.0, |b| b[channel].to_f64());
            [center, scale, offset - rest * scale]
        })
    }

    /// The gradients of input, weight and bias that are wanted. With `h = grad * weight` and means over
    /// the set: `dx = rstd * (h - mean(h) - x_hat * mean(h * x_hat))`; constant moments leave `rstd * h`.
    pub(crate) fn backward<T: Element>(
        &self,
        x: &[T],
        weight: Option<&[T]>,
        grad: &[T],
        [input, weighted, biased]: [bool; 3],
    ) -> [Option<Vec<T>>; 3] {
        let Self { planes, mean, rstd, from } = self;
        let weight: Option<Vec<f64>> = weight.map(|w| w.iter().map(|w| w.to_f64()).collect());
        let weight = |plane| weight.as_ref().map_or(1.0, |w| w[planes.channel(plane)]);

        let through = matches!(from, From::Input(_)) && input;
        let sums = if through || weighted || biased {
            let center = |plane| two_parts::<T>(mean[planes.set(plane)]).0;
            gradient_sums(x, grad, *planes, center)
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
        let count = x.len() as f64 / mean.len() as f64;
        let input = input.then(|| {
            combine(x, grad, *planes, |plane| {
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
        let channels = |values: Vec<f64>| values.into_iter().map(T::from_f64).collect();
        [input, weighted.then(|| channels(dw)), biased.then(|| channels(db))]
    }
}

/// The nearest number in the type of arithmetic, and the remainder.
fn two_parts<T: Element>(mean: f64) -> (f64, f64) {
    let near = T::Real::from_f64(mean).to_f64();
    (near, mean - near)
}
