//! `Group`: ranks that agree on each call before they make it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::collective::{Collective, Numbers};
use super::notice::{Notice, Status};
use super::words::{Words, difference};
use crate::error::{Error, Result};

/// The ranks of a run. Clones are handles to the same group, for layers that add up across the batch.
///
/// Before each call the ranks tell each other, in 40 bytes, what they are about to do. If they do not agree,
/// if one of them failed, or left because of an error or a panic, the call is not made and every rank gets an
/// error that says which rank and why: a group does not hang on a rank that has gone another way.
#[derive(Clone, Debug)]
pub struct Group(Arc<Ranks>);

#[derive(Debug)]
struct Ranks {
    collective: Box<dyn Collective>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why the ranks can do nothing together any more.
    over: Option<String>,
    /// The last error of this rank.
    failed: Option<String>,
    traffic: Traffic,
}

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

/// What a rank is about to do.
pub(crate) struct Call<'a> {
    /// The call, in words.
    pub(crate) what: &'a str,
    /// A fingerprint of what must be the same on all ranks.
    pub(crate) same: u64,
    /// What must be the same, in words: used only where it is not.
    pub(crate) words: &'a dyn Fn() -> Words,
    /// What the others get to know.
    pub(crate) numbers: [u64; 2],
}

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

    /// Replaces each element by its sum over all ranks; `what` names the numbers in errors.
    ///
    /// # Errors
    ///
    /// A rank brings other numbers, failed, or left.
    pub fn sum(&self, what: &str, numbers: Numbers<'_>) -> Result<()> {
        let (len, bytes) = (numbers.len(), numbers.bytes());
        let words = || vec![("the number of them".to_string(), len.to_string())];
        let call = Call { what, same: len as u64, words: &words, numbers: [0; 2] };
        let mut state = self.0.lock();
        self.0.meet(&mut state, &call, None)?;
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
        let lens: Vec<usize> = told.iter().map(|told| told[0] as usize).collect();
        state.traffic.spread += len;
        let all = self.0.each(&lens, own);
        ended(&mut state, all)
    }

    /// Remembers an error of this rank, for the others to know why it left.
    pub(crate) fn failed(&self, error: &Error) {
        self.0.lock().failed = Some(error.to_string());
    }
}

impl<'a> Call<'a> {
    /// A call that all ranks make in the same way.
    pub(crate) fn plain(what: &'a str, numbers: [u64; 2]) -> Self {
        Self { what, same: 0, words: &Words::new, numbers }
    }
}

impl Ranks {
    /// Tells the others what this rank is about to do, and returns what they bring if all do the same.
    fn meet(
        &self,
        state: &mut State,
        call: &Call<'_>,
        fault: Option<&str>,
    ) -> Result<Vec<[u64; 2]>> {
        if let Some(why) = &state.over {
            return Err(Error::training(format!("the ranks have parted: {why}")));
        }
        let status = if fault.is_some() { Status::Failed } else { Status::Ready };
        let words = || match fault {
            Some(fault) => vec![("fault".to_string(), fault.to_string())],
            None => {
                let mut words = vec![("the call".to_string(), call.what.to_string())];
                words.extend((call.words)());
                words
            }
        };
        let own = Notice::new(status, call.what, call.same, call.numbers);
        let told = self.exchange(&own, &words);
        let told = ended(state, told)?;
        match told {
            Ok(numbers) => Ok(numbers),
            Err((error, over)) => {
                if over {
                    state.over = Some(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// The numbers of all ranks; or the error of one or between them, and whether it ends the group.
    fn exchange(
        &self,
        own: &Notice,
        words: &dyn Fn() -> Words,
    ) -> Result<std::result::Result<Vec<[u64; 2]>, (Error, bool)>> {
        let mut all = vec![0; Notice::BYTES * self.collective.size()];
        self.collective.all_gather(&own.to_bytes(), &mut all)?;
        let all: Vec<Notice> = all.chunks_exact(Notice::BYTES).map(Notice::from_bytes).collect();
        let same = all.iter().all(|notice| notice.is_call_of(&all[0]));
        if same && all.iter().all(|notice| notice.status == Status::Ready) {
            return Ok(Ok(all.iter().map(|notice| notice.numbers).collect()));
        }
        let told = self.tell(&words())?;
        let first = |status| all.iter().position(|notice| notice.status == status);
        let said = |rank: usize| told[rank].first().map_or("", |(_, said)| said);
        let error = match (first(Status::Left), first(Status::Failed)) {
            (Some(rank), _) => Error::rank(rank, format!("it left the others: {}", said(rank))),
            (None, Some(rank)) => return Ok(Err((Error::rank(rank, said(rank)), !same))),
            (None, None) => difference(&told),
        };
        Ok(Err((error, true)))
    }

    /// The words of all ranks.
    fn tell(&self, own: &Words) -> Result<Vec<Words>> {
        let own = serde_json::to_vec(own).unwrap_or_default();
        let mut lens = vec![0; 8 * self.collective.size()];
        self.collective.all_gather(&(own.len() as u64).to_le_bytes(), &mut lens)?;
        let lens: Vec<usize> = lens
            .chunks_exact(8)
            .map(|len| u64::from_le_bytes(std::array::from_fn(|i| len[i])) as usize)
            .collect();
        let all = self.each(&lens, own)?;
        Ok(all.iter().map(|words| serde_json::from_slice(words).unwrap_or_default()).collect())
    }

    /// The bytes of all ranks, whose numbers are known.
    fn each(&self, lens: &[usize], own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let rank = self.collective.rank();
        let bytes = |(root, &len): (usize, &usize)| {
            let mut bytes = if root == rank { own.clone() } else { vec![0; len] };
            self.collective.broadcast(&mut bytes, root).map(|()| bytes)
        };
        lens.iter().enumerate().map(bytes).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result of the collective; an error ends the group.
fn ended<T>(state: &mut State, result: Result<T>) -> Result<T> {
    result.inspect_err(|error| state.over = Some(error.to_string()))
}

/// The others must not wait for a rank that comes no more.
impl Drop for Ranks {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.over.is_some() {
            return;
        }
        let why = match (std::thread::panicking(), state.failed.take()) {
            (true, _) => "it panicked".to_string(),
            (false, Some(failed)) => failed,
            (false, None) => "its run was dropped".to_string(),
        };
        let words = || vec![("left".to_string(), why.clone())];
        let _ = self.exchange(&Notice::new(Status::Left, "", 0, [0; 2]), &words);
    }
}
