//! Storing records, on the card where they are there and on the host.

use super::class::{Class, Open};
use super::form::Form;
use super::rounded::Rounded;
use super::samples::Samples;
use super::shelves::{Lifetime, Shelf};
use super::trial::select;
use crate::error::Result;
use crate::model::Flow;

/// The samples of a batch at `which`, in the order of their activations.
type Batch<'a> = (&'a Samples, &'a [u32]);

impl Class {
    /// Stores the activations of the samples at `which` after `depth` stages, as many as fit, in place of
    /// their records. What is on a card stays there while its budget lasts; records that later runs find are
    /// written to files as well.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(super) fn keep<F: Flow>(
        &mut self,
        depth: usize,
        (samples, which): (&Samples, &[u32]),
        rounded: &Rounded<F>,
        open: &Open<'_>,
    ) -> Result<()> {
        let shelf = self.open(depth, Form::of_rounded(rounded)?, open)?;
        let (kept, batch) = (&rounded.kept, (samples, which));
        let fit = (0..).zip(&rounded.fit).filter(|(_, fit)| **fit);
        let fit: Vec<u32> = fit.map(|(row, _)| row).collect();
        let is_kept = self.shelves.lifetime == Lifetime::Kept;
        let (near, rest) = self.put(depth, batch, kept, fit.clone())?;
        let far = if is_kept { fit } else { rest };
        let written = self.write(shelf, batch, kept, &far)?;
        let (far, rest) = far.split_at(written);
        for &row in far {
            let key = samples.keys[which[row as usize] as usize];
            self.shelves.forget_elsewhere(key, shelf);
            if !is_kept {
                self.card.remove(key);
            }
        }
        let stored = near.iter().chain(far);
        stored.for_each(|row| self.note(samples, which[*row as usize], depth));
        if !rest.is_empty() && !is_kept && self.card.drop_wider(shelf.0) {
            let (more, _) = self.put(depth, batch, kept, rest.to_vec())?;
            more.iter().for_each(|row| self.note(samples, which[*row as usize], depth));
        }
        self.shelves.drop_empty();
        Ok(())
    }

    /// Stores rows of the activations on their card, if they are on one; returns those that found room there and
    /// those that did not.
    fn put<F: Flow>(
        &mut self,
        depth: usize,
        (samples, which): Batch<'_>,
        kept: &F,
        rows: Vec<u32>,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        if rows.is_empty() || !self.card.takes(&kept.tensors()) {
            return Ok((Vec::new(), rows));
        }
        let tensors = chosen(kept, &rows, which.len())?.tensors();
        let keys: Vec<u64> =
            rows.iter().map(|row| samples.keys[which[*row as usize] as usize]).collect();
        let stored = self.card.put(depth, &keys, &tensors)?;
        if self.shelves.lifetime == Lifetime::Cache {
            let moved = keys.iter().zip(&stored).filter(|(_, stored)| **stored);
            moved.for_each(|(key, _)| self.shelves.remove(*key));
        }
        let mut stored = stored.into_iter();
        Ok(rows.into_iter().partition(|_| stored.next().unwrap_or(false)))
    }

    /// Writes rows of the activations on the host or on disk, as many as fit, and returns their number.
    fn write<F: Flow>(
        &mut self,
        shelf: Shelf,
        (samples, which): Batch<'_>,
        kept: &F,
        rows: &[u32],
    ) -> Result<usize> {
        if rows.is_empty() {
            return Ok(0);
        }
        let chosen = chosen(kept, rows, which.len())?.to_rows()?;
        let which: Vec<u32> = rows.iter().map(|row| which[*row as usize]).collect();
        let mut bytes = Vec::with_capacity(chosen.as_bytes().len());
        for (row, &i) in chosen.iter().zip(&which) {
            let print = samples.prints.as_ref().map_or(0, |prints| prints[i as usize]);
            bytes.extend_from_slice(row);
            bytes.extend_from_slice(&print.to_le_bytes()[..self.shelves.tail()]);
        }
        Ok(self.shelves.write(shelf, &samples.keys(&which), &bytes))
    }
}

/// Some rows of a flow of `batch`; itself, if they are all.
fn chosen<F: Flow>(flow: &F, rows: &[u32], batch: usize) -> Result<F> {
    match rows.len() == batch {
        true => flow.detached(),
        false => select(flow, rows),
    }
}
