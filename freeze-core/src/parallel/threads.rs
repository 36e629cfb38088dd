//! Threads of one process as ranks.

use std::ops::AddAssign;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use half::bf16;

use super::collective::{Collective, Numbers, not_on_host};
use crate::error::{Error, Result, at_least_1};

/// A rank among threads of this process: for tests, and for several devices of one machine.
///
/// ```
/// use std::thread;
/// use freeze_core::parallel::{Collective, Numbers, Threads};
///
/// let sums: Vec<f32> = thread::scope(|scope| {
///     let run = |rank: Threads| scope.spawn(move || {
///         let mut numbers = [rank.rank() as f32 + 1.0];
///         rank.all_reduce(Numbers::F32(&mut numbers)).map(|()| numbers[0])
///     });
///     let ranks: Vec<_> = Threads::ranks(3)?.into_iter().map(run).collect();
///     ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<Result<_, _>>()
/// })?;
/// assert_eq!(sums, [6.0; 3]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    table: Arc<Table>,
}

/// Where the ranks put down what they bring for each other.
#[derive(Debug)]
struct Table {
    size: usize,
    round: Mutex<Round>,
    moved: Condvar,
}

/// One call: all ranks come, each with what it brings, and when all are there they go, each with what all
/// have brought.
#[derive(Debug)]
struct Round {
    brought: Vec<Option<Brought>>,
    /// What all have brought, once the last has come.
    all: Option<Arc<Vec<Brought>>>,
    /// Ranks that have yet to go.
    to_go: usize,
    /// The first rank that is no more, and why.
    gone: Option<(usize, String)>,
}

#[derive(Clone, Debug)]
enum Brought {
    Bytes(Vec<u8>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<bf16>),
}

impl Threads {
    /// All ranks of a group of `size`, one for each thread.
    ///
    /// # Errors
    ///
    /// `size` is 0.
    pub fn ranks(size: usize) -> Result<Vec<Self>> {
        let size = at_least_1("size", size)?;
        let round = Round { brought: vec![None; size], all: None, to_go: 0, gone: None };
        let table = Arc::new(Table { size, round: Mutex::new(round), moved: Condvar::new() });
        Ok((0..size).map(|rank| Self { rank, table: table.clone() }).collect())
    }

    /// Hands something to all ranks and returns what all have handed over, by rank.
    fn exchange(&self, bring: Brought) -> Result<Arc<Vec<Brought>>> {
        let mut round = self.table.lock();
        // The call before may not be over for all.
        while round.all.is_some() {
            round = self.table.wait(round);
        }
        round.brought[self.rank] = Some(bring);
        if round.brought.iter().all(Option::is_some) {
            let all = round.brought.iter_mut().filter_map(Option::take).collect();
            (round.all, round.to_go) = (Some(Arc::new(all)), self.size());
            self.table.moved.notify_all();
        }
        loop {
            if let Some(all) = round.all.clone() {
                round.to_go -= 1;
                if round.to_go == 0 {
                    round.all = None;
                    self.table.moved.notify_all();
                }
                return Ok(all);
            }
            if let Some((rank, why)) = &round.gone {
                return Err(Error::rank(*rank, why.as_str()));
            }
            round = self.table.wait(round);
        }
    }

    /// Ends every call that is not complete: what all have brought can still be read.
    fn comes_no_more(&self, why: String) {
        let mut round = self.table.lock();
        if round.gone.is_none() {
            round.gone = Some((self.rank, why));
        }
        self.table.moved.notify_all();
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, round: MutexGuard<'a, Round>) -> MutexGuard<'a, Round> {
        self.moved.wait(round).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.comes_no_more("its thread has ended".to_string());
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.table.size
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        match numbers {
            Numbers::F32(numbers) => {
                let all = self.exchange(Brought::F32(numbers.to_vec()))?;
                sum(numbers, &all, Brought::f32, |from| from, |sum: f32| sum)
            }
            Numbers::F64(numbers) => {
                let all = self.exchange(Brought::F64(numbers.to_vec()))?;
                sum(numbers, &all, Brought::f64, |from| from, |sum: f64| sum)
            }
            Numbers::Bf16(numbers) => {
                let all = self.exchange(Brought::Bf16(numbers.to_vec()))?;
                sum(numbers, &all, Brought::bf16, bf16::to_f32, bf16::from_f32)
            }
            Numbers::Tensor(numbers) => Err(not_on_host(numbers)),
        }
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        if root >= self.size() {
            return Err(Error::count("root", root, "less than the number of ranks"));
        }
        let own = if self.rank == root { bytes.to_vec() } else { Vec::new() };
        let all = self.exchange(Brought::Bytes(own))?;
        bytes.copy_from_slice(same(all[root].bytes(), bytes.len(), root)?);
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        if all.len() != bytes.len() * self.size() {
            return Err(Error::count("all.len()", all.len(), "the bytes of all ranks"));
        }
        let brought = self.exchange(Brought::Bytes(bytes.to_vec()))?;
        let places = all.chunks_exact_mut(bytes.len().max(1));
        for (rank, (place, brought)) in places.zip(&*brought).enumerate() {
            place.copy_from_slice(same(brought.bytes(), bytes.len(), rank)?);
        }
        Ok(())
    }

    fn leave(&self, why: &str) -> bool {
        self.comes_no_more(format!("it left the others: {why}"));
        true
    }
}

impl Brought {
    fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn f32(&self) -> Option<&[f32]> {
        if let Self::F32(numbers) = self { Some(numbers) } else { None }
    }

    fn f64(&self) -> Option<&[f64]> {
        if let Self::F64(numbers) = self { Some(numbers) } else { None }
    }

    fn bf16(&self) -> Option<&[bf16]> {
        if let Self::Bf16(numbers) = self { Some(numbers) } else { None }
    }
}

/// Adds up by rank.
fn sum<T: Copy, S: Copy + Default + AddAssign>(
    numbers: &mut [T],
    all: &[Brought],
    of: fn(&Brought) -> Option<&[T]>,
    wide: fn(T) -> S,
    round: fn(S) -> T,
) -> Result<()> {
    let mut sums = vec![S::default(); numbers.len()];
    for (rank, brought) in all.iter().enumerate() {
        let brought = same(of(brought), numbers.len(), rank)?;
        sums.iter_mut().zip(brought).for_each(|(sum, &number)| *sum += wide(number));
    }
    numbers.iter_mut().zip(sums).for_each(|(number, sum)| *number = round(sum));
    Ok(())
}

/// What a rank has brought, if it made the same call.
fn same<T>(brought: Option<&[T]>, len: usize, rank: usize) -> Result<&[T]> {
    match brought {
        Some(brought) if brought.len() == len => Ok(brought),
        _ => Err(Error::rank(rank, "it made another call at the same time")),
    }
}
