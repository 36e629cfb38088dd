//! Normalisation of planes by given moments, with a weight and a bias per channel.

use candle_core::{Result, WithDType};

use super::Center;
use super::across::Across;
use super::planes::{Moments, Planes, combine, gradient_sums, passed_sum, scale};
use crate::kernel::{Element, Real, passed, rectified};

/// The moments to normalise by.
pub(crate) struct ByPlanes {
    planes: Planes,
    /// The number that is subtracted, for each set of planes.
    mean: Vec<f64>,
    /// One over the standard deviation, for each set of planes.
    rstd: Vec<f64>,
    from: From,
    /// The ranks that the moments are over, if there are several.
    across: Option<Across>,
}

/// Weight and bias, one of each per channel.
pub(crate) type Affine<'a, T> = [Option<&'a [T]>; 2];

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
        Self { planes, mean: moments.mean, rstd, from, across: None }
    }

    /// The same for moments over several ranks.
    pub(crate) fn across(self, across: Option<Across>) -> Self {
        Self { across, ..self }
    }

    /// `(x - mean) * rstd * weight + bias`.
    pub(crate) fn forward<T: Element>(&self, x: &[T], affine: Affine<'_, T>) -> Vec<T> {
        self.scaled([x], affine, first)
    }

    /// As [`forward`](Self::forward), rectified.
    pub(crate) fn forward_relu<T: Element>(&self, x: &[T], affine: Affine<'_, T>) -> Vec<T> {
        self.scaled([x], affine, rectified_first)
    }

    /// As [`forward`](Self::forward), plus `residual`, rectified.
    pub(crate) fn forward_add_relu<T: Element>(
        &self,
        x: &[T],
        residual: &[T],
        affine: Affine<'_, T>,
    ) -> Vec<T> {
        self.scaled([x, residual], affine, rectified_sum)
    }

    fn scaled<T: Element, const N: usize>(
        &self,
        operands: [&[T]; N],
        affine: Affine<'_, T>,
        then: impl Fn(T::Real, T::Real) -> T::Real + Sync,
    ) -> Vec<T> {
        let mut y = vec![T::zero(); operands[0].len()];
        let terms = |plane| self.terms(plane, affine);
        scale(T::numbers_mut(&mut y), operands.map(T::numbers), self.planes, &terms, then);
        y
    }

    /// What is subtracted, by what it is multiplied, and what is added.
    fn terms<T: Element>(&self, plane: usize, [weight, bias]: Affine<'_, T>) -> [f64; 3] {
        let (set, channel) = (self.planes.set(plane), self.planes.channel(plane));
        let (center, rest) = two_parts::<T>(self.mean[set]);
        let scale = self.rstd[set] * weight.map_or(1.0, |w| w[channel].to_f64());
        let offset = bias.map_or(0.0, |b| b[channel].to_f64());
        [center, scale, offset - rest * scale]
    }

    /// The gradients of input, weight and bias that are wanted.
    ///
    /// # Errors
    ///
    /// Another rank failed.
    pub(crate) fn backward<T: Element>(
        &self,
        x: &[T],
        affine: Affine<'_, T>,
        grad: &[T],
        wanted: [bool; 3],
    ) -> Result<[Option<Vec<T>>; 3]> {
        self.gradients(x, affine, grad, wanted, second)
    }

    /// As [`backward`](Self::backward) of [`forward_relu`](Self::forward_relu).
    pub(crate) fn backward_relu<T: Element>(
        &self,
        x: &[T],
        affine: Affine<'_, T>,
        grad: &[T],
        wanted: [bool; 3],
    ) -> Result<[Option<Vec<T>>; 3]> {
        self.gradients(x, affine, grad, wanted, passed)
    }

    /// The gradient of the sum that [`forward_add_relu`](Self::forward_add_relu) rectifies.
    pub(crate) fn backward_of_sum<T: Element>(
        &self,
        x: &[T],
        residual: &[T],
        affine: Affine<'_, T>,
        grad: &[T],
    ) -> Vec<T> {
        let mut dx = vec![T::zero(); x.len()];
        let (to, operands) = (T::numbers_mut(&mut dx), [x, residual, grad].map(T::numbers));
        passed_sum(to, operands, self.planes, &|plane| self.terms(plane, affine));
        dx
    }

    /// The gradients of what passes the gate. With `h = grad * weight` and means over
    /// the set: `dx = rstd * (h - mean(h) - x_hat * mean(h * x_hat))`; constant moments leave `rstd * h`.
    fn gradients<T: Element>(
        &self,
        x: &[T],
        affine: Affine<'_, T>,
        grad: &[T],
        [input, weighted, biased]: [bool; 3],
        gate: impl Fn(T::Real, T::Real) -> T::Real + Copy + Sync,
    ) -> Result<[Option<Vec<T>>; 3]> {
        let Self { planes, mean, rstd, from, across } = self;
        let [weight, _] = affine;
        let weight: Option<Vec<f64>> = weight.map(|w| w.iter().map(|w| w.to_f64()).collect());
        let weight = |plane| weight.as_ref().map_or(1.0, |w| w[planes.channel(plane)]);

        let through = matches!(from, From::Input(_)) && input;
        let sums = if through || weighted || biased {
            let terms = |plane| self.terms(plane, affine);
            gradient_sums([x, grad].map(T::numbers), *planes, &terms, gate)
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
        let mut count = x.len() as f64 / mean.len() as f64;
        if let Some(across) = across.as_ref().filter(|_| through) {
            across.add_up(&mut h, &mut h_hat)?;
            count = across.count;
        }
        let input = input.then(|| {
            let terms = |plane| {
                let set = planes.set(plane);
                let [center, scale, offset] = self.terms(plane, affine);
                let factor = rstd[set] * weight(plane);
                let (slope, rest) = match from {
                    From::Input(about) => {
                        let slope = -rstd[set] * rstd[set] * h_hat[set] / count;
                        let mean_h = match about {
                            Center::Mean => -rstd[set] * h[set] / count,
                            Center::Zero => 0.0,
                        };
                        (slope, mean_h - two_parts::<T>(mean[set]).1 * slope)
                    }
                    From::Running => (0.0, 0.0),
                };
                [center, scale, offset, slope, factor, rest]
            };
            let mut dx = vec![T::zero(); x.len()];
            let (to, operands) = (T::numbers_mut(&mut dx), [x, grad].map(T::numbers));
            combine(to, operands, *planes, &terms, gate);
            dx
        });
        let channels = |values: Vec<f64>| values.into_iter().map(T::from_f64).collect();
        Ok([input, weighted.then(|| channels(dw)), biased.then(|| channels(db))])
    }
}

#[inline(always)]
fn first<R: Real>(y: R, _: R) -> R {
    y
}

#[inline(always)]
fn second<R: Real>(_: R, grad: R) -> R {
    grad
}

#[inline(always)]
fn rectified_first<R: Real>(y: R, _: R) -> R {
    rectified(y)
}

#[inline(always)]
fn rectified_sum<R: Real>(y: R, residual: R) -> R {
    rectified(y + residual)
}

/// The nearest number in the type of arithmetic, and the remainder.
fn two_parts<T: Element>(mean: f64) -> (f64, f64) {
    let near = T::Real::from_f64(mean).to_f64();
    (near, mean - near)
}
