//! Learning-rate schedules: plain functions of training progress.
//!
//! Each function here returns a schedule, which maps a progress in [0, 1] to a share of the base
//! learning rate. Schedules can be nested. Progress is clamped to [0, 1]; NaN gives NaN, which the
//! optimizers here refuse. The share multiplies with `lr_scale` of plans and groups.
//!
//! ```
//! use candle_nn::Optimizer;
//! use freeze_core::optim::{AdamW, lr};
//! # let mut opt = AdamW::new_lr(vec![], 1e-3)?;
//!
//! let schedule = lr::warmup(0.1, lr::cosine(0.01)?)?;
//! for step in 0..100 {
//!     opt.set_learning_rate(1e-3 * schedule(f64::from(step) / 100.0));
//! }
//! # Ok::<(), freeze_core::Error>(())
//! ```

use std::f64::consts::PI;
use std::ops::Bound;

use crate::error::{Result, check_number};

const SHARE: &str = "a number in [0, 1]";

/// Always the base learning rate.
pub fn constant() -> impl Fn(f64) -> f64 + Clone + Send + Sync {
    |progress: f64| if progress.is_nan() { progress } else { 1.0 }
}

/// Linear warm-up from a hundredth to the start value of `then` over the first `share` of training;
/// the rest of training is the whole progress of `then` (Goyal et al. 2017,
/// <https://arxiv.org/abs/1706.02677>).
///
/// The first step already trains: a hundredth is `(step + 1) / steps` for the first of 100 warm-up
/// steps. So does PyTorch's `LinearLR`, which refuses to start at 0; the first step of
/// `get_linear_schedule_with_warmup` of transformers changes nothing.
///
/// # Errors
///
/// `share` is outside [0, 1].
pub fn warmup<F>(share: f64, then: F) -> Result<impl Fn(f64) -> f64 + Clone + Send + Sync>
where
    F: Fn(f64) -> f64 + Clone + Send + Sync,
{
    warmup_from(0.01, share, then)
}

/// As [`warmup`], starting at the share `start` of the start value of `then`: PyTorch's `LinearLR`
/// with `start_factor`, by default a third there.
///
/// # Errors
///
/// `share` is outside [0, 1], or `start` outside (0, 1].
pub fn warmup_from<F>(
    start: f64,
    share: f64,
    then: F,
) -> Result<impl Fn(f64) -> f64 + Clone + Send + Sync>
where
    F: Fn(f64) -> f64 + Clone + Send + Sync,
{
    check_start(start)?;
    check_number("share", share, 0.0..=1.0, SHARE)?;
    Ok(move |progress: f64| {
        let progress = progress.clamp(0.0, 1.0);
        if progress < share {
            then(0.0) * between(start, 1.0, progress / share)
        } else if progress == share {
            then(0.0)
        } else {
            then((progress - share) / (1.0 - share))
        }
    })
}

/// Linear from 1 to `end`.
///
/// # Errors
///
/// `end` lies outside [0, 1].
pub fn linear(end: f64) -> Result<impl Fn(f64) -> f64 + Clone + Send + Sync> {
    check_number("end", end, 0.0..=1.0, SHARE)?;
    Ok(move |progress: f64| between(1.0, end, progress.clamp(0.0, 1.0)))
}

/// From 1 along half a cosine to `end` (Loshchilov and Hutter 2017,
/// <https://arxiv.org/abs/1608.03983>, without restarts).
///
/// # Errors
///
/// `end` lies outside [0, 1].
pub fn cosine(end: f64) -> Result<impl Fn(f64) -> f64 + Clone + Send + Sync> {
    check_number("end", end, 0.0..=1.0, SHARE)?;
    Ok(move |progress: f64| half_cosine(1.0, end, progress.clamp(0.0, 1.0)))
}

/// One cycle: from `start` along half a cosine to 1 over the first `rise` of training, then along
/// another to `end` (Smith and Topin 2018, <https://arxiv.org/abs/1708.07120>, with PyTorch's
/// cosines; its defaults are `one_cycle(0.3, 0.04, 4e-6)`).
///
/// # Errors
///
/// A number is outside [0, 1], or `start` is 0, so that the first step would change nothing.
pub fn one_cycle(
    rise: f64,
    start: f64,
    end: f64,
) -> Result<impl Fn(f64) -> f64 + Clone + Send + Sync> {
    check_number("rise", rise, 0.0..=1.0, SHARE)?;
    check_start(start)?;
    check_number("end", end, 0.0..=1.0, SHARE)?;
    Ok(move |progress: f64| {
        let progress = progress.clamp(0.0, 1.0);
        if progress < rise {
            half_cosine(start, 1.0, progress / rise)
        } else if progress == rise {
            1.0
        } else {
            half_cosine(1.0, end, (progress - rise) / (1.0 - rise))
        }
    })
}

/// Multiplied by `factor` at each of `milestones`, in any order.
///
/// # Errors
///
/// `factor` or a milestone is outside [0, 1].
pub fn step(
    milestones: &[f64],
    factor: f64,
) -> Result<impl Fn(f64) -> f64 + Clone + Send + Sync + use<>> {
    check_number("factor", factor, 0.0..=1.0, SHARE)?;
    for &milestone in milestones {
        check_number("milestone", milestone, 0.0..=1.0, SHARE)?;
    }
    let milestones = milestones.to_vec();
    Ok(move |progress: f64| {
        if progress.is_nan() {
            return progress;
        }
        let passed = milestones.iter().filter(|&&milestone| progress >= milestone).count();
        factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
    })
}

fn check_start(start: f64) -> Result<()> {
    let range = (Bound::Excluded(0.0), Bound::Included(1.0));
    check_number("start", start, range, "a number in (0, 1]")
}

fn between(start: f64, end: f64, share: f64) -> f64 {
    start + (end - start) * share
}

fn half_cosine(start: f64, end: f64, share: f64) -> f64 {
    end + (start - end) * 0.5 * (1.0 + (PI * share).cos())
}
