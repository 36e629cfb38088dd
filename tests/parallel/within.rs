//! Gradients that are sent while the backward goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};
use candle_nn::{Module, ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::parallel::{Collective, Group, Numbers, Parallel, Threads};
use freeze_core::{Freezable, Result, Training};

use crate::net::{BATCHES, Net, SIZE, drive, loss, on_ranks, share, weights};

fn run(group: Group, bucket: Option<usize>) -> Result<Training<Net>> {
    let ranks = Parallel::new(group);
    Training::new(Net::new(0, DType::F32)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .parallel(match bucket {
            Some(bytes) => ranks.within_backward(bytes)?,
            None => ranks,
        })
        .length(1, BATCHES)
}

#[test]
fn the_weights_are_those_of_gradients_sent_after_the_backward() -> Result<()> {
    for size in [1, 2, 3] {
        for frozen in [0, 2] {
            let driven = |bucket| -> Result<Vec<Vec<f64>>> {
                let ranks = on_ranks(size, |group| {
                    let mut run = run(group, bucket)?;
                    run.freeze_front(frozen)?;
                    drive(&mut run, |run| {
                        if run.elapsed().step == 5 {
                            run.freeze_front(1)?;
                        }
                        Ok(true)
                    })?;
                    Ok(weights(&run)?)
                });
                ranks.into_iter().collect()
            };
            let after = driven(None)?;
            for bytes in [1, 100, 1 << 20] {
                assert!(
                    driven(Some(bytes))? == after,
                    "{size} ranks, {frozen} frozen, {bytes} bytes"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_rank_without_a_share_sends_its_zeros() -> Result<()> {
    let driven = |bucket| -> Result<Vec<Vec<f64>>> {
        let ranks = on_ranks(3, |group| {
            let rank = group.rank();
            let mut run = run(group, bucket)?;
            run.next_epoch()?;
            for batch in 0..BATCHES {
                if rank == 2 {
                    run.step_without_batch()?;
                    continue;
                }
                let which = share(rank, 2, SIZE);
                let loss = loss(&run, batch, which.clone())?;
                run.step_of(&loss, which.len())?;
            }
            Ok(weights(&run)?)
        });
        ranks.into_iter().collect()
    };
    assert!(driven(Some(1))? == driven(None)?);
    Ok(())
}

#[test]
fn a_backward_that_fails_on_one_rank_is_named_on_the_others() {
    let ends = on_ranks(2, |group| {
        let rank = group.rank();
        let mut run = run(group, Some(1))?;
        run.next_epoch()?;
        let good = loss(&run, 0, share(rank, 2, SIZE))?;
        let loss = if rank == 1 { good.apply_op1(Passes::failing())? } else { good };
        run.step(&loss).map(|_| ())
    });
    let said: Vec<String> =
        ends.into_iter().map(|end: Result<()>| end.expect_err("an error").to_string()).collect();
    assert!(said[1].contains("on purpose"), "{}", said[1]);
    assert!(said[0].starts_with("rank 1: ") && said[0].contains("on purpose"), "{}", said[0]);
}

/// Two layers, with something between them that looks at what was sent when the backward passes.
#[derive(Freezable)]
struct Watched {
    front: Linear,
    #[freeze(skip)]
    between: Passes,
    head: Linear,
}

/// Hands on what it gets; its backward waits until something was sent, and fails if nothing is.
#[derive(Clone, Debug)]
pub struct Passes {
    sent: Arc<AtomicUsize>,
    /// What had been sent before the backward.
    sees: usize,
}

impl Passes {
    /// Its backward fails in any case.
    pub fn failing() -> Self {
        Self { sent: Arc::new(AtomicUsize::new(usize::MAX)), sees: 0 }
    }
}

impl CustomOp1 for Passes {
    fn name(&self) -> &'static str {
        "passes"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let numbers = storage.as_slice::<f32>()?;
        let (start, end) = layout.contiguous_offsets().expect("contiguous");
        Ok((CpuStorage::F32(numbers[start..end].to_vec()), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if self.sent.load(Ordering::SeqCst) == usize::MAX {
            candle_core::bail!("on purpose")
        }
        let start = Instant::now();
        while self.sent.load(Ordering::SeqCst) <= self.sees {
            if start.elapsed() > Duration::from_secs(20) {
                candle_core::bail!("nothing was sent within the backward")
            }
            thread::yield_now();
        }
        Ok(Some(grad.clone()))
    }
}

/// Counts what is added up.
#[derive(Debug)]
struct Counted(Threads, Arc<AtomicUsize>);

impl Collective for Counted {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.all_reduce(numbers)
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        self.0.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        self.0.all_gather(bytes, all)
    }
}

#[test]
fn the_head_is_sent_before_the_front_has_its_gradient() -> Result<()> {
    let ranks = Threads::ranks(2)?;
    let ends: Vec<Result<usize>> = thread::scope(|scope| {
        let run = |rank: Threads| {
            scope.spawn(move || {
                let sent = Arc::new(AtomicUsize::new(0));
                let vb: VarBuilder<'_> = Seeded::builder(0, DType::F32, &Device::Cpu);
                let net = Watched {
                    front: linear(3, 4, vb.pp("front"))?,
                    between: Passes { sent: sent.clone(), sees: 0 },
                    head: linear(4, 1, vb.pp("head"))?,
                };
                let ranks = Parallel::new(Group::new(Counted(rank, sent.clone())));
                let mut run = Training::new(net)?
                    .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
                    .parallel(ranks.within_backward(1)?)
                    .length(1, 2)?;
                run.next_epoch()?;
                let xs = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
                for step in 0..2 {
                    let model = run.model();
                    let ys = model.front.forward(&xs)?;
                    // The first backward is the one that finds out which gradients are complete within it.
                    let sees = if step == 0 { 0 } else { sent.load(Ordering::SeqCst) };
                    if step == 0 {
                        sent.store(1, Ordering::SeqCst);
                    }
                    let ys = ys.apply_op1(Passes { sees, ..model.between.clone() })?;
                    let loss = model.head.forward(&ys)?.sqr()?.mean_all()?;
                    run.step(&loss)?;
                }
                Ok(sent.load(Ordering::SeqCst))
            })
        };
        let ranks: Vec<_> = ranks.into_iter().map(run).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    });
    for end in ends {
        // Four variables a step, each in a bucket of its own.
        assert_eq!(end?, 1 + 2 * 4);
    }
    Ok(())
}
