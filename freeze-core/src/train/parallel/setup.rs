//! What must be the same on all ranks.

use candle_core::Tensor;

use crate::error::Result;
use crate::model::Freezable;
use crate::parallel::Words;
use crate::plan::FreezePlan;
use crate::train::Training;

impl<M: Freezable> Training<M> {
    /// Names of the settings, parts and tensors of the run, each with what it is; `version` is that of the library.
    pub(super) fn setup_in_words(&self, version: &str) -> Result<Words> {
        let mut words: Words = Vec::new();
        let mut say = |name: &str, what: String| words.push((name.to_string(), what));
        say("the version of freeze-core", version.to_string());
        let length = &self.clock.length;
        say("the number of epochs", length.epochs.to_string());
        say("the number of batches in an epoch", length.batches.to_string());
        say("the number of batches that are accumulated", length.accumulate.to_string());
        say("the number of losses for each batch", length.turns.to_string());
        say("the seed", self.clock.seed.to_string());
        say("clipping", format!("{:?}", self.clip));
        say("what becomes of numbers that are not finite", format!("{:?}", self.on_non_finite));
        say("the batch norm policy", format!("{:?}", self.freezer.batch_norm()));
        let ranks = self.ranks.as_ref();
        let travel = ranks.map(|ranks| match (ranks.halves, ranks.bucket) {
            (halves, None) => format!("at once, as {}", if halves { "bf16" } else { "they are" }),
            (halves, Some(bytes)) => {
                format!(
                    "in buckets of {bytes} bytes, as {}",
                    if halves { "bf16" } else { "they are" }
                )
            }
        });
        say("how gradients travel", travel.unwrap_or_default());
        say("whether the optimizer state is sharded", self.shards_state().to_string());
        let policy = self.policy.as_ref().map(|hook| hook.policy().describe());
        say("the policy", policy.unwrap_or_else(|| "none".into()));
        for (index, driven) in self.optimizers.iter().enumerate() {
            let (kind, vars) = (driven.kind(), driven.owned_ids().len());
            say(&format!("optimizer {index}"), format!("{kind} of {vars} variables"));
        }
        let tensors = self.freezer.named_tensors()?;
        let stays = |tensor: &Tensor| ranks.is_some_and(|ranks| ranks.stays(tensor.device()));
        let on_cards = tensors.iter().filter(|(_, tensor)| stays(tensor)).count();
        say("the number of tensors whose gradients stay on a card", on_cards.to_string());
        for (name, tensor) in tensors {
            let (dtype, dims) = (tensor.dtype().as_str(), tensor.dims());
            say(&format!("`{name}`"), format!("{dtype} of shape {dims:?}"));
        }
        words.extend(plan_in_words(self.freezer.plan()));
        Ok(words)
    }
}

/// What each leaf does.
pub(super) fn plan_in_words(plan: &FreezePlan) -> Words {
    let leaves = plan.paths().iter().zip(plan.states());
    leaves.map(|(path, state)| (format!("leaf `{path}`"), format!("{state:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use candle_core::{DType, Device};
    use candle_nn::{VarBuilder, VarMap, linear};

    use super::*;
    use crate::parallel::{Group, Threads};

    #[test]
    fn another_version_is_refused_by_name() {
        let compare = |rank: Threads| {
            let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
            let run = Training::new(linear(2, 1, vb)?)?;
            let group = Group::new(rank);
            let version = ["0.1.0", "0.2.0"][group.rank()];
            group.compare("the beginning", run.setup_in_words(version), [0; 2]).map(|_| ())
        };
        let ranks = Threads::ranks(2).expect("ranks").into_iter();
        let ranks: Vec<_> = ranks.map(|rank| thread::spawn(move || compare(rank))).collect();
        for rank in ranks {
            let error = rank.join().expect("no panic").expect_err("another version").to_string();
            let named = "rank 1: the version of freeze-core is 0.2.0, on rank 0 it is 0.1.0";
            assert!(error.starts_with(named), "{error}");
        }
    }
}
