//! A manager's folder through random turns, against a plain model of what it should do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Var};
use candle_nn::Linear;
use freeze_core::checkpoint::{Checkpoint, Manager};
use freeze_core::{Elapsed, Freezer, Result};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::child::count;
use crate::rig::folder;

/// What happens next.
#[derive(Clone, Debug)]
enum Turn {
    /// The run goes on by so much and is saved.
    Save {
        epochs: usize,
        steps: usize,
    },
    /// It is saved at any place.
    SaveAt {
        epoch: usize,
        step: usize,
    },
    Resume,
    /// The process starts again, with these settings.
    Restart {
        keep: Option<usize>,
        replaces_later: bool,
    },
    Damage(Index),
    Delta(Index),
    RemoveDelta(Index),
}

fn turn() -> impl Strategy<Value = Turn> {
    let restart = (proptest::option::of(1usize..3), any::<bool>());
    prop_oneof![
        6 => (0usize..2, 0usize..3).prop_map(|(epochs, steps)| Turn::Save { epochs, steps }),
        2 => (0usize..4, 0usize..6).prop_map(|(epoch, step)| Turn::SaveAt { epoch, step }),
        2 => Just(Turn::Resume),
        2 => restart.prop_map(|(keep, replaces_later)| Turn::Restart { keep, replaces_later }),
        1 => any::<Index>().prop_map(Turn::Damage),
        1 => any::<Index>().prop_map(Turn::Delta),
        1 => any::<Index>().prop_map(Turn::RemoveDelta),
    ]
}

type Place = (usize, usize);

/// A checkpoint as it should be: which save it is of, and whether it is whole.
#[derive(Clone, Copy, Debug, PartialEq)]
struct File {
    save: u64,
    whole: bool,
}

struct Bench {
    dir: tempfile::TempDir,
    manager: Manager,
    keep: Option<usize>,
    replaces_later: bool,
    net: Freezer<Linear>,
    saves: u64,
    // What should be.
    files: BTreeMap<Place, File>,
    stands: Option<Place>,
    /// Each delta with the place of its base and the save that this was of.
    deltas: Vec<(PathBuf, Place, u64)>,
}

fn net() -> Result<Freezer<Linear>> {
    let weight = Var::zeros((1, 1), DType::F64, &Device::Cpu)?.into_inner();
    Freezer::new(Linear::new(weight, None))
}

impl Bench {
    fn new() -> Result<Self> {
        let dir = folder();
        let manager = Manager::new(dir.path())?;
        Ok(Self {
            manager,
            dir,
            keep: None,
            replaces_later: false,
            net: net()?,
            saves: 0,
            files: BTreeMap::new(),
            stands: None,
            deltas: Vec::new(),
        })
    }

    fn path(&self, (epoch, step): Place) -> PathBuf {
        self.dir.path().join(format!("epoch-{epoch:06}-step-{step:010}.safetensors"))
    }

    /// Whether a whole file is the base of a delta.
    fn is_base(&self, place: Place) -> bool {
        let Some(file) = self.files.get(&place).filter(|file| file.whole) else { return false };
        self.deltas.iter().any(|(_, base, save)| (*base, *save) == (place, file.save))
    }

    fn may_save(&self, place: Place) -> bool {
        let ahead = match self.stands {
            _ if self.replaces_later => true,
            Some(stands) => place >= stands && place.1 >= stands.1,
            None => self.files.keys().all(|there| *there < place),
        };
        let goes = |there: &Place| *there == place || self.replaces_later && *there > place;
        ahead && !self.files.keys().any(|there| goes(there) && self.is_base(*there))
    }

    fn save(&mut self, place: Place) -> Result<(), TestCaseError> {
        self.saves += 1;
        let value = candle_core::Tensor::full(self.saves as f64, (1, 1), &Device::Cpu);
        value.and_then(|value| self.net.vars()[0].set(&value)).map_err(fail)?;
        let progress = Elapsed::new(place.0, 99).at_step(place.1, 999);
        let saved = self.manager.save(Checkpoint::of(&mut self.net).progress(progress));
        prop_assert_eq!(saved.is_ok(), self.may_save(place), "{:?} {:?}", place, saved);
        let Ok(path) = saved else { return Ok(()) };
        prop_assert_eq!(&path, &self.path(place));
        self.files.insert(place, File { save: self.saves, whole: true });
        self.stands = Some(place);
        if self.replaces_later {
            self.files.retain(|there, _| *there <= place);
        }
        if let Some(keep) = self.keep {
            let upto: Vec<Place> = self.files.range(..=place).map(|(there, _)| *there).collect();
            let old = upto.iter().rev().skip(keep).filter(|there| !self.is_base(**there));
            let old: Vec<Place> = old.copied().collect();
            self.files.retain(|there, _| !old.contains(there));
        }
        // What was saved is there, and what a run goes on from.
        let latest = self.manager.latest().map_err(fail)?.path;
        prop_assert_eq!(latest.map(|path| path.exists()), Some(true));
        self.resumes_from_the_latest(false)
    }

    /// In another process, so that it is no turn of this one, or in this.
    fn resumes_from_the_latest(&mut self, here: bool) -> Result<(), TestCaseError> {
        let expected = self.files.iter().rev().find(|(_, file)| file.whole);
        let expected = expected.map(|(place, file)| (*place, file.save));
        let (mut fresh, elsewhere) = (net().map_err(fail)?, Manager::new(self.dir.path()));
        let manager = if here { self.manager.clone() } else { elsewhere.map_err(fail)? };
        let resumed = manager.resume(Checkpoint::of(&mut fresh)).map_err(fail)?;
        let found = resumed.map(|at| (at.progress.epoch, at.progress.step));
        prop_assert_eq!(found, expected.map(|(place, _)| place));
        if let Some((_, save)) = expected {
            prop_assert_eq!(value(&fresh), save as f64);
        }
        if here {
            self.stands = Some(found.unwrap_or_default());
        }
        Ok(())
    }

    fn take(&mut self, turn: &Turn) -> Result<(), TestCaseError> {
        let nth = |index: &Index, len: usize| (len > 0).then(|| index.index(len));
        let place = |index: &Index| {
            nth(index, self.files.len()).and_then(|i| self.files.keys().nth(i).copied())
        };
        match turn {
            Turn::Save { epochs, steps } => {
                let (epoch, step) = self.stands.unwrap_or_default();
                self.save((epoch + epochs, step + steps))?;
            }
            Turn::SaveAt { epoch, step } => self.save((*epoch, *step))?,
            Turn::Resume => self.resumes_from_the_latest(true)?,
            Turn::Restart { keep, replaces_later } => {
                let mut manager = Manager::new(self.dir.path()).map_err(fail)?;
                if let Some(keep) = keep {
                    manager = manager.keep_last(*keep).map_err(fail)?;
                }
                if *replaces_later {
                    manager = manager.replace_later();
                }
                (self.manager, self.stands) = (manager, None);
                (self.keep, self.replaces_later) = (*keep, *replaces_later);
            }
            Turn::Damage(index) => {
                let Some(place) = place(index) else { return Ok(()) };
                std::fs::write(self.path(place), b"damaged").map_err(fail)?;
                self.files.entry(place).and_modify(|file| file.whole = false);
            }
            Turn::Delta(index) => {
                let Some(place) = place(index).filter(|place| self.files[place].whole) else {
                    return Ok(());
                };
                let path = self.dir.path().join(format!("delta-{}", self.saves));
                let base = self.path(place);
                Checkpoint::of(&mut self.net).save_delta(&path, base).map_err(fail)?;
                self.deltas.retain(|(known, ..)| *known != path);
                self.deltas.push((path, place, self.files[&place].save));
            }
            Turn::RemoveDelta(index) => {
                let Some(i) = nth(index, self.deltas.len()) else { return Ok(()) };
                std::fs::remove_file(self.deltas.remove(i).0).map_err(fail)?;
            }
        }
        let paths: Vec<PathBuf> = self.files.keys().map(|place| self.path(*place)).collect();
        prop_assert_eq!(self.manager.checkpoints().map_err(fail)?, paths);
        for (delta, base, save) in &self.deltas {
            if self.files.get(base) == Some(&File { save: *save, whole: true }) {
                let mut fresh = net().map_err(fail)?;
                let run = Checkpoint::of(&mut fresh);
                run.resume_delta(delta, self.path(*base)).map_err(fail)?;
            }
        }
        Ok(())
    }
}

fn value(net: &Freezer<Linear>) -> f64 {
    net.whole().weight().sum_all().and_then(|sum| sum.to_scalar()).expect("a number")
}

fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// `FREEZE_TURNS=10000` for a long run.
#[test]
fn a_folder_is_what_a_plain_model_says_after_any_turns() {
    let cases = count("FREEZE_TURNS", 64) as u32;
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let turns = proptest::collection::vec(turn(), 1..24);
    let result = TestRunner::new(config).run(&turns, |turns| {
        let mut bench = Bench::new().map_err(fail)?;
        turns.iter().try_for_each(|turn| bench.take(turn))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
