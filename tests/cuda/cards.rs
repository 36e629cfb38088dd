//! Ranks on cards of their own, whose gradients NCCL adds up from card to card.

use std::thread;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, ParamsAdamW, VarBuilder, loss::mse};
use freeze_core::init::Seeded;
use freeze_core::nn::{self, Linear};
use freeze_core::optim::{AdamW, GradClip};
use freeze_core::parallel::{Collective, Group, Nccl, Numbers, Parallel, Threads};
use freeze_core::{Freezable, LayerFreezing, Result, Training};

use crate::card;
use crate::support::{flat, random};

const EPOCHS: usize = 3;
const BATCHES: usize = 6;
/// Samples of a batch, over all ranks.
const SIZE: usize = 12;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Freezable)]
struct Net {
    first: Linear,
    second: Linear,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> candle_core::Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(0, DType::F32, device);
        Ok(Self {
            first: nn::linear(5, 33, vb.pp("first"))?,
            second: nn::linear(33, 8, vb.pp("second"))?,
            head: nn::linear(8, 2, vb.pp("head"))?,
        })
    }
}

impl Module for Net {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let xs = self.second.forward(&self.first.forward(xs)?.tanh()?)?.tanh()?;
        self.head.forward(&xs)
    }
}

/// Losses and weights of a run in which layers freeze, and the bytes that were added up.
type Ran = (Vec<f64>, Vec<f64>, u64);

fn run(device: &Device, ranks: Parallel) -> Result<Ran> {
    let mut run = Training::new(Net::new(device)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 0.01, ..Default::default() }))?
        .policy(LayerFreezing::new(0.2, 0.8)?.every_steps(2)?)
        .clip(GradClip::Norm(0.1))?
        .parallel(ranks)
        .length(EPOCHS, BATCHES)?;
    let (rank, size) = run.group().map_or((0, 1), |group| (group.rank(), group.size()));
    let mut losses = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        for batch in epoch.remaining(0..BATCHES) {
            let (start, count) = (SIZE * rank / size, SIZE / size);
            let part = |seed, width| {
                let all = random(seed + batch as u64, &[SIZE, width][..], DType::F32);
                all.narrow(0, start, count)?.to_device(device)
            };
            let loss = mse(&run.model().forward(&part(10, 5)?)?, &part(90, 2)?)?;
            losses.push(run.step_of(&loss, count)?.loss);
        }
        losses.push(run.epoch_end([])?.loss);
    }
    assert!(run.freezer().plan().frozen_leaves() > 0);
    let tensors = run.freezer().whole().named_tensors()?;
    let weights = tensors.iter().flat_map(|(_, tensor)| flat(tensor)).collect();
    Ok((losses, weights, run.group().map_or(0, |group| group.traffic().reduced)))
}

/// What each of two ranks returns, on a thread of its own.
fn on_two<T: Send + 'static>(run: fn(Threads, usize) -> T, what: usize) -> [T; 2] {
    let ranks = Threads::ranks(2).expect("two").into_iter();
    let ranks: Vec<_> = ranks.map(|rank| thread::spawn(move || run(rank, what))).collect();
    let mut found = ranks.into_iter().map(|rank| rank.join().expect("no panic"));
    std::array::from_fn(|_| found.next().expect("two"))
}

fn two_cards() -> bool {
    let there = card().is_some() && Device::new_cuda(1).is_ok();
    if !there {
        eprintln!("skipped: no second card");
    }
    there
}

type Way = fn(Parallel) -> Result<Parallel>;

const WAYS: [(&str, Way); 3] = [
    ("after the backward", Ok),
    ("within it", |ranks| ranks.within_backward(100)),
    ("in bf16", |ranks| Ok(ranks.bf16())),
];

#[test]
fn a_run_on_two_cards_is_that_of_two_ranks_without() -> Result<()> {
    if !two_cards() {
        return Ok(());
    }
    for (way, (name, _)) in WAYS.iter().enumerate() {
        let on_cards = |rank: Threads, way: usize| {
            let card = Device::new_cuda(rank.rank())?;
            let group = Group::new(Nccl::new(rank, &card, PATIENCE)?);
            run(&card, WAYS[way].1(group.into())?)
        };
        let on_host =
            |rank: Threads, way: usize| run(&Device::Cpu, WAYS[way].1(Group::new(rank).into())?);
        let ([one, other], [expected, _]) = (on_two(on_cards, way), on_two(on_host, way));
        let (one, other, expected) = (one?, other?, expected?);
        assert_eq!(one.1, other.1, "{name}: the weights of the ranks");
        assert_eq!(one.2, expected.2, "{name}: bytes added up");
        assert!(one.2 > 0);
        assert_eq!(one.0.len(), expected.0.len());
        let numbers = |ran: &Ran| ran.0.iter().chain(&ran.1).copied().collect::<Vec<_>>();
        for (found, expected) in numbers(&one).iter().zip(numbers(&expected)) {
            assert!((found - expected).abs() < 1e-3, "{name}: {found} for {expected}");
        }
    }
    Ok(())
}

#[test]
fn two_ranks_on_one_card_are_refused() {
    if !two_cards() {
        return;
    }
    let begin = |rank: Threads, _| Nccl::new(rank, &Device::new_cuda(0)?, PATIENCE).map(drop);
    for refused in on_two(begin, 0) {
        let error = refused.expect_err("one card for two").to_string();
        assert!(error.contains("NCCL"), "{error}");
    }
}

#[test]
fn a_rank_that_does_not_call_is_waited_for_within_its_time() {
    if !two_cards() {
        return;
    }
    let ask = |rank: Threads, _| -> Result<Option<String>> {
        let (first, patience) = (rank.rank() == 0, Duration::from_millis(300));
        let card = Device::new_cuda(rank.rank())?;
        let ranks = Nccl::new(rank, &card, patience)?;
        let numbers = Tensor::ones(7, DType::F32, &card)?;
        ranks.all_reduce(Numbers::Tensor(&numbers))?;
        assert_eq!(flat(&numbers), [2.0; 7]);
        if !first {
            thread::sleep(5 * patience);
            return Ok(None);
        }
        let start = Instant::now();
        let error = ranks.all_reduce(Numbers::Tensor(&numbers)).expect_err("nobody else calls");
        assert!(start.elapsed() < 4 * patience, "{:?}", start.elapsed());
        let again = ranks.all_reduce(Numbers::Tensor(&numbers)).expect_err("it has ended");
        assert!(again.to_string().contains("an earlier call has failed"), "{again}");
        Ok(Some(error.to_string()))
    };
    let [first, second] = on_two(ask, 0);
    assert_eq!(second.expect("it waits"), None);
    let error = first.expect("an error as such").expect("the first rank's");
    assert!(error.contains("has not ended within 300ms"), "{error}");
}
