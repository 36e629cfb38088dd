//! Who trained when, as a picture in the terminal.

use std::sync::{Arc, Mutex};

use freeze_core::{Elapsed, FreezePlan, LeafState, MetricSink, Reason};

/// The most columns of the picture.
const COLUMNS: usize = 60;

/// From frozen to the full learning rate.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];

/// The share of the learning rate of each leaf in each step.
#[derive(Default)]
pub(crate) struct Picture {
    steps: Vec<Vec<f64>>,
}

impl Picture {
    /// Adds a step under `plan`.
    pub(crate) fn step(&mut self, plan: &FreezePlan) {
        let rate = |state: &LeafState| match state {
            LeafState::Frozen => 0.0,
            LeafState::Trained { lr_scale } => *lr_scale,
        };
        self.steps.push(plan.states().iter().map(rate).collect());
    }

    /// A row for each leaf, a column for each slice of time; the number is the share of the steps in which
    /// the leaf trained.
    pub(crate) fn draw(&self, paths: &[String]) -> String {
        let width = paths.iter().map(String::len).max().unwrap_or(0);
        let size = self.steps.len().div_ceil(COLUMNS).max(1);
        let mut text = format!(
            "one column is {size} of {} steps: {}\n\n",
            self.steps.len(),
            "frozen ·, below a quarter of the learning rate ░, half ▒, three quarters ▓, above █",
        );
        for (leaf, path) in paths.iter().enumerate() {
            let rates = || self.steps.iter().filter_map(move |step| step.get(leaf).copied());
            let trained = rates().filter(|&rate| rate > 0.0).count();
            let share = 100.0 * trained as f64 / self.steps.len().max(1) as f64;
            let rates: Vec<f64> = rates().collect();
            let row: String = rates.chunks(size).map(shade).collect();
            text += &format!("{path:width$}  {row}  {share:3.0} %\n");
        }
        text
    }
}

/// The shade of the mean rate of some steps.
fn shade(rates: &[f64]) -> char {
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    match mean {
        0.0 => SHADES[0],
        mean => SHADES[1 + ((4.0 * mean) as usize).min(3)],
    }
}

/// The reasons that the policy gave, each with the step after which it did.
#[derive(Clone, Default)]
pub(crate) struct Reasons(Arc<Mutex<Vec<(usize, Reason)>>>);

impl Reasons {
    /// The first `most` as lines, and how many more there are.
    pub(crate) fn lines(&self, most: usize) -> Vec<String> {
        let reasons = self.0.lock().map(|reasons| reasons.clone()).unwrap_or_default();
        let line = |(step, reason): &(usize, Reason)| format!("after step {step:4}: {reason}");
        let mut lines: Vec<String> = reasons.iter().take(most).map(line).collect();
        if reasons.len() > most {
            lines.push(format!("and {} more", reasons.len() - most));
        }
        lines
    }
}

impl MetricSink for Reasons {
    fn record(&mut self, _: &str, _: f64, _: Elapsed) -> freeze_core::Result<()> {
        Ok(())
    }

    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> freeze_core::Result<()> {
        if let Ok(mut reasons) = self.0.lock() {
            reasons.push((elapsed.step, reason.clone()));
        }
        Ok(())
    }
}
