//! Records of samples whose inputs have one layout.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device};

use super::rounded::{Rounded, as_computed, types};
use super::samples::Samples;
use super::store::{Records, Store};
use crate::error::{Error, Result};
use crate::model::{Flow, FlowLayout, FlowRows};

/// The records of samples whose inputs have one layout. The same sample in another layout, such as
/// padded to another length, has a record of its own.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) input: FlowLayout,
    /// The layout of the activations, by the number of stages passed.
    forms: BTreeMap<usize, Form>,
    /// Records by their width, so that one that is extended to the same width stays in its place.
    records: BTreeMap<usize, Records>,
    known: HashMap<u64, Known>,
}

#[derive(Debug)]
struct Form {
    /// Of the stored activations.
    layout: FlowLayout,
    /// The types that the tensors were computed in.
    types: Vec<DType>,
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The number of stages passed.
    depth: usize,
    /// The fingerprint of input and context.
    print: Option<u64>,
}

impl Class {
    pub(super) fn new(input: FlowLayout) -> Self {
        let (forms, records) = (BTreeMap::new(), BTreeMap::new());
        Self { input, forms, records, known: HashMap::new() }
    }

    /// The samples, by index, grouped by the number of stages that their records have passed; 0 for
    /// samples without a record.
    ///
    /// # Errors
    ///
    /// The input or context of a sample differs from that of its record.
    pub(super) fn passed(&self, samples: &Samples) -> Result<BTreeMap<usize, Vec<u32>>> {
        let mut passed: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (i, &key) in samples.keys.iter().enumerate() {
            let known = self.known.get(&key).filter(|known| self.holds(key, known.depth));
            if let Some(before) = known.and_then(|known| known.print)
                && samples.prints.as_ref().is_some_and(|prints| prints[i] != before)
            {
                return Err(Error::cache(format!(
                    "the input or context of key {key} differs from before: a key identifies the sample as it \
                     enters the model, so give each augmented view, and each sample of another data set, \
                     a key of its own; if the difference does not matter, call `unchecked_inputs`"
                )));
            }
            passed.entry(known.map_or(0, |known| known.depth)).or_default().push(i as u32);
        }
        Ok(passed)
    }

    /// The activations of the samples of `keys` after `depth` stages; `None` if a record can no longer be
    /// read.
    pub(super) fn read<F: Flow>(
        &mut self,
        depth: usize,
        keys: &[u64],
        device: &Device,
    ) -> Result<Option<F>> {
        let Some(form) = self.forms.get(&depth) else { return Ok(None) };
        let Some(records) = self.records.get_mut(&form.layout.width()) else { return Ok(None) };
        let mut bytes = Vec::new();
        if records.read(keys, &mut bytes).len() < keys.len() {
            return Ok(None);
        }
        let kept = F::of_rows(&FlowRows::new(form.layout.clone(), keys.len(), bytes)?, device)?;
        as_computed(&kept, &form.types).map(Some)
    }

    /// Stores the activations of the samples at `which` after `depth` stages, as many as fit, in place of
    /// their records.
    ///
    /// # Errors
    ///
    /// The activations of earlier samples of this class had another layout.
    pub(super) fn keep<F: Flow>(
        &mut self,
        depth: usize,
        (samples, which): (&Samples, &[u32]),
        rounded: &Rounded<F>,
        store: &Store,
    ) -> Result<()> {
        let rows = rounded.kept.to_rows()?;
        let types = types(&rounded.flow);
        let form = Form { layout: rows.layout().clone(), types };
        let form = self.forms.entry(depth).or_insert(form);
        if form.layout != *rows.layout() {
            let why = "inputs of one layout give activations of two layouts: make what decides it, such \
                       as a length in the context, part of the shape of the input";
            return Err(Error::cache(why));
        }
        let width = rows.layout().width();
        for (&i, (row, fit)) in which.iter().zip(rows.iter().zip(&rounded.fit)) {
            let key = samples.keys[i as usize];
            let print = samples.prints.as_ref().map(|prints| prints[i as usize]);
            if *fit && self.write(key, row, width, store) {
                self.forget_elsewhere(key, width);
                self.known.insert(key, Known { depth, print });
            } else if !self.known.get(&key).is_some_and(|known| self.holds(key, known.depth)) {
                self.known.remove(&key);
            }
        }
        Ok(())
    }

    /// Drops the records of more than `depth` stages.
    pub(super) fn drop_beyond(&mut self, depth: usize) {
        let beyond: Vec<u64> = self
            .known
            .iter()
            .filter(|(_, known)| known.depth > depth)
            .map(|(key, _)| *key)
            .collect();
        for key in beyond {
            self.known.remove(&key);
            self.records.values_mut().for_each(|records| records.remove(key));
        }
        self.forms.retain(|at, _| *at <= depth);
        self.records.retain(|_, records| records.len() > 0);
    }

    pub(super) fn records(&self) -> usize {
        self.records.values().map(Records::len).sum()
    }

    /// Starts to read records from the file.
    pub(super) fn read_ahead(&mut self, keys: &[u64]) {
        self.records.values_mut().for_each(|records| records.read_ahead(keys));
    }

    /// Whether there is a record of `key` after `depth` stages.
    fn holds(&self, key: u64, depth: usize) -> bool {
        let records =
            self.forms.get(&depth).and_then(|form| self.records.get(&form.layout.width()));
        records.is_some_and(|records| records.contains(key))
    }

    /// Writes a row if it fits; if not, wider rows, which are of earlier stages, make room. Whether it was
    /// written.
    fn write(&mut self, key: u64, row: &[u8], width: usize, store: &Store) -> bool {
        let records = self.records.entry(width).or_insert_with(|| store.records(width));
        if records.write(&[key], row) == 1 {
            return true;
        }
        let wider = self.records.split_off(&(width + 1));
        let gave_room = !wider.is_empty();
        drop(wider);
        gave_room
            && self.records.get_mut(&width).is_some_and(|records| records.write(&[key], row) == 1)
    }

    fn forget_elsewhere(&mut self, key: u64, width: usize) {
        let others = self.records.iter_mut().filter(|(other, _)| **other != width);
        others.for_each(|(_, records)| records.remove(key));
        self.records.retain(|other, records| *other == width || records.len() > 0);
    }
}
