//! How ranks find each other, by other ranks of the same numbers.

use crate::error::{Error, Result};
use crate::parallel::collective::Collective;

/// The bytes that rank 0 makes, on all ranks; an error on all if it cannot.
pub(super) fn id_of_first<const N: usize>(
    ranks: &dyn Collective,
    make: impl FnOnce() -> Result<[u8; N]>,
) -> Result<[u8; N]> {
    let own = if ranks.rank() == 0 { make() } else { Ok([0; N]) };
    let mut id = all_can(ranks, own)?;
    ranks.broadcast(&mut id, 0)?;
    Ok(id)
}

/// What this rank has, if all ranks have something; an error of one is an error of all.
pub(super) fn all_can<T>(ranks: &dyn Collective, own: Result<T>) -> Result<T> {
    let mut able = vec![0; ranks.size()];
    ranks.all_gather(&[u8::from(own.is_ok())], &mut able)?;
    let own = own?;
    match able.iter().position(|&able| able == 0) {
        Some(rank) => Err(Error::rank(rank, "it cannot begin with NCCL; its own error says why")),
        None => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::parallel::Threads;

    /// What each of three ranks gets, where `fails` makes no id.
    fn ids(fails: Option<usize>) -> Vec<Result<[u8; 4]>> {
        let run = move |rank: Threads| {
            let own = if fails == Some(rank.rank()) { Err(Error::nccl("no card")) } else { Ok(()) };
            all_can(&rank, own)?;
            id_of_first(&rank, || if rank.rank() == 0 { Ok(*b"name") } else { Ok([7; 4]) })
        };
        let ranks = Threads::ranks(3).expect("ranks").into_iter();
        let ranks: Vec<_> = ranks.map(|rank| thread::spawn(move || run(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    }

    #[test]
    fn all_have_the_id_of_rank_0() {
        assert!(ids(None).into_iter().all(|id| id.is_ok_and(|id| id == *b"name")));
    }

    #[test]
    fn an_error_of_one_rank_is_an_error_of_all() {
        for fails in 0..3 {
            for (rank, id) in ids(Some(fails)).into_iter().enumerate() {
                let error = id.expect_err("a rank has no card").to_string();
                let named = format!("rank {fails}: it cannot begin with NCCL");
                let expected = if rank == fails { "NCCL: no card" } else { &named };
                assert!(error.starts_with(expected), "rank {rank}: {error}");
            }
        }
    }
}
