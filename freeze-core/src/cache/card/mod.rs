//! Records that stay on a card: no copy to the host, and nothing waits.

mod lift;
mod slab;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::Tensor;

use super::store::Budget;
use crate::error::Result;
use crate::kernel::on_cards;
pub(super) use lift::lift;
use slab::Slab;

/// The records of samples on a card, one of each key. Dropping it returns their bytes to the budget.
#[derive(Debug)]
pub(super) struct Card {
    budget: Arc<Budget>,
    slabs: BTreeMap<u32, Slab>,
    places: HashMap<u64, Place>,
    /// Whether the card itself had no more room.
    is_full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    slab: u32,
    row: u32,
    /// The number of stages that the record has passed.
    depth: usize,
}

impl Card {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, slabs: BTreeMap::new(), places: HashMap::new(), is_full: false }
    }

    /// Whether records of these tensors can lie here: on one card, of types that candle copies and chooses there.
    pub(super) fn takes(&self, tensors: &[Tensor]) -> bool {
        let Some(first) = tensors.first() else { return false };
        let fits = |tensor: &Tensor| {
            on_cards(tensor.dtype())
                && tensor.device().same_device(first.device())
                && tensor.elem_count() > 0
        };
        self.budget.limit > 0 && first.device().is_cuda() && tensors.iter().all(fits)
    }

    /// Stores the rows of tensors, one row of each for each of `keys`, which are distinct, in place of the keys'
    /// records. Returns for each whether it found room; of others an earlier record stays.
    pub(super) fn put(
        &mut self,
        depth: usize,
        keys: &[u64],
        tensors: &[Tensor],
    ) -> Result<Vec<bool>> {
        let mut stored = vec![false; keys.len()];
        let Some(number) = self.slab(tensors)? else { return Ok(stored) };
        let Some(slab) = self.slabs.get_mut(&number) else { return Ok(stored) };
        let own = |key: &u64| self.places.get(key).filter(|at| at.slab == number).map(|at| at.row);
        let own: Vec<Option<u32>> = keys.iter().map(own).collect();
        let wanted = own.iter().filter(|row| row.is_none()).count();
        self.is_full |= !slab.grow(wanted, self.is_full)?;
        let (mut from, mut rows) = (Vec::new(), Vec::new());
        for (i, own) in (0..).zip(own) {
            let Some(row) = own.or_else(|| slab.hand_out()) else { continue };
            stored[i as usize] = true;
            from.push(i);
            rows.push(row);
        }
        slab.write(&from, &rows, tensors)?;
        for (&i, &row) in from.iter().zip(&rows) {
            let place = Place { slab: number, row, depth };
            let before = self.places.insert(keys[i as usize], place);
            if let Some(before) = before.filter(|before| before.slab != number) {
                self.free(before);
            }
        }
        self.drop_empty();
        Ok(stored)
    }

    /// Whether there is a record of `key` after `depth` stages.
    pub(super) fn holds(&self, key: u64, depth: usize) -> bool {
        self.places.get(&key).is_some_and(|place| place.depth == depth)
    }

    /// Whether there is a record of `key`.
    pub(super) fn has(&self, key: u64) -> bool {
        self.places.contains_key(&key)
    }

    /// Every key and the number of stages that its record has passed.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, usize)> {
        self.places.iter().map(|(key, place)| (*key, place.depth))
    }

    /// The rows of `keys`, whose records have passed as many stages; `None` if one has none.
    pub(super) fn read(&self, keys: &[u64]) -> Result<Option<Vec<Tensor>>> {
        let places: Option<Vec<&Place>> = keys.iter().map(|key| self.places.get(key)).collect();
        let Some(places) = places else { return Ok(None) };
        let slab = places.first().and_then(|first| self.slabs.get(&first.slab));
        let Some(slab) = slab.filter(|_| places.iter().all(|at| at.slab == places[0].slab)) else {
            return Ok(None);
        };
        slab.read(&places.iter().map(|place| place.row).collect::<Vec<_>>()).map(Some)
    }

    /// Forgets the record of `key`, if there is one.
    pub(super) fn remove(&mut self, key: u64) {
        if let Some(place) = self.places.remove(&key) {
            self.free(place);
            self.drop_empty();
        }
    }

    /// Drops the records of more than `depth` stages.
    pub(super) fn drop_beyond(&mut self, depth: usize) {
        let beyond: Vec<u64> =
            self.records().filter(|(_, at)| *at > depth).map(|(key, _)| key).collect();
        beyond.into_iter().for_each(|key| self.remove(key));
    }

    /// Drops records with rows of more than `width` bytes, and says whether there were any.
    pub(super) fn drop_wider(&mut self, width: usize) -> bool {
        let before = self.slabs.len();
        self.slabs.retain(|_, slab| slab.width() <= width);
        self.places.retain(|_, place| self.slabs.contains_key(&place.slab));
        self.is_full &= self.slabs.len() == before;
        self.slabs.len() < before
    }

    /// The slab for rows of these tensors.
    fn slab(&mut self, tensors: &[Tensor]) -> Result<Option<u32>> {
        if let Some((number, _)) = self.slabs.iter().find(|(_, slab)| slab.is_for(tensors)) {
            return Ok(Some(*number));
        }
        let number = self.slabs.last_key_value().map_or(0, |(last, _)| last + 1);
        let Some(slab) = Slab::new(Arc::clone(&self.budget), tensors)? else { return Ok(None) };
        self.slabs.insert(number, slab);
        Ok(Some(number))
    }

    fn free(&mut self, place: Place) {
        if let Some(slab) = self.slabs.get_mut(&place.slab) {
            slab.free(place.row);
        }
    }

    fn drop_empty(&mut self) {
        let mut is_freed = false;
        self.slabs.retain(|_, slab| {
            is_freed |= slab.is_empty() && slab.has_memory();
            !slab.is_empty()
        });
        self.is_full &= !is_freed;
    }
}
