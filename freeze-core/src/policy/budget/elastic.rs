//! The arithmetic of ElasticTrainer and GreenTrainer, on given times.

use super::bound::Item;
use super::knapsack::{Start, best};
use crate::error::{Error, Result, check_number};

/// The importance of each tensor relative to the largest, `I_k / max |I|`, from the first-order drops
/// of the loss, `I_k = -sum(g_k * dw_k)`.
///
/// ```
/// use freeze_core::policy::relative_importance;
///
/// assert_eq!(relative_importance(&[-0.5, 2.0, 1.0]), [-0.25, 1.0, 0.5]);
/// assert_eq!(relative_importance(&[0.0, 0.0]), [0.0, 0.0]);
/// ```
///
/// Where all drops are 0 the official code divides 0 by 0; here all are then 0.
pub fn relative_importance(drops: &[f64]) -> Vec<f64> {
    let largest = drops.iter().fold(0.0, |largest: f64, drop| largest.max(drop.abs()));
    let scale = |drop: &f64| if largest > 0.0 { drop / largest } else { 0.0 };
    drops.iter().map(scale).collect()
}

/// The share of the backward that may be spent if the step may take the share `rho` of a full one and
/// the forward takes `forward` times the full backward: `rho * (1 + forward) - forward`.
///
/// GreenTrainer measures `forward`. ElasticTrainer takes it to be 1/2, where this is
/// `(rho - 1/3) * 3/2`. It is negative where the forward alone takes longer than `rho` allows.
/// GreenTrainer's code makes 0.05 of that, which exceeds the budget, and ElasticTrainer's fails.
pub fn backward_share(rho: f64, forward: f64) -> f64 {
    rho * (1.0 + forward) - forward
}

/// The tensors, by index from the input on, whose training brings the most within a limit of time:
/// those with the greatest
///
/// ```text
/// sum over chosen k of importance_k
/// where sum over chosen k of t_dw_k + sum over all k >= the first chosen one of t_dy_k <= limit
/// ```
///
/// `t_dw` is the time of each tensor's own gradient, `t_dy` the time to pass the gradient through it.
/// A tensor with an importance of 0 or less is never chosen. Sums exceed `limit` by no more than
/// rounding may add to the time of everything.
///
/// ```
/// use freeze_core::policy::select_within;
///
/// let (importance, t_dw, t_dy) = ([0.9, 0.1, 0.5], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]);
/// assert_eq!(select_within(&importance, &t_dw, &t_dy, 3.0)?, [2]);
/// assert_eq!(select_within(&importance, &t_dw, &t_dy, 5.0)?, [0, 2]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Huang et al., "ElasticTrainer", 2023 (arXiv:2312.14227), Huang et al., "GreenTrainer", 2023
/// (arXiv:2309.13192), and their codes, `selection_DP`. The official dynamic program works on times
/// rounded to thousandths and may choose a set up to 15 % below the best one, exceed the limit by the
/// rounding, and never chooses the first tensor; this finds the best set, or, of many tensors, one close
/// to it.
///
/// # Errors
///
/// The lists differ in length, an importance is infinite or NaN, or a time is negative, infinite or NaN.
pub fn select_within(
    importance: &[f64],
    t_dw: &[f64],
    t_dy: &[f64],
    limit: f64,
) -> Result<Vec<usize>> {
    let tensors = importance.len();
    for (name, given) in [("t_dw", t_dw), ("t_dy", t_dy)] {
        if given.len() != tensors {
            return Err(Error::count(name, given.len(), "as many as there are importances"));
        }
        let time = |&time: &f64| check_number(name, time, 0.0.., "finite times of at least 0");
        given.iter().try_for_each(time)?;
    }
    let finite = |&number: &f64| check_number("importance", number, .., "finite numbers");
    importance.iter().try_for_each(finite)?;
    // From the output on, so that what may be added to a tensor stands in front of it.
    let order = || (0..tensors).rev();
    let item = |k: usize| Item { value: importance[k], cost: [t_dw[k], 0.0] };
    let items: Vec<Item> = order().map(item).collect();
    let mut passed = 0.0;
    let start = |(place, k): (usize, usize)| {
        passed += t_dy[k];
        Start { value: importance[k], cost: [passed + t_dw[k], 0.0], items: place }
    };
    let mut starts: Vec<Start> = order().enumerate().map(start).collect();
    starts.push(Start { value: 0.0, cost: [0.0; 2], items: 0 });
    let all: f64 = t_dw.iter().chain(t_dy).sum();
    let found = best(&items, &starts, [limit + all * 1e-12, f64::INFINITY]);
    let Some(found) = found.filter(|found| found.start < tensors) else { return Ok(Vec::new()) };
    let chosen = found.items.into_iter().chain([found.start]);
    let mut chosen: Vec<usize> = chosen.map(|place| tensors - 1 - place).collect();
    chosen.sort_unstable();
    Ok(chosen)
}
