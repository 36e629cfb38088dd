//! A progress bar with an estimate of the time left; without a terminal only its lines are printed.

use indicatif::{ProgressBar, ProgressStyle};

use super::Result;

/// A bar over `steps` steps, with `what` in front. Nothing is drawn where standard error is not a
/// terminal.
///
/// # Errors
///
/// Never: the template is a constant.
pub(crate) fn bar(what: &str, steps: usize) -> Result<ProgressBar> {
    let template = "{prefix}  {bar:32} {pos}/{len}  {elapsed} gone, {eta} left  {msg}";
    let bar = ProgressBar::new(steps as u64).with_prefix(what.to_string());
    bar.set_style(ProgressStyle::with_template(template)?.progress_chars("━╸─"));
    Ok(bar)
}

/// Prints a line above the bar; without a terminal too.
pub(crate) fn say(bar: &ProgressBar, line: &str) {
    bar.suspend(|| println!("{line}"));
}
