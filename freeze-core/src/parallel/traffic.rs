//! What ranks send.

/// What a rank has sent, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Of numbers that were added up over the ranks.
    pub reduced: u64,
    /// Of what one rank sent to all others: weights at the start, decisions, metrics.
    pub spread: u64,
}

impl Traffic {
    /// What was sent since `before`.
    pub fn since(self, before: Self) -> Self {
        let (reduced, spread) = (self.reduced - before.reduced, self.spread - before.spread);
        Self { reduced, spread }
    }
}
