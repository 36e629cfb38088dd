//! The plasticity of each stage from evaluation to evaluation, and which are frozen.

use serde::{Deserialize, Serialize};

use super::memory::percent;
use super::similarity::{plasticity, similarities, slope};
use crate::error::{Error, Result};
use crate::policy::Output;

/// When a stage is stable.
#[derive(Clone, Copy)]
pub(super) struct Stable {
    /// Over how many evaluations plasticity is averaged.
    pub(super) average: usize,
    /// Up to which share of its first trend a stage is quiet.
    pub(super) share: f64,
    /// After how many evaluations the reference is taken anew.
    pub(super) refresh: usize,
}

/// What is remembered of the stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Track {
    /// The number of averages in a trend, and of quiet evaluations before a stage freezes.
    window: usize,
    /// The evaluations since the reference was taken.
    since: usize,
    stages: Vec<Stage>,
    /// Why each frozen stage froze, from the front.
    why: Vec<String>,
    /// How many evaluations in a row the frontmost stage that trains was quiet.
    quiet: usize,
    /// The trend of the stage that was frontmost at the last evaluation, and its threshold.
    last: Option<(f64, f64)>,
}

/// A stage with leaves of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// The number of leaves up to its end.
    leaves: usize,
    reference: Vec<f64>,
    /// The last values of its plasticity.
    values: Vec<f64>,
    /// The last averages of these.
    averages: Vec<f64>,
    /// The size of its first trend.
    first: Option<f64>,
}

impl Track {
    pub(super) fn new(window: usize) -> Self {
        let (stages, why) = (Vec::new(), Vec::new());
        Self { window, since: 0, stages, why, quiet: 0, last: None }
    }

    /// Takes the outputs of one evaluation. After an error it is of no use.
    pub(super) fn evaluate(&mut self, outputs: &[Output], stable: Stable) -> Result<()> {
        let mut now: Vec<(usize, Vec<f64>)> = Vec::new();
        for Output { leaves, tensor } in outputs {
            if *leaves > now.last().map_or(0, |(before, _)| *before) {
                now.push((*leaves, similarities(tensor)?));
            }
        }
        if self.stages.is_empty() {
            self.stages = now.into_iter().map(Stage::new).collect();
            return Ok(());
        }
        if !now.iter().map(|(leaves, _)| leaves).eq(self.stages.iter().map(|s| &s.leaves)) {
            return Err(differs("the probe shows other stages than at its first evaluation"));
        }
        self.since += 1;
        for (stage, (_, similarities)) in self.stages.iter_mut().zip(now) {
            let value = plasticity(&similarities, &stage.reference);
            let value =
                value.ok_or_else(|| differs("the probe batch has another size than before"))?;
            stage.push(value, stable.average, self.window);
            if self.since >= stable.refresh {
                stage.reference = similarities;
            }
        }
        if self.since >= stable.refresh {
            self.since = 0;
        }
        self.look_at_front(stable.share);
        Ok(())
    }

    /// Freezes the frontmost stage that trains if it has been quiet for long enough.
    fn look_at_front(&mut self, share: f64) {
        let window = self.window;
        let trends: Vec<Option<(f64, f64)>> =
            self.stages.iter_mut().map(|stage| stage.trend(window)).collect();
        let front = self.why.len();
        let Some((slope, first)) = trends.get(front).copied().flatten() else { return };
        self.last = Some((slope, share * first));
        self.quiet = if slope.abs() <= share * first { self.quiet + 1 } else { 0 };
        if self.quiet >= window && front + 1 < self.stages.len() {
            self.quiet = 0;
            self.why.push(format!(
                "froze: its plasticity has a slope of {slope:.3e}, within {} of its first, {first:.3e}, \
                 for {window} evaluations",
                percent(share)
            ));
        }
    }

    /// Thaws everything, and halves the window.
    pub(super) fn thaw(&mut self) {
        self.window = (self.window / 2).max(2);
        (self.quiet, self.last) = (0, None);
        self.why.clear();
        for stage in &mut self.stages {
            stage.values.clear();
            stage.averages.clear();
        }
    }

    /// The frozen leaves, with reasons.
    pub(super) fn front(&self) -> Vec<(usize, String)> {
        let mut front = Vec::new();
        for (stage, text) in self.stages.iter().zip(&self.why) {
            front.extend((front.len()..stage.leaves).map(|leaf| (leaf, text.clone())));
        }
        front
    }

    /// The last trend of the frontmost stage, and its threshold.
    pub(super) fn last(&self) -> Option<(f64, f64)> {
        self.last
    }
}

impl Stage {
    fn new((leaves, reference): (usize, Vec<f64>)) -> Self {
        Self { leaves, reference, values: vec![], averages: vec![], first: None }
    }

    fn push(&mut self, value: f64, average: usize, window: usize) {
        push(&mut self.values, value, average);
        let mean = self.values.iter().sum::<f64>() / self.values.len() as f64;
        push(&mut self.averages, mean, window);
    }

    /// Its trend now and the size of its first; `None` before there is a second.
    fn trend(&mut self, window: usize) -> Option<(f64, f64)> {
        if self.averages.len() < window {
            return None;
        }
        let slope = slope(&self.averages);
        match self.first {
            Some(first) => Some((slope, first)),
            None => {
                self.first = Some(slope.abs());
                None
            }
        }
    }
}

/// Adds a value and forgets all but the last `keep`.
fn push(values: &mut Vec<f64>, value: f64, keep: usize) {
    values.push(value);
    values.drain(..values.len().saturating_sub(keep));
}

fn differs(why: &str) -> Error {
    Error::policy("plasticity", format!("{why}; let `probe` compute the same batch each time"))
}
