//! `Group`: ranks that agree on each call before they make it.

use std::sync::{Arc, Mutex};

use candle_core::Device;

use super::collective::{Collective, Numbers};
use super::meeting::{Call, Ranks, ended};
use super::traffic::Traffic;
use super::words::{Words, fingerprint_of};
use crate::error::{Error, Result};

/// The ranks of a run. Clones are handles to the same group, for layers that add up across the batch.
///
/// Before each call the ranks tell each other, in 40 bytes, what they are about to do. If they do not agree,
/// if one of them failed, or left because of an error or a panic, the call is not made and every rank gets an
/// error that says which rank and why: a group does not hang on a rank that has gone another way.
#[derive(Clone, Debug)]
pub struct Group(Arc<Ranks>);

impl Group {
    /// A group of ranks that have done nothing together yet.
    pub fn new(collective: impl Collective + 'static) -> Self {
        let collective = Box::new(collective);
        Self(Arc::new(Ranks { collective, state: Mutex::default() }))
    }

    /// The number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.collective.rank()
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.0.collective.size()
    }

    /// Whether this rank decides, saves and reports: rank 0.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// What this rank has sent so far.
    pub fn traffic(&self) -> Traffic {
        self.0.lock().traffic
    }

    /// Whether sums of tensors on this device are taken there.
    pub(crate) fn adds_up_on(&self, device: &Device) -> bool {
        self.0.collective.adds_up_on(device)
    }

    /// Replaces each element by its sum over all ranks; `what` names the numbers in errors.
    ///
    /// # Errors
    ///
    /// A rank brings other numbers, failed, or left.
    pub fn sum(&self, what: &str, numbers: Numbers<'_>) -> Result<()> {
        let (len, bytes) = (numbers.len(), numbers.bytes());
        let words = || vec![("the number of them".to_string(), len.to_string())];
        let call = Call { what, same: len as u64, words: &words, numbers: [0; 2] };
        let ready = self.0.collective.wait_for(&numbers);
        let fault = ready.as_ref().err().map(ToString::to_string);
        let mut state = self.0.lock();
        let met = self.0.meet(&mut state, &call, fault.as_deref());
        // The others' error is this one.
        ready.and(met)?;
        state.traffic.reduced += bytes as u64;
        let sum = self.0.collective.all_reduce(numbers);
        ended(&mut state, sum)
    }

    /// Has the ranks meet, and returns what they bring, by rank.
    ///
    /// # Errors
    ///
    /// `own` is an error, which the others get to know. Or a rank is at another call, failed, or left.
    pub(crate) fn agree<T>(&self, call: &Call<'_>, own: Result<T>) -> Result<(T, Vec<[u64; 2]>)> {
        let mut state = self.0.lock();
        match own {
            Ok(own) => Ok((own, self.0.meet(&mut state, call, None)?)),
            Err(error) => {
                let fault = error.to_string();
                // The others' error is this one.
                let _ = self.0.meet(&mut state, call, Some(&fault));
                Err(error)
            }
        }
    }

    /// Has the ranks compare words, which must be the same on all, and returns what they bring, by rank.
    ///
    /// # Errors
    ///
    /// As [`agree`](Self::agree), or the first difference of a rank to rank 0.
    pub(crate) fn compare(
        &self,
        what: &str,
        words: Result<Words>,
        numbers: [u64; 2],
    ) -> Result<Vec<[u64; 2]>> {
        let (words, own) = match words {
            Ok(words) => (words, Ok(())),
            Err(error) => (Words::new(), Err(error)),
        };
        let same = fingerprint_of(&words);
        Ok(self.agree(&Call { what, same, words: &|| words.clone(), numbers }, own)?.1)
    }

    /// The bytes of rank 0, which only it makes.
    ///
    /// # Errors
    ///
    /// As [`agree`](Self::agree).
    pub(crate) fn spread(
        &self,
        what: &str,
        own: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let own = if self.leads() { own() } else { Ok(Vec::new()) };
        let len = own.as_ref().map_or(0, Vec::len) as u64;
        let (mut bytes, told) = self.agree(&Call::plain(what, [len, 0]), own)?;
        bytes.resize(told[0][0] as usize, 0);
        let mut state = self.0.lock();
        if self.leads() {
            state.traffic.spread += len;
        }
        let done = self.0.collective.broadcast(&mut bytes, 0);
        ended(&mut state, done)?;
        Ok(bytes)
    }

    /// The bytes of each rank.
    ///
    /// # Errors
    ///
    /// As [`agree`](Self::agree).
    pub(crate) fn gather(&self, what: &str, own: Result<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let len = own.as_ref().map_or(0, Vec::len) as u64;
        let (own, told) = self.agree(&Call::plain(what, [len, 0]), own)?;
        let mut state = self.0.lock();
        state.traffic.spread += len;
        let all = self.0.each(told.into_iter(), own);
        ended(&mut state, all)
    }

    /// Remembers an error of this rank, for the others to know why it left.
    pub(crate) fn failed(&self, error: &Error) {
        self.0.lock().failed = Some(error.to_string());
    }
}
