//! A run through its turns, to its end.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::loss::cross_entropy;
use freeze_core::optim::{AdamW, Sgd};
use freeze_core::parallel::{Group, Threads};
use freeze_core::{Freezable, LeafState, PlanOptimizer, Result, Training};
use proptest::prelude::*;

use super::settings::{EPOCHS, Settings, Way, run, way};
use crate::cache::net::{BATCHES, Net, SAMPLES, SIZE, batch, bits};

/// What happens between two batches.
#[derive(Clone, Debug)]
pub enum Turn {
    FreezeFront(usize),
    Thaw,
    Save,
    /// Back to what was saved last, in the same run.
    Back,
    /// Saved, and gone on with by a new run of another way.
    Rebuild(Way),
    /// Something that is refused.
    Refused(usize),
    /// The front's outputs without a graph.
    Evaluate,
}

impl Turn {
    /// Whether it changes the run that is left alone too.
    pub fn is_by_hand(&self) -> bool {
        matches!(self, Self::FreezeFront(_) | Self::Thaw)
    }
}

/// Turns, each after so many batches, in order.
pub fn turns() -> impl Strategy<Value = Vec<(usize, Turn)>> {
    let turn = prop_oneof![
        2 => (0usize..=4).prop_map(Turn::FreezeFront),
        1 => Just(Turn::Thaw),
        2 => Just(Turn::Save),
        2 => Just(Turn::Back),
        3 => way().prop_map(Turn::Rebuild),
        2 => (0..REFUSALS).prop_map(Turn::Refused),
        1 => Just(Turn::Evaluate),
    ];
    proptest::collection::vec((0..=EPOCHS * BATCHES, turn), 0..8).prop_map(|mut turns| {
        turns.sort_by_key(|(at, _)| *at);
        turns
    })
}

/// All that a run has come to.
#[derive(Clone)]
pub struct Course {
    losses: BTreeMap<usize, u64>,
    tensors: BTreeMap<String, Vec<u32>>,
    moments: BTreeMap<String, Vec<u32>>,
    updates: BTreeMap<String, u64>,
    plan: Vec<LeafState>,
    drawn: u64,
}

impl Course {
    /// With the moments that the other rank has of its share.
    fn and_share_of(mut self, other: &Self) -> Self {
        for (name, moment) in &other.moments {
            let known = self.moments.insert(name.clone(), moment.clone());
            assert!(known.is_none_or(|known| known == *moment), "`{name}` differs between ranks");
        }
        for (name, &steps) in &other.updates {
            let known = self.updates.entry(name.clone()).or_default();
            *known = steps.max(*known);
        }
        self
    }

    /// What differs, in short.
    pub fn difference(&self, other: &Self) -> String {
        let mut found = String::new();
        if self.losses != other.losses {
            let same = |at: &&usize| self.losses.get(at) == other.losses.get(at);
            let first = other.losses.keys().find(|at| !same(at));
            found += &format!("losses from batch {first:?} on; ");
        }
        let names = |one: &BTreeMap<_, _>, other: &BTreeMap<_, _>| -> Vec<String> {
            let all =
                one.keys().chain(other.keys()).filter(|&name| one.get(name) != other.get(name));
            all.cloned().collect()
        };
        for what in [names(&self.tensors, &other.tensors), names(&self.moments, &other.moments)] {
            if !what.is_empty() {
                found += &format!("{what:?}; ");
            }
        }
        if self.updates != other.updates {
            found += &format!("updates {:?} and {:?}; ", self.updates, other.updates);
        }
        if self.plan != other.plan {
            found += &format!("plans {:?} and {:?}; ", self.plan, other.plan);
        }
        if self.drawn != other.drawn {
            found += "the dropout's generator";
        }
        found
    }
}

/// The batch whose loss is no number, if the run leaves that out.
const NO_NUMBER: usize = 7;

/// The run with these turns, as each rank has it.
pub fn courses(settings: &Settings, first: &Way, turns: &[(usize, Turn)]) -> Vec<Result<Course>> {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if !settings.ranks {
        return vec![course(settings, first, turns, None, folder)];
    }
    let of = |rank| course(settings, first, turns, Some(&Group::new(rank)), folder);
    std::thread::scope(|scope| {
        let ranks = Threads::ranks(2).expect("ranks").into_iter();
        let ranks: Vec<_> = ranks.map(|rank| scope.spawn(move || of(rank))).collect();
        let ranks = ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect();
        match ranks {
            Ok::<Vec<Course>, _>(ranks) => {
                let whole = |own: &Course| ranks.iter().fold(own.clone(), Course::and_share_of);
                ranks.iter().map(|own| Ok(whole(own))).collect()
            }
            Err(error) => vec![Err(error)],
        }
    })
}

fn course(
    settings: &Settings,
    first: &Way,
    turns: &[(usize, Turn)],
    group: Option<&Group>,
    folder: &Path,
) -> Result<Course> {
    let saved = folder.join("saved");
    let rank = group.map_or(0, Group::rank);
    let mut run = run(settings, first, group, 1)?;
    let mut losses = BTreeMap::new();
    // The turn that comes next, the one after the last save, and those that happen once.
    let (mut next, mut after_save, mut gone) = (0, None, HashSet::new());
    'run: while let Some(epoch) = run.next_epoch()? {
        let mut batches = epoch.shuffled(SAMPLES, SIZE).collect::<Vec<_>>().into_iter();
        loop {
            let done = (epoch.index + 1) * BATCHES - batches.len();
            while let Some((_, turn)) = turns.get(next).filter(|(at, _)| *at == done) {
                next += 1;
                match turn {
                    Turn::FreezeFront(n) => drop(run.freeze_front(*n)?),
                    Turn::Thaw => drop(run.thaw()?),
                    Turn::Save => {
                        run.save(&saved)?;
                        after_save = Some(next);
                    }
                    Turn::Back => {
                        if let Some(after) = after_save.filter(|_| gone.insert(next)) {
                            run.resume_from(&saved)?;
                            next = after;
                            continue 'run;
                        }
                    }
                    Turn::Rebuild(way) => {
                        let path = folder.join("between");
                        run.save(&path)?;
                        run = super::settings::run(settings, way, group, 9)?;
                        run.resume_from(&path)?;
                        continue 'run;
                    }
                    Turn::Refused(which) => {
                        refused(&mut run, *which, &folder.join(format!("damaged-{rank}")))?
                    }
                    Turn::Evaluate => {
                        let xs = batch(&[0])?.1;
                        run.evaluate(|net| net.stem.forward(&xs))?;
                    }
                }
            }
            let Some(mut which) = batches.next() else { break };
            which.rotate_left(rank);
            which.truncate(SIZE - rank);
            let (keys, xs, ys) = batch(&which)?;
            let scores = run.forward(&keys, xs, &())?;
            let mut loss = cross_entropy(&scores, &ys)?;
            if settings.skips && done == NO_NUMBER {
                loss = (loss * f64::NAN)?;
            }
            let step = run.step(&loss)?;
            let before = losses.insert(done, step.loss.to_bits());
            assert!(before.is_none_or(|loss| loss == step.loss.to_bits()), "batch {done} again");
            if step.stopped.is_some() {
                break 'run;
            }
        }
        run.epoch_end([])?;
    }
    ended(&mut run, losses)
}

const REFUSALS: usize = 4;

/// Something that is refused, after which the run goes on as if it had not been asked.
fn refused(run: &mut Training<Net>, which: usize, damaged: &Path) -> Result<()> {
    let said = match which {
        0 => run.freeze_front(99).err(),
        1 => run.resume_from(damaged.with_extension("not-there")).err(),
        2 => {
            std::fs::write(damaged, [7; 100]).expect("a file");
            run.resume_from(damaged).err()
        }
        _ => run.step(&Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?).err(),
    };
    assert!(said.is_some(), "refusal {which} did not come");
    Ok(())
}

fn ended(run: &mut Training<Net>, losses: BTreeMap<usize, u64>) -> Result<Course> {
    let of = |(name, tensor): (String, Tensor)| (name, bits(&tensor));
    let (mut moments, mut updates) = (BTreeMap::new(), BTreeMap::new());
    for at in 0..2 {
        let adamw = run.optimizer_as_mut::<AdamW>(at).map(AdamW::save_state);
        let state = adamw.or_else(|| run.optimizer_as_mut::<Sgd>(at).map(Sgd::save_state));
        let Some(state) = state.transpose()? else { continue };
        moments.extend(state.tensors.into_iter().map(of));
        updates.extend(state.steps);
    }
    Ok(Course {
        losses,
        tensors: run.freezer().whole().named_tensors()?.into_iter().map(of).collect(),
        moments,
        updates,
        plan: run.freezer().plan().states().to_vec(),
        drawn: run.freezer().whole().dropout.state().position,
    })
}
