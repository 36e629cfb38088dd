//! What a rank tells the others before a call.

use super::words::fingerprint;

/// What a rank is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) status: Status,
    /// Fingerprints of the call, and of what must be the same on all ranks.
    call: [u64; 2],
    pub(super) numbers: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ready,
    /// It has an error to tell, and stays.
    Failed,
    /// It comes no more.
    Left,
}

impl Notice {
    pub(super) const BYTES: usize = 40;

    pub(super) fn new(status: Status, what: &str, same: u64, numbers: [u64; 2]) -> Self {
        Self { status, call: [fingerprint(what.as_bytes()), same], numbers }
    }

    /// Whether both are about to do the same.
    pub(super) fn is_call_of(&self, other: &Self) -> bool {
        self.call == other.call
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let [call, same] = self.call;
        let [first, second] = self.numbers;
        let mut bytes = [0; Self::BYTES];
        let words = [self.status as u64, call, same, first, second];
        bytes
            .chunks_exact_mut(8)
            .zip(words)
            .for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * at + i]));
        let status = match word(0) {
            0 => Status::Ready,
            1 => Status::Failed,
            _ => Status::Left,
        };
        Self { status, call: [word(1), word(2)], numbers: [word(3), word(4)] }
    }
}
