//! AutoFreeze: freezes the front where gradients change least.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::{ByLeaf, by_leaf, counted, frozen, percent, settings_and_memory};
use super::quiet::QuietFront;
use crate::error::{Error, Result, check_number, check_share};
use crate::plan::FreezePlan;
use crate::policy::{
    Blocks, By, Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Settings,
};

/// Freezes the blocks at the front whose gradients changed less, from one window of the run to the
/// next, than a percentile of all blocks that train: [`QuietFront`] has the formula.
///
/// The run is divided into equal windows. The first window only records; at the end of each later one
/// blocks freeze, at most the share `cap` of those that train. What is in front of the first block of
/// the model's body, such as embeddings, freezes with it, and what is behind the body, such as the
/// head, is neither measured nor frozen. The gradients are summed over a window, which takes as much
/// memory as the gradients.
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{AutoFreezeSettings, Settings};
///
/// let policy = AutoFreezeSettings { windows: 10, ..Default::default() }.policy()?;
/// assert!(policy.describe().contains("windows=10"));
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Liu, Agarwal, Venkataraman, "AutoFreeze", 2021, arXiv:2102.01386; official code
/// YuhanLiu11/AutoFreeze, which has 10 windows by default and 20 in its readme, percentile 50 and no
/// cap. The cap of a third is PipeTransformer's (He et al., 2021, arXiv:2102.03161).
///
/// Departs from the official code: a threshold of 0 thaws nothing (there everything thaws, and one
/// window later the run dies); gradients that were all 0 in the window before are no division by zero,
/// their block trains on; and optimizer state of what goes on training is kept.
///
/// A run that becomes longer or shorter is divided anew: the first whole window by its new length only records, and so
/// does the first of a policy that takes over within a run.
///
/// Limits: only a prefix freezes and nothing thaws. A change of the learning rate does not matter, but
/// one of the batch size does, since the norm of a sum of gradients depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoFreeze {
    settings: AutoFreezeSettings,
    memory: Memory,
}

/// The settings of [`AutoFreeze`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AutoFreezeSettings {
    /// Into how many windows the run is divided, at least 2; 20. If the run has fewer steps, each step
    /// is a window.
    pub windows: usize,
    /// The percentile, from 0 to 100, that the change of the first block that trains must reach; 50.
    pub percentile: f64,
    /// The share, above 0 and up to 1, of the blocks that train which may freeze at once, rounded down;
    /// 1/3. `None`: all but one, as in the official code.
    pub cap: Option<f64>,
    /// What is a block.
    pub by: By,
}

impl Default for AutoFreezeSettings {
    fn default() -> Self {
        Self { windows: 20, percentile: 50.0, cap: Some(1.0 / 3.0), by: By::Block }
    }
}

impl Settings for AutoFreezeSettings {
    const NAME: &'static str = "auto-freeze";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "freezes the front where gradients change least (AutoFreeze)";
    type Policy = AutoFreeze;

    fn policy(self) -> Result<AutoFreeze> {
        if self.windows < 2 {
            let expected = "at least 2: the first window only records";
            return Err(Error::count("windows", self.windows, expected));
        }
        self.by.check(Self::NAME)?;
        check_number("percentile", self.percentile, 0.0..=100.0, "a number from 0 to 100")?;
        if let Some(cap) = self.cap {
            check_share("cap", cap)?;
        }
        Ok(AutoFreeze { settings: self, memory: Memory::default() })
    }
}

/// What is remembered between windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The sum under way; none before the first step that is observed.
    #[serde(default)]
    sum: Option<Sum>,
    /// How many windows had ended when the last one was recorded.
    window: u64,
    /// The norms of the sums of gradients in that window.
    before: Option<ByLeaf>,
    /// The same of a window that has just ended, until the next decision.
    waiting: Option<ByLeaf>,
    /// The last threshold.
    threshold: Option<f64>,
    /// Why each frozen block of the body froze, from the front.
    why: Vec<String>,
}

/// A sum of gradients under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    /// How many steps were completed when it began.
    since: usize,
    /// The steps of the run by which its window is counted.
    steps: usize,
}

impl AutoFreeze {
    /// How many windows have ended after `step` steps.
    fn ended(&self, step: usize, steps: usize) -> u64 {
        let ended = step as u128 * self.settings.windows as u128 / steps.max(1) as u128;
        u64::try_from(ended).unwrap_or(u64::MAX)
    }

    /// Whether the run has become longer or shorter: its windows begin and end elsewhere from here on.
    fn is_stretched(&self, at: Elapsed) -> bool {
        self.memory.sum.is_some_and(|sum| sum.steps != at.steps)
    }

    /// The windows that are behind the sum under way, or a sum that begins after `before` steps.
    fn window(&self, before: usize, steps: usize) -> u64 {
        self.memory.sum.map_or_else(|| self.ended(before, steps), |_| self.memory.window)
    }

    /// Whether a window begins after `step` steps.
    fn begins(&self, step: usize, steps: usize) -> bool {
        step.checked_sub(1).is_none_or(|last| self.ended(last, steps) != self.ended(step, steps))
    }

    /// The memory after the window that waits, in a model of these blocks.
    fn advanced(&self, blocks: &Blocks, body: &[usize], base: &FreezePlan) -> Memory {
        let mut memory = self.memory.clone();
        let Some(now) = memory.waiting.take() else { return memory };
        if let Some(before) = memory.before.replace(now.clone()) {
            let is_free = |leaf: &usize| base.may_freeze(*leaf);
            let trains = |(_, block): &(usize, usize)| blocks.leaves(*block).iter().any(is_free);
            let numbered = body.iter().copied().enumerate().skip(memory.why.len());
            let active: Vec<(usize, usize)> = numbered.filter(trains).collect();
            let sums = |of: &ByLeaf| -> Vec<f64> {
                let sum = |leaves: &[usize]| leaves.iter().filter_map(|leaf| of.get(leaf)).sum();
                active.iter().map(|&(_, block)| sum(blocks.leaves(block))).collect()
            };
            let front = QuietFront::of(&sums(&before), &sums(&now), self.settings.percentile);
            let at_most = self.settings.cap.map(|cap| (active.len() as f64 * cap) as usize);
            let quiet = front.quiet.min(at_most.unwrap_or(usize::MAX));
            memory.threshold = front.threshold;
            let first_active = active.get(quiet).map_or(memory.why.len(), |&(index, _)| index);
            for block in memory.why.len()..first_active {
                let ratio = active.iter().position(|&(index, _)| index == block);
                let ratio = ratio.and_then(|at| front.ratios.get(at).copied().flatten());
                memory.why.push(self.reason(ratio, front.threshold));
            }
        }
        memory
    }

    fn reason(&self, ratio: Option<f64>, threshold: Option<f64>) -> String {
        let AutoFreezeSettings { windows, percentile, .. } = self.settings;
        match ratio.zip(threshold) {
            None => "froze: it is frozen by hand".into(),
            Some((ratio, threshold)) => format!(
                "froze: its gradient changed by {} over one of {windows} windows, the percentile \
                 {percentile} of those that train is {}",
                percent(ratio),
                percent(threshold)
            ),
        }
    }
}

impl Policy for AutoFreeze {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        let ends = || self.ended(at.step, at.steps) != self.ended(at.step - 1, at.steps);
        moment != Moment::Start && (at.steps == 0 || at.step == 0 || ends())
            || self.memory.waiting.is_some()
    }

    fn needs(&self, at: Elapsed) -> Needs {
        if at.steps == 0 {
            return Needs::NONE;
        }
        let ends = self.ended(at.step + 1, at.steps) > self.window(at.step, at.steps);
        // What was summed up for a window of another length is taken, too, and not used.
        match ends || self.is_stretched(at) {
            true => Needs::SUM_GRADIENTS | Needs::GRADIENT_SUM,
            false => Needs::SUM_GRADIENTS,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let at = seen.at();
        let Some(before) = at.step.checked_sub(1).filter(|_| at.steps > 0) else { return Ok(()) };
        let (ended, window) = (self.ended(at.step, at.steps), self.window(before, at.steps));
        let next = Sum { since: at.step, steps: at.steps };
        if self.is_stretched(at) {
            (self.memory.before, self.memory.waiting) = (None, None);
            (self.memory.sum, self.memory.window) = (Some(next), ended);
            return Ok(());
        }
        let sum = self.memory.sum.unwrap_or(Sum { since: before, ..next });
        if ended <= window {
            (self.memory.sum, self.memory.window) = (Some(sum), window);
            return Ok(());
        }
        let sums = by_leaf(seen, |tensor| match tensor.is_again() {
            true => Ok(None),
            false => Ok(tensor.gradient_sum_norms()?.map(|norms| norms.l1)),
        })?;
        // That of a part of a window compares with no other.
        if self.begins(sum.since, at.steps) {
            self.memory.waiting = Some(sums);
        }
        (self.memory.sum, self.memory.window) = (Some(next), ended);
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        counted(at)?;
        let blocks = Blocks::of(base.paths(), &self.settings.by)?;
        let body = blocks.body();
        let memory = self.advanced(&blocks, &body, base);
        let frozen_blocks = memory.why.len();
        let mut leaves = BTreeMap::new();
        if frozen_blocks > 0
            && let (Some(&first), Some(&next)) = (body.first(), body.get(frozen_blocks))
        {
            let text = format!(
                "froze: `{}` behind it does",
                blocks.names().nth(first).unwrap_or_default()
            );
            leaves.extend((0..blocks.leaves_before(next)).map(|leaf| (leaf, text.clone())));
        }
        for (&block, text) in body.iter().zip(&memory.why) {
            leaves.extend(blocks.leaves(block).iter().map(|&leaf| (leaf, text.clone())));
        }
        let mut decision = frozen(base, leaves)?;
        decision = decision.metric("auto_freeze/blocks_frozen", frozen_blocks as f64);
        if let Some(threshold) = memory.threshold {
            decision = decision.metric("auto_freeze/threshold", threshold);
        }
        self.memory = memory;
        Ok(decision)
    }

    settings_and_memory!();
}
