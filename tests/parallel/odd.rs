//! Runs of several ranks with a cache, with losses in turns, with a rank that is late, one after the other.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use candle_core::{DType, Device, Result as Candle, Tensor};
use candle_nn::{Module, ParamsAdamW, VarBuilder, loss::mse};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::parallel::{Group, Numbers, Threads};
use freeze_core::{ActivationCache, Freezable, Result, Staged, Training};

use crate::net::{BATCHES, EPOCHS, Net, SIZE, distance, drive, loss, on_ranks, share, weights};
use crate::within::Passes;

#[derive(Freezable)]
#[freeze(stages)]
struct Stack {
    blocks: Vec<Linear>,
    head: Linear,
}

impl Staged for Stack {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: StackStage, xs: Tensor, _: &()) -> Candle<Tensor> {
        match stage {
            StackStage::Blocks(i) => self.blocks[i].forward(&xs)?.tanh(),
            StackStage::Head => self.head.forward(&xs),
        }
    }
}

/// The weights at the end, and the samples that were read from the cache.
fn stacked(group: Option<Group>, caches: bool) -> Result<(Vec<f64>, u64)> {
    let (rank, size) = group.as_ref().map_or((0, 1), |group| (group.rank(), group.size()));
    let vb: VarBuilder<'_> = Seeded::builder(0, DType::F64, &Device::Cpu);
    let blocks = (0..3).map(|i| linear(4, 4, vb.pp(format!("blocks.{i}"))));
    let net = Stack { blocks: blocks.collect::<Candle<_>>()?, head: linear(4, 1, vb.pp("head"))? };
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 0.01, ..Default::default() }))?
        .length(4, 2)?;
    run.freeze_front(2)?;
    if caches {
        run = run.cache(ActivationCache::new().memory(1 << 20));
    }
    if let Some(group) = group {
        run = run.parallel(group);
    }
    let mut hits = 0;
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(2 * SIZE, SIZE) {
            let which = &which[share(rank, size, SIZE)];
            let keys: Vec<u64> = which.iter().map(|&i| u64::from(i)).collect();
            let xs: Vec<f64> = which
                .iter()
                .flat_map(|&i| (0..4).map(move |at| f64::from(i * 4 + at).sin()))
                .collect();
            let xs = Tensor::from_vec(xs, (which.len(), 4), &Device::Cpu)?;
            let ys = run.forward(&keys, xs, &())?;
            let step = mse(&ys, &ys.ones_like()?)?;
            run.step_of(&step, which.len())?;
        }
        hits += run.epoch_end([])?.cache.map_or(0, |cache| cache.hits);
    }
    let mut all = Vec::new();
    for (_, tensor) in run.freezer().whole().named_tensors()? {
        all.extend(tensor.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok((all, hits))
}

#[test]
fn each_rank_caches_what_it_sees() -> Result<()> {
    let (alone, none) = stacked(None, false)?;
    assert_eq!(none, 0);
    let with: Vec<_> =
        on_ranks(2, |group| stacked(Some(group), true)).into_iter().collect::<Result<_>>()?;
    let without: Vec<_> =
        on_ranks(2, |group| stacked(Some(group), false)).into_iter().collect::<Result<_>>()?;
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with.0, without.0);
        assert!(distance(&alone, &with.0) < 1e-12);
        assert!(with.1 > 0);
    }
    Ok(())
}

/// A run of two losses for each batch, and of two batches for each update if they are accumulated.
fn in_turns(group: Option<Group>, accumulate: usize) -> Result<Vec<f64>> {
    let (rank, size) = group.as_ref().map_or((0, 1), |group| (group.rank(), group.size()));
    let mut run = Training::new(Net::new(0, DType::F64)?)?
        .optimizer_for("head", |vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .accumulate(accumulate)?
        .turns(2)?
        .length(1, BATCHES)?;
    if let Some(group) = group {
        run = run.parallel(group);
    }
    while run.next_epoch()?.is_some() {
        for batch in 0..BATCHES {
            let which = share(rank, size, SIZE);
            let whole = loss(&run, batch, which.clone())?;
            run.step_of(&whole, which.len())?;
            // The second reaches the stem alone.
            let numbers = (which.start..which.end)
                .flat_map(|i| (0..5).map(move |at| ((i * 5 + at) as f64).cos()));
            let xs =
                Tensor::from_vec(numbers.collect::<Vec<f64>>(), (which.len(), 5), &Device::Cpu)?;
            let stem = run.model().stem.forward(&xs)?.sqr()?.mean_all()?;
            run.step_of(&stem, which.len())?;
        }
        run.epoch_end([])?;
    }
    Ok(weights(&run)?)
}

#[test]
fn losses_come_in_turns() -> Result<()> {
    for accumulate in [1, 2] {
        let alone = in_turns(None, accumulate)?;
        for size in [2, 5] {
            for rank in on_ranks(size, |group| in_turns(Some(group), accumulate)) {
                let apart = distance(&alone, &rank?);
                assert!(apart < 1e-12, "{size} ranks, {accumulate} accumulated: {apart}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_late_rank_is_waited_for_and_a_group_serves_one_run_after_the_other() -> Result<()> {
    let ends = on_ranks(2, |group| {
        let mut ends = Vec::new();
        for _ in 0..2 {
            let mut run = Training::new(Net::new(0, DType::F64)?)?
                .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
                .parallel(group.clone())
                .length(EPOCHS, BATCHES)?;
            drive(&mut run, |run| {
                if group.rank() == 1 && run.elapsed().step == 3 {
                    thread::sleep(Duration::from_millis(300));
                }
                Ok(true)
            })?;
            ends.push(weights(&run)?);
        }
        Ok(ends)
    });
    let ends: Vec<Vec<Vec<f64>>> = ends.into_iter().collect::<Result<_>>()?;
    assert!(ends.iter().flatten().all(|end| *end == ends[0][0]));
    Ok(())
}

#[test]
fn ranks_end_on_one_thread_and_on_one_that_another_waits_for() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut groups: Vec<Group> =
            Threads::ranks(3).expect("ranks").into_iter().map(Group::new).collect();
        let last = groups.pop();
        thread::spawn(move || drop(last)).join().expect("no panic");
        let error = groups[0].sum("numbers", Numbers::F32(&mut [1.0])).expect_err("one has left");
        drop(groups);
        done.send(error.to_string())
    });
    let said = ended.recv_timeout(Duration::from_secs(20)).expect("nobody waits");
    assert_eq!(said, "rank 2: it left the others: its run was dropped");
}

/// Weights after a run of two batches for each update, in which the backward of one batch fails on rank 1 first.
fn accumulated(failing: Option<usize>) -> Result<Vec<Vec<f64>>> {
    let ends = on_ranks(2, |group| {
        let rank = group.rank();
        let mut run = Training::new(Net::new(0, DType::F32)?)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .accumulate(2)?
            .length(1, 4)?
            .retain_graph()
            .parallel(group);
        run.next_epoch()?;
        for batch in 0..4 {
            let good = loss(&run, batch, share(rank, 2, SIZE))?;
            if failing == Some(batch) {
                let bad = match rank {
                    1 => good.apply_op1(Passes::failing())?,
                    _ => good.clone(),
                };
                run.step(&bad).expect_err("the backward of rank 1 fails");
            }
            run.step(&good)?;
        }
        Ok(weights(&run)?)
    });
    ends.into_iter().collect()
}

#[test]
fn a_batch_whose_backward_fails_on_one_rank_is_accumulated_on_none() -> Result<()> {
    let whole = accumulated(None)?;
    assert_eq!(accumulated(Some(0))?, whole);
    // Of an update that fails, what was accumulated is lost.
    let [first, second] = &accumulated(Some(3))?[..] else { panic!("two ranks") };
    assert!(first == second && *first != whole[0]);
    Ok(())
}
