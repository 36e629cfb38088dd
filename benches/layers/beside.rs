//! Our step beside PyTorch's, in turns.

use candle_core::{Error, Module, Result};
use freeze_core::Freezable;

use super::clock::{median, ms};
use super::contest::{Contest, Frozen, Whole, Whose, depths};
use super::peer::Peer;

/// The rounds, and the steps of a turn that count.
pub(crate) const ROUNDS: usize = 5;
pub(crate) const STEPS: usize = 5;

/// At most so many times PyTorch's step: at every depth, and with all but the last stage frozen.
pub(crate) struct Goal {
    pub(crate) step: f64,
    pub(crate) all_but_last: f64,
}

impl Contest {
    /// Measures the model of the stages that `ours` makes beside PyTorch's `model`, and prints the table.
    pub(crate) fn beside<O: Freezable + Module>(
        &self,
        peer: &mut Peer,
        (model, goal): (&str, Goal),
        ours: impl Fn(usize) -> Result<O>,
    ) -> Result<()> {
        println!("\n{}; {ROUNDS} rounds of {STEPS}; {}", self.title, peer.name);
        println!(
            "{:>12} | {:>8} {:>8} {:>6} {:>5} | {:>8} {:>8} {:>6}",
            "frozen", "ours", "torch", "ratio", "goal", "backward", "torch", "ratio"
        );
        for (depth, frozen) in depths(self.stages) {
            let mut contestant = Whole::new(&ours, self.stages)?.contestant(Whose::Ours, frozen)?;
            contestant.take(self, STEPS)?;
            let (mut steps, mut backwards) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let samples = contestant.take(self, STEPS)?;
                let ours = |part: fn(&super::table::Sample) -> f64| {
                    median(samples.iter().map(part).collect())
                };
                let torch = peer.take(model, depth, STEPS).map_err(Error::wrap)?;
                steps.push((ours(|sample| sample.step.wall), torch.step));
                backwards.push((ours(|sample| sample.backward.wall), torch.backward));
            }
            let goal = match frozen {
                Frozen::Before(stage) if stage + 1 == self.stages => goal.all_but_last,
                _ => goal.step,
            };
            let [step, torch, ratio] = medians(&steps);
            let [backward, torch_backward, backward_ratio] = medians(&backwards);
            let mark = if ratio > goal { "!" } else { " " };
            println!(
                "{depth:>12} | {:>8} {:>8} {ratio:>6.2} {goal:>4.1}{mark} | {:>8} {:>8} {backward_ratio:>6.2}",
                ms(step),
                ms(torch),
                ms(backward),
                ms(torch_backward),
            );
        }
        Ok(())
    }
}

/// Of ours, of theirs, and of the ratios within a round.
pub(crate) fn medians(rounds: &[(f64, f64)]) -> [f64; 3] {
    let of = |part: fn(&(f64, f64)) -> f64| median(rounds.iter().map(part).collect());
    [of(|(ours, _)| *ours), of(|(_, theirs)| *theirs), of(|(ours, theirs)| ours / theirs)]
}
