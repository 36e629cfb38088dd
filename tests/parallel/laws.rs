//! What the operations of a `Collective` do, whatever carries them out.

use freeze_core::Error;
use freeze_core::parallel::{Collective as _, Numbers};
use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::ranks::Rank;

/// None, one, odd, a power of two, and more than MPI adds up in one piece.
const LENGTHS: [usize; 5] = [0, 1, 1013, 4096, (1 << 18) + 77];

/// A generator that differs by rank.
fn random(rank: usize, seed: usize) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed as u64);
    random.set_stream(rank as u64);
    random
}

/// Whole numbers, whose sums are exact in whatever order.
fn whole(rank: usize, len: usize) -> Vec<i32> {
    let mut random = random(rank, len);
    (0..len).map(|_| random.random_range(-1_000_000..1_000_000)).collect()
}

fn fractions(rank: usize, len: usize) -> Vec<f64> {
    let mut random = random(rank, len);
    (0..len).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Whether all ranks have the same bytes.
fn same_on_all(rank: &Rank, bytes: &[u8]) -> bool {
    let mut firsts = bytes.to_vec();
    rank.broadcast(&mut firsts, 0).expect("a broadcast");
    firsts == bytes
}

pub fn sums_are_those_of_one_after_the_other(rank: Rank) {
    for len in LENGTHS {
        let all: Vec<Vec<i32>> = (0..rank.size()).map(|rank| whole(rank, len)).collect();
        let sums: Vec<i32> = (0..len).map(|at| all.iter().map(|own| own[at]).sum()).collect();
        let own = &all[rank.rank()];

        let mut singles: Vec<f32> = own.iter().map(|&number| number as f32).collect();
        rank.all_reduce(Numbers::F32(&mut singles)).expect("sums");
        assert!(singles.iter().zip(&sums).all(|(found, &sum)| *found == sum as f32), "f32, {len}");

        let mut doubles: Vec<f64> = own.iter().map(|&number| f64::from(number)).collect();
        rank.all_reduce(Numbers::F64(&mut doubles)).expect("sums");
        assert!(
            doubles.iter().zip(&sums).all(|(found, &sum)| *found == f64::from(sum)),
            "f64, {len}"
        );
    }
}

/// Where the order matters: the same bits on all ranks and each time, those of one after the other.
pub fn sums_come_again(rank: Rank) {
    for len in LENGTHS {
        let all: Vec<Vec<f64>> = (0..rank.size()).map(|rank| fractions(rank, len)).collect();
        let own = &all[rank.rank()];
        let sum = || {
            let mut singles: Vec<f32> = own.iter().map(|&number| number as f32).collect();
            rank.all_reduce(Numbers::F32(&mut singles)).expect("sums");
            let mut doubles = own.clone();
            rank.all_reduce(Numbers::F64(&mut doubles)).expect("sums");
            let bytes =
                |(single, double): (&f32, &f64)| (single.to_le_bytes(), double.to_le_bytes());
            let bits: Vec<_> = singles.iter().zip(&doubles).map(bytes).collect();
            let bytes: Vec<u8> =
                bits.iter().flat_map(|(a, b)| a.iter().chain(b).copied()).collect();
            (doubles, bytes)
        };
        let (sums, bytes) = sum();
        assert!(bytes == sum().1, "{len} sums do not come again");
        assert!(same_on_all(&rank, &bytes), "{len} sums differ between ranks");
        for (at, found) in sums.iter().enumerate() {
            let sum: f64 = all.iter().map(|own| own[at]).sum();
            assert_eq!(*found, sum, "sum {at} of {len}");
        }
    }
}

pub fn halves_are_rounded_once(rank: Rank) {
    for len in LENGTHS {
        let halves = |rank| fractions(rank, len).into_iter().map(bf16::from_f64).collect();
        let all: Vec<Vec<bf16>> = (0..rank.size()).map(halves).collect();
        let mut found = all[rank.rank()].clone();
        rank.all_reduce(Numbers::Bf16(&mut found)).expect("sums");
        for (at, found) in found.iter().enumerate() {
            let sum = all.iter().fold(0.0, |sum, own| sum + own[at].to_f32());
            assert_eq!(found.to_bits(), bf16::from_f32(sum).to_bits(), "number {at} of {len}");
        }
    }
}

pub fn every_rank_can_broadcast(rank: Rank) {
    for (root, len) in (0..rank.size()).flat_map(|root| LENGTHS.map(|len| (root, len))) {
        let bytes = |rank| random(rank, len).random_iter().take(len).collect::<Vec<u8>>();
        let mut found = bytes(rank.rank());
        rank.broadcast(&mut found, root).expect("a broadcast");
        assert!(found == bytes(root), "{len} bytes of rank {root}");
    }
}

pub fn what_is_gathered_lies_by_rank(rank: Rank) {
    for len in LENGTHS {
        let bytes = |rank| random(rank, len).random_iter().take(len).collect::<Vec<u8>>();
        let mut all = vec![0; len * rank.size()];
        rank.all_gather(&bytes(rank.rank()), &mut all).expect("gathered");
        let expected: Vec<u8> = (0..rank.size()).flat_map(bytes).collect();
        assert!(all == expected, "{len} bytes of each rank");
    }
}

/// The last rank comes late, and writes a file first.
pub fn a_barrier_is_passed_by_all_or_none(rank: Rank) {
    let dir = (rank.rank() == 0).then(|| tempfile::tempdir().expect("a folder"));
    let mut path = dir.iter().flat_map(|dir| dir.path().to_str()).collect::<String>().into_bytes();
    path.resize(200, b' ');
    rank.broadcast(&mut path, 0).expect("a broadcast");
    let file = std::path::Path::new(String::from_utf8_lossy(&path).trim()).join("late");
    if rank.rank() + 1 == rank.size() {
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::write(&file, "").expect("written");
    }
    rank.barrier().expect("all come");
    assert!(file.exists(), "rank {} did not wait", rank.rank());
    rank.barrier().expect("all come");
}

/// As a thread that sends while the backward goes on makes them.
pub fn calls_may_come_from_any_thread(rank: Rank) {
    for call in 0..20_i32 {
        let elsewhere = rank.clone();
        let sum = std::thread::spawn(move || {
            let mut numbers = [call as f32, elsewhere.rank() as f32];
            elsewhere.all_reduce(Numbers::F32(&mut numbers)).map(|()| numbers)
        });
        let size = rank.size() as f32;
        let sum = sum.join().expect("no panic").expect("sums");
        assert_eq!(sum, [size * call as f32, size * (size - 1.0) / 2.0]);
    }
}

pub fn wrong_calls_are_errors(rank: Rank) {
    let size = rank.size();
    let error = rank.broadcast(&mut [0], size).expect_err("no such rank");
    assert!(matches!(&error, Error::Count { name: "root", .. }), "{error}");
    let error = rank.all_gather(&[0, 0], &mut vec![0; 2 * size + 1]).expect_err("too long");
    assert!(matches!(&error, Error::Count { name: "all.len()", .. }), "{error}");
    rank.barrier().expect("nothing was sent");
}
