//! The position of a run: plain data that is saved with it.

use serde::{Deserialize, Serialize};

use super::report::Spent;
use super::stop::{Patience, Stopped};
use crate::error::{Error, Result};
use crate::policy::Elapsed;

/// The counts of epochs, losses and steps, and the sum for the epoch's mean loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Clock {
    pub(super) length: Length,
    /// Epochs completed.
    pub(super) epoch: usize,
    /// Whether an epoch is in progress.
    pub(super) within: bool,
    /// Losses taken in the current epoch.
    pub(super) losses: usize,
    /// Optimizer steps completed.
    pub(super) step: usize,
    /// Optimizer steps completed when the epoch began.
    pub(super) step_at_epoch: usize,
    /// The number of finite losses in the epoch, and their sum.
    pub(super) finite: usize,
    pub(super) loss_sum: f64,
    /// What was taken of the epoch before the step under way.
    #[serde(default)]
    pub(super) step_began: Option<Taken>,
    /// The time of the epoch up to its last loss.
    #[serde(default)]
    pub(super) spent: Spent,
    /// Losses and updates that were skipped, over the whole run.
    pub(super) left_out: u64,
    pub(super) seed: u64,
    /// That of the epochs to come, if it is another.
    #[serde(default)]
    pub(super) next_seed: Option<u64>,
    pub(super) patience: Patience,
    pub(super) stopped: Option<Stopped>,
    /// Whether the policy was asked before its first epoch.
    #[serde(default = "yes")]
    pub(super) asked: bool,
    /// In a checkpoint of several ranks: how far each has drawn from each dropout, which differs where their batches do.
    #[serde(default)]
    pub(super) drawn: Vec<Vec<u64>>,
}

/// Of a checkpoint that does not say so.
fn yes() -> bool {
    true
}

/// What was taken of an epoch: how many losses, and of the finite ones the number and the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Taken {
    losses: usize,
    finite: usize,
    loss_sum: f64,
}

/// The length of a run, and how many losses make a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Length {
    /// 0 until it is set.
    pub(super) epochs: usize,
    /// Batches in an epoch.
    pub(super) batches: usize,
    /// Batches in an optimizer step.
    pub(super) accumulate: usize,
    /// Losses for each batch.
    pub(super) turns: usize,
}

impl Default for Length {
    fn default() -> Self {
        Self { epochs: 0, batches: 0, accumulate: 1, turns: 1 }
    }
}

impl Length {
    /// Losses in an epoch.
    pub(super) fn losses(&self) -> usize {
        self.batches.saturating_mul(self.turns)
    }

    /// Losses in an optimizer step. With several turns each loss is an update of its own, unless
    /// batches are accumulated.
    fn losses_per_step(&self) -> usize {
        match self.accumulate {
            1 => 1,
            n => n.saturating_mul(self.turns),
        }
    }

    /// Optimizer steps in an epoch: the last may have fewer batches.
    fn steps(&self) -> usize {
        self.losses().div_ceil(self.losses_per_step())
    }
}

impl Clock {
    /// Completed epochs and steps, with totals by the present length.
    pub(super) fn elapsed(&self) -> Elapsed {
        let left = self.length.epochs.saturating_sub(self.epoch);
        let steps = self.step_at_epoch.saturating_add(left.saturating_mul(self.length.steps()));
        Elapsed::new(self.epoch, self.length.epochs).at_step(self.step, steps)
    }

    /// The middle of the next step, as a share of the run's steps.
    pub(super) fn middle_of_step(&self) -> f64 {
        let Elapsed { step, steps, .. } = self.elapsed();
        (step as f64 + 0.5) / steps as f64
    }

    /// Batches of the epoch that are done.
    pub(super) fn batches_done(&self) -> usize {
        self.losses / self.length.turns
    }

    /// Whether the next loss is the last of an optimizer step.
    pub(super) fn step_is_due(&self) -> bool {
        let losses = self.losses + 1;
        losses.is_multiple_of(self.length.losses_per_step()) || losses == self.length.losses()
    }

    pub(super) fn epoch_is_full(&self) -> bool {
        self.losses == self.length.losses()
    }

    /// The mean of the epoch's finite losses; NaN without one.
    pub(super) fn mean_loss(&self) -> f64 {
        self.loss_sum / self.finite as f64
    }

    /// Counts a loss.
    pub(super) fn took(&mut self, loss: Option<f64>) {
        self.losses += 1;
        match loss {
            Some(loss) => {
                self.finite += 1;
                self.loss_sum += loss;
            }
            None => self.left_out += 1,
        }
    }

    /// Counts a step.
    pub(super) fn stepped(&mut self) {
        self.step += 1;
        self.step_began = Some(self.taken());
    }

    /// Goes back to where the step under way began: what was accumulated for it is lost, so its losses come again.
    pub(super) fn back_to_step(&mut self) {
        if let Some(began) = self.step_began {
            (self.losses, self.finite, self.loss_sum) =
                (began.losses, began.finite, began.loss_sum);
        }
    }

    fn taken(&self) -> Taken {
        Taken { losses: self.losses, finite: self.finite, loss_sum: self.loss_sum }
    }

    /// The progress behind each step of the last batch, the last one first.
    pub(super) fn ends_of_steps_of_batch(&self) -> impl Iterator<Item = Elapsed> {
        let at = self.elapsed();
        let steps = if self.length.accumulate == 1 { self.length.turns } else { 1 };
        (0..steps).map(move |back| Elapsed { step: at.step.saturating_sub(back), ..at })
    }

    /// Whether all losses of the last batch have been taken.
    pub(super) fn batch_is_whole(&self) -> bool {
        self.losses.is_multiple_of(self.length.turns)
    }

    /// Begins an epoch, or continues an unfinished one.
    ///
    /// # Errors
    ///
    /// The unfinished epoch was left between two losses of a batch.
    pub(super) fn begin_epoch(&mut self) -> Result<()> {
        if !self.batch_is_whole() {
            return Err(Error::training(format!(
                "a batch was left after {} of its {} losses, which have moved their parameters; give \
                 the others, or go on from a checkpoint",
                self.losses % self.length.turns,
                self.length.turns
            )));
        }
        if self.losses == 0 {
            self.step_began = Some(Taken::default());
        }
        self.within = true;
        Ok(())
    }

    /// Whether the run has no further epoch.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.is_some() || self.epoch >= self.length.epochs
    }

    pub(super) fn end_epoch(&mut self) {
        self.epoch += 1;
        self.seed = self.next_seed.take().unwrap_or(self.seed);
        self.step_at_epoch = self.step;
        (self.within, self.losses, self.finite, self.loss_sum) = (false, 0, 0, 0.0);
        self.spent = Spent::default();
    }

    /// The saved clock under the length of this run.
    ///
    /// # Errors
    ///
    /// The run is shorter than what is already done, its epochs have different lengths and one is in
    /// progress, or the counts cannot be those of a run.
    pub(super) fn resumed(&self, saved: Self) -> std::result::Result<Self, String> {
        let (ours, theirs) = (self.length, saved.length);
        if saved.epoch.saturating_add(usize::from(saved.losses > 0)) > ours.epochs {
            let (done, epochs) = (saved.epoch, ours.epochs);
            return Err(format!(
                "{done} epochs and {} losses are done, the run has a length of {epochs}",
                saved.losses
            ));
        }
        if saved.losses > 0 && theirs != (Length { epochs: theirs.epochs, ..ours }) {
            return Err(format!(
                "it was saved within an epoch of {} batches ({} to a step, {} losses each), the run \
                 has {} ({}, {}); give it the same, or go on from the end of an epoch",
                theirs.batches,
                theirs.accumulate,
                theirs.turns,
                ours.batches,
                ours.accumulate,
                ours.turns
            ));
        }
        if saved.losses > ours.losses() || saved.finite > saved.losses {
            return Err(format!(
                "{} losses of an epoch are done, {} of them finite, of {}; the file was not written by \
                 a run",
                saved.losses,
                saved.finite,
                ours.losses()
            ));
        }
        let stopped = saved.stopped.filter(|stopped| *stopped != Stopped::NonFinite);
        let fits = |began: &Taken| began.finite <= began.losses && began.losses <= saved.losses;
        let step_began = saved.step_began.filter(fits);
        Ok(Self { length: ours, stopped, step_began, ..saved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_no_run_has_are_refused() {
        let length = Length { epochs: usize::MAX, batches: 3, ..Length::default() };
        let clock = Clock { length, ..Clock::default() };
        let at = |epoch, losses, finite| Clock { epoch, losses, finite, ..clock.clone() };
        assert!(clock.resumed(at(1, 3, 2)).is_ok());
        for saved in [at(usize::MAX, 0, 1), at(1, 4, 1), at(1, 2, 3)] {
            assert!(clock.resumed(saved.clone()).is_err(), "{saved:?}");
        }
        let short = Clock { length: Length { epochs: 2, ..length }, ..Clock::default() };
        assert!(short.resumed(at(usize::MAX, 1, 1)).is_err());
    }
}
