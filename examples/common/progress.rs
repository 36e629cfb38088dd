//! A progress bar with the leaves that train and an estimate of the time left; without a terminal only
//! its lines are printed.

use freeze_core::{FreezePlan, LeafState};
use indicatif::{ProgressBar, ProgressStyle};

use super::Result;

/// The most characters for the leaves.
const MOST: usize = 24;

/// A bar over `steps` steps, with `what` in front. Nothing is drawn where standard error is not a
/// terminal.
///
/// # Errors
///
/// Never: the template is a constant.
pub(crate) fn bar(what: &str, steps: usize) -> Result<ProgressBar> {
    let template = "{prefix}  {msg}  {bar:16} {pos}/{len}  {eta} left";
    let bar = ProgressBar::new(steps as u64).with_prefix(what.to_string());
    bar.set_style(ProgressStyle::with_template(template)?.progress_chars("━╸─"));
    Ok(bar)
}

/// As [`bar`] for the rank that `leads`; others show none.
///
/// # Errors
///
/// As [`bar`].
pub(crate) fn bar_of_leader(leads: bool, what: &str, steps: usize) -> Result<ProgressBar> {
    if leads { bar(what, steps) } else { Ok(ProgressBar::hidden()) }
}

/// One step more, under `plan`.
pub(crate) fn step(bar: &ProgressBar, plan: &FreezePlan) {
    bar.set_message(leaves(plan));
    bar.inc(1);
}

/// Prints a line above the bar; without a terminal too.
pub(crate) fn say(bar: &ProgressBar, line: &str) {
    bar.suspend(|| println!("{line}"));
}

/// As [`say`], to standard error.
pub(crate) fn complain(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("{line}"));
}

/// Prints the line of an epoch where no bar is drawn, as in a pipe; where there is one, only that of the
/// `last` epoch stays, in place of the bar.
pub(crate) fn epoch(bar: &ProgressBar, last: bool, line: &str) {
    let drawn = !bar.is_hidden();
    if last {
        bar.finish_and_clear();
    }
    if last || !drawn {
        println!("{line}");
    }
}

/// One character for each leaf: `█` trained, `▒` at another share of the learning rate, `·` frozen. Where
/// there are many, each stands for several neighbours, and for the one of them that trains most.
pub(crate) fn leaves(plan: &FreezePlan) -> String {
    let rate = |state: &LeafState| match state {
        LeafState::Frozen => 0.0,
        LeafState::Trained { lr_scale } => *lr_scale,
    };
    let shade = |states: &[LeafState]| match states.iter().map(rate).fold(0.0, f64::max) {
        0.0 => '·',
        1.0 => '█',
        _ => '▒',
    };
    plan.states().chunks(plan.len().div_ceil(MOST).max(1)).map(shade).collect()
}
