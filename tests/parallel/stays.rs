//! Gradients that stay where they are, on ranks that add up there: what cards do, on the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use candle_core::{DType, Device, Tensor};
use candle_nn::ParamsAdamW;
use freeze_core::optim::{AdamW, GradClip};
use freeze_core::parallel::{Collective, Group, Numbers, Parallel, Threads};
use freeze_core::{LayerFreezing, Result, Training};

use crate::net::*;

/// A rank that adds up tensors, and counts their bytes.
#[derive(Debug)]
struct Stays {
    rank: Threads,
    added: Arc<AtomicU64>,
    /// Whether its device is the one that it adds up on.
    there: bool,
    /// Whether the numbers never come to be.
    broken: bool,
}

impl Stays {
    fn new(rank: Threads, added: Arc<AtomicU64>) -> Self {
        Self { rank, added, there: true, broken: false }
    }
}

impl Collective for Stays {
    fn rank(&self) -> usize {
        self.rank.rank()
    }

    fn size(&self) -> usize {
        self.rank.size()
    }

    fn adds_up_on(&self, device: &Device) -> bool {
        self.there && device.is_cpu()
    }

    fn wait_for(&self, numbers: &Numbers<'_>) -> Result<()> {
        match (self.broken, numbers) {
            (true, Numbers::Tensor(_)) => {
                Err(candle_core::Error::Msg("the device is gone".into()).into())
            }
            _ => Ok(()),
        }
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        let bytes = numbers.bytes() as u64;
        let Numbers::Tensor(numbers) = numbers else { return self.rank.all_reduce(numbers) };
        self.added.fetch_add(bytes, Relaxed);
        let mut values = numbers.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        self.rank.all_reduce(Numbers::F64(&mut values))?;
        let len = values.len();
        let sums = Tensor::from_vec(values, len, &Device::Cpu)?.to_dtype(numbers.dtype())?;
        Ok(numbers.slice_set(&sums, 0, 0)?)
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        self.rank.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        self.rank.all_gather(bytes, all)
    }
}

/// Losses and weights of a run, and the bytes that were added up.
type Ran = (Vec<f64>, Vec<f64>, u64);

/// A run in which layers freeze.
fn run(ranks: Parallel) -> Result<Ran> {
    let mut run = Training::new(Net::new(0, DType::F32)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 0.01, ..Default::default() }))?
        .policy(LayerFreezing::new(0.2, 0.8)?.every_steps(4)?)
        .clip(GradClip::Norm(0.1))?
        .parallel(ranks)
        .length(EPOCHS, BATCHES)?;
    let losses = drive(&mut run, |_| Ok(true))?;
    let reduced = run.group().map_or(0, |group| group.traffic().reduced);
    Ok((losses, weights(&run)?, reduced))
}

type Way = fn(Parallel) -> Result<Parallel>;

/// The ways that gradients travel, and whether they stay.
const WAYS: [(&str, Way, bool); 3] = [
    ("after the backward", Ok, true),
    ("within it", |ranks| ranks.within_backward(100), true),
    ("in bf16", |ranks| Ok(ranks.bf16()), false),
];

/// The run of a rank that adds up tensors, and how many bytes of them.
fn staying(rank: Threads, way: Way) -> Result<(Ran, u64)> {
    let added = Arc::default();
    let group = Group::new(Stays::new(rank, Arc::clone(&added)));
    Ok((run(way(group.into())?)?, added.load(Relaxed)))
}

#[test]
fn the_run_is_that_of_gradients_that_pass_through_the_host() {
    for ((what, way, stay), size) in WAYS.into_iter().flat_map(|way| [(way, 1), (way, 2)]) {
        let on_host = on_ranks(size, |group| run(way(group.into())?));
        let ranks = Threads::ranks(size).expect("ranks").into_iter();
        let ranks: Vec<_> = ranks.map(|rank| thread::spawn(move || staying(rank, way))).collect();
        let there: Vec<_> = ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect();
        for (there, on_host) in there.into_iter().zip(on_host) {
            let ((there, added), on_host) = (there.expect("a run"), on_host.expect("a run"));
            assert!(there == on_host, "{what}, {size} ranks: {there:?} for {on_host:?}");
            assert_eq!(added, if stay { there.2 } else { 0 }, "{what}: bytes that stayed");
        }
    }
}

/// The errors of two ranks, of which the second is changed.
fn errors(change: fn(&mut Stays)) -> Vec<String> {
    let run = move |rank: Threads| {
        let second = rank.rank() == 1;
        let mut stays = Stays::new(rank, Arc::default());
        if second {
            change(&mut stays);
        }
        run(Group::new(stays).into()).map(drop)
    };
    let ranks = Threads::ranks(2).expect("ranks").into_iter();
    let ranks: Vec<_> = ranks.map(|rank| thread::spawn(move || run(rank))).collect();
    let ended = ranks.into_iter().map(|rank| rank.join().expect("no panic"));
    ended.map(|ended| ended.expect_err("refused").to_string()).collect()
}

/// The one would add up on its card, and the other wait on the host.
#[test]
fn gradients_that_stay_on_one_rank_alone_are_refused() {
    for error in errors(|second| second.there = false) {
        assert!(error.contains("whose gradients stay on a card is 0, on rank 0 it is"), "{error}");
    }
}

/// Nobody begins a sum of numbers that do not come to be on one rank.
#[test]
fn a_device_that_fails_before_a_sum_is_an_error_on_all_ranks() {
    for error in errors(|second| second.broken = true) {
        assert!(error.contains("the device is gone"), "{error}");
    }
}

#[test]
fn ranks_that_add_up_on_the_host_say_so() {
    let rank = Threads::ranks(1).expect("one").remove(0);
    let numbers = Tensor::zeros(3, DType::F32, &Device::Cpu).expect("zeros");
    let error = rank.all_reduce(Numbers::Tensor(&numbers)).expect_err("a tensor").to_string();
    assert!(error.contains("numbers of the host alone, found some on Cpu"), "{error}");
}
