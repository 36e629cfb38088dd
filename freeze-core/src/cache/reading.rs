//! Reading records, from the card where they are there and from the host.

use candle_core::Device;

use super::class::{Class, differs};
use super::rounded::as_computed;
use super::samples::Samples;
use super::shelves::{Lifetime, Shelves};
use super::store::Lifted;
use super::trial::select;
use crate::error::Result;
use crate::model::{Flow, FlowRows, of_tensors};

impl Class {
    /// The activations of the samples at `which` after `depth` stages; `None` if a record can no longer be
    /// read.
    ///
    /// # Errors
    ///
    /// The input or context of a sample differs from that of its record, which an earlier run kept.
    pub(super) fn read<F: Flow>(
        &mut self,
        depth: usize,
        (samples, which): (&Samples, &[u32]),
        device: &Device,
    ) -> Result<Option<F>> {
        let is_on_card = |i: &u32| self.card.holds(samples.keys[*i as usize], depth);
        let (on_card, others): (Vec<u32>, Vec<u32>) = which.iter().partition(|i| is_on_card(i));
        let near = match &on_card[..] {
            [] => None,
            _ => match self.read_card::<F>(depth, &samples.keys(&on_card), device)? {
                None => return Ok(None),
                read => read,
            },
        };
        let far = match &others[..] {
            [] => None,
            _ => match self.read_host::<F>(depth, (samples, &others), device)? {
                None => return Ok(None),
                read => read,
            },
        };
        let kept = match (near, far) {
            (Some(near), Some(far)) => {
                let all = F::concatenate(&[near, far])?;
                let read: Vec<u32> = on_card.into_iter().chain(others).collect();
                let mut rows: Vec<u32> = (0..read.len() as u32).collect();
                // Both are in the order of the samples, as all are.
                rows.sort_by_key(|row| read[*row as usize]);
                select(&all, &rows)?
            }
            (Some(kept), None) | (None, Some(kept)) => kept,
            (None, None) => return Ok(None),
        };
        let Some(form) = self.forms.get(&depth) else { return Ok(None) };
        as_computed(&kept, &form.types).map(Some)
    }

    fn read_card<F: Flow>(&self, depth: usize, keys: &[u64], device: &Device) -> Result<Option<F>> {
        let (Some(form), Some(tensors)) = (self.forms.get(&depth), self.card.read(keys)?) else {
            return Ok(None);
        };
        let read: F = of_tensors(&form.layout, tensors)?;
        read.map_tensors(|tensor| Ok(tensor.to_device(device)?)).map(Some)
    }

    /// As [`read`](Self::read), for records on the host or on disk, or on their way from there. They go to the card
    /// if there is room.
    fn read_host<F: Flow>(
        &mut self,
        depth: usize,
        (samples, which): (&Samples, &[u32]),
        device: &Device,
    ) -> Result<Option<F>> {
        let Some(form) = self.forms.get(&depth) else { return Ok(None) };
        let (width, tail) = (form.layout.width(), self.shelves.tail());
        let shelf = self.shelves.shelf(depth, width);
        let Some(records) = self.shelves.get_mut(shelf) else { return Ok(None) };
        let keys = samples.keys(which);
        let kept: F = match records.lifted(&keys) {
            Some(Lifted { tensors, places, rows }) => {
                let unlooked = unlooked(rows.into_iter(), width, (samples, which))?;
                if drop_from(&mut self.shelves, unlooked) {
                    return Ok(None);
                }
                let read: F = of_tensors(&form.layout, tensors)?;
                let is_whole = places.len() == read.batch()? && places.is_sorted();
                let read = if is_whole { read } else { select(&read, &places)? };
                read.map_tensors(|tensor| Ok(tensor.to_device(device)?))?
            }
            None => {
                let mut bytes = Vec::new();
                if records.read(&keys, &mut bytes).len() < keys.len() {
                    return Ok(None);
                }
                if tail > 0 {
                    let rows = bytes.chunks_exact(width + tail);
                    let unlooked = unlooked(rows.clone(), width, (samples, which))?;
                    if drop_from(&mut self.shelves, unlooked) {
                        return Ok(None);
                    }
                    bytes = rows.flat_map(|row| &row[..width]).copied().collect();
                }
                F::of_rows(&FlowRows::new(form.layout.clone(), keys.len(), bytes)?, device)?
            }
        };
        let tensors = kept.tensors();
        if self.card.takes(&tensors) {
            let stored = self.card.put(depth, &keys, &tensors)?;
            if self.shelves.lifetime == Lifetime::Cache {
                let moved = keys.iter().zip(stored).filter(|(_, stored)| *stored);
                moved.for_each(|(key, _)| self.shelves.remove(*key));
                self.shelves.drop_empty();
            }
        }
        Ok(Some(kept))
    }
}

/// Drops the records of these keys; whether there are some.
fn drop_from(shelves: &mut Shelves, keys: Vec<u64>) -> bool {
    keys.iter().for_each(|key| shelves.remove(*key));
    !keys.is_empty()
}

/// The keys of rows behind whose first `width` bytes is no fingerprint, since a run kept them that did not look at inputs;
/// those of the others are compared.
///
/// # Errors
///
/// One differs.
fn unlooked<'a>(
    rows: impl Iterator<Item = &'a [u8]>,
    width: usize,
    (samples, which): (&Samples, &[u32]),
) -> Result<Vec<u64>> {
    let (Some(prints), mut keys) = (&samples.prints, Vec::new()) else { return Ok(Vec::new()) };
    for (row, &i) in rows.zip(which) {
        // Records that are not kept have no room for one.
        let Ok(print) = row[width..].try_into() else { continue };
        match u64::from_le_bytes(print) {
            0 => keys.push(samples.keys[i as usize]),
            before if before == prints[i as usize] => {}
            _ => return Err(differs(samples.keys[i as usize])),
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
