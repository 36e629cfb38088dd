//! How ranks agree on a call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::collective::Collective;
use super::notice::{Notice, Status};
use super::traffic::Traffic;
use super::words::{Words, difference};
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Ranks {
    pub(super) collective: Box<dyn Collective>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Why the ranks can do nothing together any more.
    over: Option<String>,
    /// The last error of this rank.
    pub(super) failed: Option<String>,
    pub(super) traffic: Traffic,
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

impl<'a> Call<'a> {
    /// A call that all ranks make in the same way.
    pub(crate) fn plain(what: &'a str, numbers: [u64; 2]) -> Self {
        Self { what, same: 0, words: &Words::new, numbers }
    }
}

/// What comes of a meeting.
enum Met {
    /// What all ranks bring, by rank.
    Agreed(Vec<[u64; 2]>),
    /// The error of a rank or between them, and whether it ends the group.
    Parted { error: Error, ends: bool },
}

impl Ranks {
    /// Tells the others what this rank is about to do, and returns what they bring if all do the same.
    pub(super) fn meet(
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
        let told = self.exchange(own, &words);
        let told = ended(state, told)?;
        match told {
            Met::Agreed(numbers) => Ok(numbers),
            Met::Parted { error, ends } => {
                if ends {
                    state.over = Some(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// What comes of all ranks' notices.
    fn exchange(&self, own: Notice, words: &dyn Fn() -> Words) -> Result<Met> {
        let all = self.notices(own)?;
        let same = all.iter().all(|notice| notice.is_call_of(&all[0]));
        if same && all.iter().all(|notice| notice.status == Status::Ready) {
            return Ok(Met::Agreed(all.iter().map(|notice| notice.numbers).collect()));
        }
        let told = self.tell(own, &words())?;
        let first = |status| all.iter().position(|notice| notice.status == status);
        let said = |rank: usize| told[rank].first().map_or("", |(_, said)| said);
        let error = match (first(Status::Left), first(Status::Failed)) {
            (Some(rank), _) => Error::rank(rank, format!("it left the others: {}", said(rank))),
            (None, Some(rank)) => {
                return Ok(Met::Parted { error: Error::rank(rank, said(rank)), ends: !same });
            }
            (None, None) => difference(&told),
        };
        Ok(Met::Parted { error, ends: true })
    }

    /// The notices of all ranks, by rank.
    fn notices(&self, own: Notice) -> Result<Vec<Notice>> {
        let mut all = vec![0; Notice::BYTES * self.collective.size()];
        self.collective.all_gather(&own.to_bytes(), &mut all)?;
        Ok(all.chunks_exact(Notice::BYTES).map(Notice::from_bytes).collect())
    }

    /// The words of all ranks, whose numbers further notices tell.
    fn tell(&self, mut notice: Notice, own: &Words) -> Result<Vec<Words>> {
        let own = serde_json::to_vec(own).unwrap_or_default();
        notice.numbers = [own.len() as u64, 0];
        let told = self.notices(notice)?;
        let all = self.each(told.iter().map(|notice| notice.numbers), own)?;
        Ok(all.iter().map(|words| serde_json::from_slice(words).unwrap_or_default()).collect())
    }

    /// The bytes of all ranks, as many as the first of the numbers that each has told.
    pub(super) fn each(
        &self,
        told: impl Iterator<Item = [u64; 2]>,
        mut own: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>> {
        let rank = self.collective.rank();
        let bytes = |(root, [len, _]): (usize, [u64; 2])| {
            let mut bytes =
                if root == rank { std::mem::take(&mut own) } else { vec![0; len as usize] };
            self.collective.broadcast(&mut bytes, root).map(|()| bytes)
        };
        told.enumerate().map(bytes).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result of the collective; an error ends the group.
pub(super) fn ended<T>(state: &mut State, result: Result<T>) -> Result<T> {
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
        if self.collective.leave(&why) {
            return;
        }
        let words = || vec![("left".to_string(), why.clone())];
        let _ = self.exchange(Notice::new(Status::Left, "", 0, [0; 2]), &words);
    }
}
