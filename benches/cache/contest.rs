//! Contestants that take turns within one run: an epoch each in every round. Ratios are taken within a
//! round, and their medians printed.

use std::path::Path;

use candle_core::{Module, Result};
use freeze_core::{ActivationCache, Freezable};

use super::clock::{median, ms};
use super::contestant::{Contestant, Epoch};
use super::data::Data;
use super::peer::Peer;

/// A model and its data.
pub(crate) struct Contest {
    /// What PyTorch's side calls it.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) goals: Goals,
    pub(crate) stages: usize,
    pub(crate) data: Data,
    pub(crate) rounds: usize,
    /// How many runs have one front.
    pub(crate) runs: usize,
}

/// At most so many times the time without a cache, with all but the last stage frozen.
pub(crate) struct Goals {
    /// A step with its records in memory.
    pub(crate) cached: f64,
    /// Several runs, of which the first writes the records and all others read them.
    pub(crate) kept: f64,
    /// A step with its records in memory, beside PyTorch's without.
    pub(crate) peer: f64,
}

/// At most so many times a step with its records in memory.
const FILE: f64 = 1.3;
/// At most so many times a step without a cache.
const FIRST: f64 = 1.05;
/// The steps of a turn of PyTorch's.
const STEPS: usize = 5;
/// The depth that has goals.
const ALL_BUT_LAST: &str = "all but last";
/// The epochs of each of several runs.
const EPOCHS: usize = 2;

/// The contestants, in the order of a round's epochs.
const PLAIN: usize = 0;
const MEMORY: usize = 1;
const FILES: usize = 2;
const FIRST_EPOCH: usize = 3;

/// The budget of each cache, in bytes.
const ENOUGH: u64 = 1 << 34;

impl Contest {
    /// Measures a model of the stages that `stage` makes, and prints the table.
    pub(crate) fn run<S: Freezable + Module>(
        &self,
        mut peer: Option<&mut Peer>,
        stage: impl Fn(usize) -> Result<S>,
    ) -> Result<()> {
        println!("\n{}; {} rounds", self.title, self.rounds);
        println!(
            "{:>12} | {:>7} {:>7} {:>7} | {:>12} {:>12} {:>16} {:>10}",
            "frozen",
            "plain",
            "memory",
            "file",
            "memory/plain",
            "file/memory",
            "1st epoch/plain",
            "1st step"
        );
        let last = self.stages - 1;
        for (label, frozen) in [(ALL_BUT_LAST, last), ("50 %", self.stages / 2)] {
            let peer = peer.as_deref_mut();
            self.steps(label, peer, || Contestant::new(&stage, self.stages, frozen))?;
        }
        self.runs(|| Contestant::new(&stage, self.stages, last))
    }

    /// Steps without a cache, with one that is full, and with one that is being filled.
    fn steps<S: Freezable + Module>(
        &self,
        label: &str,
        mut peer: Option<&mut Peer>,
        contestant: impl Fn() -> Result<Contestant<S>>,
    ) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut all = (0..4).map(|_| contestant()).collect::<Result<Vec<_>>>()?;
        all[MEMORY].begin(Some(ActivationCache::new().memory(ENOUGH)))?;
        all[FILES].begin(Some(in_files(folder.path())))?;
        let (mut rounds, mut theirs) = (Vec::new(), Vec::new());
        // The first round fills the caches.
        for round in 0..=self.rounds {
            let epoch = self.round(&mut all, round)?;
            if round == 0 {
                continue;
            }
            if let Some(peer) = &mut peer {
                theirs.push(peer.take(self.name, label, STEPS)?.step);
            }
            rounds.push(epoch);
        }
        let (goal, peer_goal) = match label {
            ALL_BUT_LAST => (self.goals.cached, self.goals.peer),
            _ => (f64::INFINITY, f64::INFINITY),
        };
        let [plain, memory, file] = [PLAIN, MEMORY, FILES].map(|who| time(&rounds, who));
        println!(
            "{label:>12} | {:>7} {:>7} {:>7} | {:>12} {:>12} {:>16} {:>10.2}",
            ms(plain),
            ms(memory),
            ms(file),
            beside(ratio(&rounds, MEMORY, PLAIN), goal),
            beside(ratio(&rounds, FILES, MEMORY), FILE),
            beside(ratio(&rounds, FIRST_EPOCH, PLAIN), FIRST),
            median(rounds.iter().map(|round| round[FIRST_EPOCH].steps[0]).collect()) / plain,
        );
        if !theirs.is_empty() {
            let step = |round: &Vec<Epoch>| median(round[MEMORY].steps.clone());
            let ratios = rounds.iter().zip(&theirs).map(|(round, theirs)| step(round) / theirs);
            let ratio = beside(median(ratios.collect()), peer_goal);
            println!("{:>12} | {:>7} PyTorch; memory/PyTorch {ratio}", "", ms(median(theirs)));
        }
        Ok(())
    }

    /// An epoch of each, in an order that changes with the round.
    fn round<S: Freezable + Module>(
        &self,
        all: &mut [Contestant<S>],
        round: usize,
    ) -> Result<Vec<Epoch>> {
        let batches = self.data.epoch(round)?;
        all[FIRST_EPOCH].go_on(ActivationCache::new().memory(ENOUGH));
        let mut order = vec![PLAIN, MEMORY, FILES, FIRST_EPOCH];
        order.rotate_left(round % 4);
        let mut epochs: Vec<Epoch> = all.iter().map(|_| Epoch::default()).collect();
        for who in order {
            epochs[who] = all[who].epoch(&batches)?;
        }
        for who in [MEMORY, FILES, FIRST_EPOCH] {
            same(&epochs[PLAIN].losses, &epochs[who].losses);
        }
        Ok(epochs)
    }

    /// Several short runs over one front: without a cache, and with records that are kept.
    fn runs<S: Freezable + Module>(
        &self,
        contestant: impl Fn() -> Result<Contestant<S>>,
    ) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (mut plain, mut kept) = (contestant()?, contestant()?);
        let [mut without, mut with] = [0.0; 2];
        for run in 0..self.runs {
            plain.begin(None)?;
            kept.begin(Some(ActivationCache::new().memory(0).kept(folder.path(), ENOUGH)))?;
            for epoch in 0..EPOCHS {
                let batches = self.data.epoch(run * EPOCHS + epoch)?;
                let (plain, kept) = (plain.epoch(&batches)?, kept.epoch(&batches)?);
                same(&plain.losses, &kept.losses);
                without += plain.steps.iter().sum::<f64>();
                with += kept.steps.iter().sum::<f64>();
            }
        }
        println!(
            "{} runs of {EPOCHS} epochs over one front, all but last frozen: {} ms without, {} ms with \
             records that are kept: {}",
            self.runs,
            ms(without),
            ms(with),
            beside(with / without, self.goals.kept),
        );
        Ok(())
    }
}

fn in_files(folder: &Path) -> ActivationCache {
    ActivationCache::new().memory(0).folder(folder, ENOUGH)
}

/// The cache changes no loss but by rounding.
fn same(plain: &[f32], cached: &[f32]) {
    for (plain, cached) in plain.iter().zip(cached) {
        let differ = (plain - cached).abs() / plain.abs().max(1.);
        assert!(differ <= 1e-5, "a loss of {plain} without a cache is {cached} with one");
    }
}

/// The median time of a step.
fn time(rounds: &[Vec<Epoch>], who: usize) -> f64 {
    median(rounds.iter().flat_map(|round| round[who].steps.iter().copied()).collect())
}

/// The median of the rounds' ratios of median steps.
fn ratio(rounds: &[Vec<Epoch>], who: usize, to: usize) -> f64 {
    let step = |epoch: &Epoch| median(epoch.steps.clone());
    median(rounds.iter().map(|round| step(&round[who]) / step(&round[to])).collect())
}

/// A ratio beside its goal, if there is one, marked if it misses.
fn beside(ratio: f64, goal: f64) -> String {
    match goal.is_finite() {
        true => format!("{ratio:.2} ({goal}){}", if ratio > goal { "!" } else { " " }),
        false => format!("{ratio:.2}"),
    }
}
