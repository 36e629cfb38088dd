//! Records of samples whose inputs have one layout.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use candle_core::Device;

use super::card::{Card, lift};
use super::form::Form;
use super::samples::Samples;
use super::shelves::{Lifetime, Shelf, Shelves};
use super::store::{Budget, Lift, Records};
use crate::error::{Error, Result};
use crate::model::FlowLayout;

/// The records of samples whose inputs have one layout. The same sample in another layout, such as
/// padded to another length, has a record of its own.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) input: FlowLayout,
    /// Where they come from, and records go.
    device: Device,
    /// The layout of the activations, by the number of stages passed.
    pub(super) forms: BTreeMap<usize, Form>,
    /// Records on a card.
    pub(super) card: Card,
    /// Records on the host and on disk.
    pub(super) shelves: Shelves,
    known: HashMap<u64, Known>,
    /// Of how many stages the records are that earlier runs kept and that are not those of this model, once that was
    /// found, and why.
    pub(super) refused: Option<(usize, String)>,
    /// What brings records of so many stages to the device ahead of time.
    pub(super) lifts: BTreeMap<usize, Option<Lift>>,
}

/// Makes the records of activations after so many stages, of a layout, with so many bytes behind them.
pub(super) type Open<'a> = dyn Fn(usize, &FlowLayout, usize) -> Result<Records> + 'a;

/// What is known of a sample.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The number of stages that its record has passed; 0 if there is none.
    depth: usize,
    /// The fingerprint of input and context.
    print: Option<u64>,
}

impl Class {
    /// `budget` is that of records on a card.
    pub(super) fn new(input: FlowLayout, lifetime: Lifetime, budget: Arc<Budget>) -> Self {
        Self {
            input,
            device: Device::Cpu,
            forms: BTreeMap::new(),
            card: Card::new(budget),
            shelves: Shelves::new(lifetime),
            known: HashMap::new(),
            refused: None,
            lifts: BTreeMap::new(),
        }
    }

    /// Notes where samples come from.
    pub(super) fn is_on(&mut self, device: &Device) {
        if !self.device.same_device(device) {
            (self.device, self.lifts) = (device.clone(), BTreeMap::new());
        }
    }

    /// Whether the layout of the activations after `depth` stages is known.
    pub(super) fn is_open(&self, depth: usize) -> bool {
        self.forms.contains_key(&depth)
    }

    /// Compares the fingerprints of the samples with what their keys stood for before, and notes those of new
    /// keys, whether there is a record or not. Returns the new keys.
    ///
    /// # Errors
    ///
    /// The input or context of a key has changed; nothing was noted then.
    pub(super) fn check(&mut self, samples: &Samples) -> Result<Vec<u64>> {
        let (Some(prints), mut new) = (&samples.prints, Vec::new()) else { return Ok(Vec::new()) };
        for (key, print) in samples.keys.iter().zip(prints) {
            let before = self.known.get(key).and_then(|known| known.print);
            if before.is_some_and(|before| before != *print) {
                return Err(differs(*key));
            }
        }
        for (key, print) in samples.keys.iter().zip(prints) {
            let known = self.known.entry(*key).or_insert(Known { depth: 0, print: None });
            if known.print.replace(*print).is_none() {
                new.push(*key);
            }
        }
        Ok(new)
    }

    /// Forgets what the inputs of keys were, other than of records that were stored since, or brought to the
    /// card, where no fingerprint is beside them.
    pub(super) fn forget_inputs(&mut self, keys: &[u64]) {
        for key in keys {
            let has_record = self.known.get(key).is_some_and(|known| known.depth > 0);
            if !has_record && !self.card.has(*key) {
                self.known.remove(key);
            }
        }
    }

    /// The samples, by index, grouped by the number of stages that their records have passed; 0 for
    /// samples without a record of `at_least` so many.
    pub(super) fn passed(&self, samples: &Samples, at_least: usize) -> BTreeMap<usize, Vec<u32>> {
        let mut passed: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (i, &key) in (0..).zip(&samples.keys) {
            let depth = Some(self.depth(key)).filter(|depth| *depth >= at_least);
            passed.entry(depth.unwrap_or(0)).or_default().push(i);
        }
        passed
    }

    /// Makes room for activations after `depth` stages, and finds those that earlier runs kept.
    ///
    /// # Errors
    ///
    /// The activations of earlier samples of this class had another layout, or the folder cannot be used.
    pub(super) fn open(&mut self, depth: usize, form: Form, open: &Open<'_>) -> Result<Shelf> {
        let width = form.layout.width();
        let shelf = self.shelves.shelf(depth, width);
        if self.shelves.get_mut(shelf).is_none() {
            self.shelves.add(shelf, open(depth, &form.layout, self.shelves.tail())?);
        }
        let layout = form.layout.clone();
        if self.forms.entry(depth).or_insert(form).layout != layout {
            let why = "inputs of one layout give activations of two layouts: make what decides it, such \
                       as a length in the context, part of the shape of the input";
            return Err(Error::cache(why));
        }
        Ok(shelf)
    }

    /// Drops the records of more than `depth` stages.
    pub(super) fn drop_beyond(&mut self, depth: usize) {
        for (key, known) in self.known.iter_mut().filter(|(_, known)| known.depth > depth) {
            known.depth = 0;
            self.shelves.remove(*key);
        }
        self.refused.take_if(|(of, _)| *of > depth);
        self.card.drop_beyond(depth);
        self.lifts.retain(|at, _| *at <= depth);
        self.forms.retain(|at, _| *at <= depth);
        self.shelves.drop_beyond(depth);
    }

    /// The number of bytes behind each row.
    pub(super) fn tail(&self) -> usize {
        self.shelves.tail()
    }

    /// The number of records, those once that are both on a card and kept in a file.
    pub(super) fn records(&self) -> usize {
        let alone = |(key, depth): &(u64, usize)| !self.is_on_shelf(*key, *depth);
        self.shelves.records() + self.card.records().filter(alone).count()
    }

    /// How many of `keys` have a record that is not on the card.
    pub(super) fn far(&self, keys: &[u64]) -> usize {
        let is_far = |key: u64| self.depth(key) > 0 && !self.card.has(key);
        keys.iter().filter(|key| is_far(**key)).count()
    }

    /// Starts to read records that are not on the card: those in a file, and for a card, if `lifts`, those on the host,
    /// too, which come to it then.
    pub(super) fn read_ahead(&mut self, keys: &[u64], lifts: bool) {
        self.shelves.drop_lifted();
        let (mut shelves, mut seen) =
            (BTreeMap::<Shelf, (usize, bool, Vec<u64>)>::new(), HashSet::new());
        for &key in keys.iter().filter(|key| seen.insert(**key)) {
            let depth = self.depth(key);
            let Some(form) = self.forms.get(&depth) else { continue };
            if !self.card.holds(key, depth) {
                let shelf = self.shelves.shelf(depth, form.layout.width());
                let (first, is_one, keys) =
                    shelves.entry(shelf).or_insert((depth, true, Vec::new()));
                *is_one &= *first == depth;
                keys.push(key);
            }
        }
        for (shelf, (depth, is_one, keys)) in shelves {
            let lift = if is_one && lifts { self.lift(depth) } else { None };
            if let Some(records) = self.shelves.get_mut(shelf) {
                records.read_ahead(&keys, lift.as_ref());
            }
        }
    }

    fn lift(&mut self, depth: usize) -> Option<Lift> {
        let (form, tail) = (self.forms.get(&depth)?, self.shelves.tail());
        let made = || lift(&form.layout, tail, &self.device);
        self.lifts.entry(depth).or_insert_with(made).clone()
    }

    /// Notes that there is a record of a sample after `depth` stages.
    pub(super) fn note(&mut self, samples: &Samples, sample: u32, depth: usize) {
        let print = samples.prints.as_ref().map(|prints| prints[sample as usize]);
        self.known.insert(samples.keys[sample as usize], Known { depth, print });
    }

    /// The number of stages that the deepest record of a sample has passed; 0 if there is none.
    fn depth(&self, key: u64) -> usize {
        let depth = match self.shelves.lifetime {
            Lifetime::Cache => self.known.get(&key).map(|known| known.depth),
            Lifetime::Kept => {
                self.forms.keys().rev().find(|depth| self.holds(key, **depth)).copied()
            }
        };
        depth.filter(|depth| self.holds(key, *depth)).unwrap_or(0)
    }

    fn holds(&self, key: u64, depth: usize) -> bool {
        self.card.holds(key, depth) || self.is_on_shelf(key, depth)
    }

    fn is_on_shelf(&self, key: u64, depth: usize) -> bool {
        let form = self.forms.get(&depth);
        form.is_some_and(|form| {
            let shelf = self.shelves.shelf(depth, form.layout.width());
            self.shelves.contains(shelf, key)
        })
    }
}

pub(super) fn differs(key: u64) -> Error {
    Error::cache(format!(
        "the input or context of key {key} differs from before: a key identifies the sample as it enters \
         the model, so give each augmented view, and each sample of another data set, a key of its own; if \
         the data has changed and records are kept, give it another `version`; if the difference does not \
         matter, call `unchecked_inputs`"
    ))
}
