//! The batches that a run was told of.

/// The keys of the batches to come.
pub(super) struct Upcoming {
    next: Option<Vec<u64>>,
    behind: Box<dyn Iterator<Item = Vec<u64>> + Send>,
}

impl Upcoming {
    pub(super) fn new(mut batches: impl Iterator<Item = Vec<u64>> + Send + 'static) -> Self {
        Self { next: batches.next(), behind: Box::new(batches) }
    }

    /// The next batch.
    pub(super) fn next(&self) -> Option<&[u64]> {
        self.next.as_deref()
    }

    /// Goes on to the next batch if this one was the next; whether it did.
    pub(super) fn pass(&mut self, keys: &[u64]) -> bool {
        let is_next = self.next() == Some(keys);
        if is_next {
            self.next = self.behind.next();
        }
        is_next
    }
}
