//! Runs that compute activations again are the runs that keep them, bit for bit.

use candle_core::{DType, Device, ModuleT, Result, Tensor};
use candle_nn::{Module, loss::cross_entropy};
use freeze_core::audit::glance;
use freeze_core::cache::{CacheContext, Seen};
use freeze_core::forecast::stages;
use freeze_core::init::Seeded;
use freeze_core::nn::{BatchNorm, Dropout, LayerNorm, Linear, batch_norm, layer_norm, linear};
use freeze_core::optim::{AdamW, GradClip, ParamsSgd, Sgd};
use freeze_core::{Freezable, Freezer, LayerFreezing, Recompute, Staged, Training, backward};

use crate::rig::{BATCHES, EPOCHS, SAMPLES, SIZE, batch, params};

/// Ours and candle's batch norm, and dropouts of which one is used by several stages.
#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    stem: Linear,
    norm: BatchNorm,
    old: candle_nn::BatchNorm,
    blocks: Vec<Block>,
    last: LayerNorm,
    head: Linear,
    #[freeze(no_stage)]
    dropout: Dropout,
}

#[derive(Freezable)]
struct Block {
    layer: Linear,
    dropout: Dropout,
}

/// A share of each block's output, and whether dropout is on.
#[derive(Clone, Copy)]
struct Context {
    share: f64,
    train: bool,
}

const CONTEXT: Context = Context { share: 0.5, train: true };

impl CacheContext for Context {
    fn select(&self, _: &[u32], _: usize) -> freeze_core::Result<Self> {
        Ok(*self)
    }

    fn see(&self, seen: &mut Seen) -> freeze_core::Result<()> {
        self.share.see(seen)?;
        self.train.see(seen)
    }
}

impl Staged for Net {
    type Flow = (Tensor, Tensor);
    type Context = Context;

    fn run(
        &self,
        stage: NetStage,
        (xs, skip): Self::Flow,
        context: &Context,
    ) -> Result<Self::Flow> {
        let train = context.train;
        Ok(match stage {
            NetStage::Stem => (self.stem.forward(&xs)?, skip),
            NetStage::Norm => (self.norm.forward_t(&xs, train)?, xs),
            NetStage::Old => (self.old.forward_t(&xs, train)?, skip),
            NetStage::Blocks(i) => {
                let block = &self.blocks[i];
                let ys = (block.layer.forward(&xs)?.tanh()? * context.share)?;
                (self.dropout.forward(&block.dropout.forward(&ys, train)?, train)?, skip)
            }
            NetStage::Last => (self.last.forward(&(xs + skip.tanh()?)?)?, skip),
            NetStage::Head => (self.head.forward(&xs)?, skip),
        })
    }
}

fn net() -> Result<Net> {
    let vb = Seeded::builder(3, DType::F32, &Device::Cpu);
    let block = |i: usize| {
        let layer = linear(8, 8, vb.pp(format!("blocks.{i}")))?;
        Ok(Block { layer, dropout: Dropout::new(0.2, i as u64)? })
    };
    Ok(Net {
        stem: linear(5, 8, vb.pp("stem"))?,
        norm: batch_norm(8, 1e-5, vb.pp("norm"))?,
        old: candle_nn::batch_norm(8, 1e-5, vb.pp("old"))?,
        blocks: (0..3).map(block).collect::<Result<_>>()?,
        last: layer_norm(8, 1e-5, vb.pp("last"))?,
        head: linear(8, 3, vb.pp("head"))?,
        dropout: Dropout::new(0.1, 17)?,
    })
}

type Run = Training<Net>;

fn step(run: &mut Run, which: &[u32]) -> freeze_core::Result<f64> {
    let (xs, ys) = batch(which)?;
    let (scores, _) = run.forward(&[], (xs.clone(), xs), &CONTEXT)?;
    Ok(run.step(&cross_entropy(&scores, &ys)?)?.loss)
}

/// The losses, all tensors and all generators at the end.
type Outcome = (Vec<f64>, Vec<Vec<f32>>, Vec<u64>);

fn driven(mut run: Run) -> freeze_core::Result<Outcome> {
    let mut losses = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(SAMPLES, SIZE) {
            losses.push(step(&mut run, &which)?);
        }
        run.epoch_end([])?;
    }
    let net = run.into_model();
    let numbers =
        net.named_tensors()?.into_iter().map(|(_, tensor)| tensor.flatten_all()?.to_vec1());
    let dropouts = net.blocks.iter().map(|block| &block.dropout).chain([&net.dropout]);
    let drawn = dropouts.map(|dropout| dropout.state().position).collect();
    Ok((losses, numbers.collect::<Result<_>>()?, drawn))
}

fn plain() -> freeze_core::Result<Run> {
    Training::new(net()?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .length(EPOCHS, BATCHES)
}

/// Plans that freeze between steps, accumulation and clipping.
fn busy() -> freeze_core::Result<Run> {
    let freezing = LayerFreezing::new(0.2, 1.0)?.every_steps(1)?;
    plain()?.policy(freezing).accumulate(2)?.clip(GradClip::Norm(0.3))
}

/// The front frozen by hand.
fn frozen() -> freeze_core::Result<Run> {
    let mut net = Freezer::new(net()?)?;
    net.freeze_front(4, &mut [])?;
    Training::of(net).optimizer(|vars| AdamW::with_names(vars, params()))?.length(EPOCHS, BATCHES)
}

/// Every parameter is updated when its gradient is whole.
fn within() -> freeze_core::Result<Run> {
    let sgd = |vars| Sgd::with_names(vars, ParamsSgd { lr: 0.05, ..Default::default() });
    let run = Training::new(net()?)?.optimizer(sgd)?.length(EPOCHS, BATCHES)?;
    Ok(run.update_in_backward())
}

#[test]
fn a_run_is_the_same_whatever_is_run_again() -> freeze_core::Result<()> {
    for make in [plain, busy, frozen, within] {
        let expected = driven(make()?)?;
        for n in 1..=9 {
            let found = driven(make()?.recompute(Recompute::every(n)?))?;
            assert!(found == expected, "every {n}");
        }
    }
    Ok(())
}

#[test]
fn a_run_resumes_with_another_choice() -> freeze_core::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run");
    let expected = driven(busy()?)?;
    let mut run = busy()?.recompute(Recompute::every(2)?);
    let mut losses = Vec::new();
    let epoch = run.next_epoch()?.expect("an epoch");
    for which in epoch.shuffled(SAMPLES, SIZE).take(3) {
        losses.push(step(&mut run, &which)?);
    }
    run.save(&file)?;
    let mut resumed = busy()?.recompute(Recompute::every(3)?);
    resumed.resume_from(&file)?;
    let (rest, numbers, drawn) = driven(resumed)?;
    losses.extend(rest);
    assert!((losses, numbers, drawn) == expected);
    Ok(())
}

#[test]
fn a_step_shows_nothing_amiss() -> freeze_core::Result<()> {
    let mut net = Freezer::new(net()?)?;
    for front in [0, 4] {
        net.freeze_front(front, &mut [])?;
        let (xs, ys) = batch(&[0, 1, 2, 3])?;
        let again = Recompute::every(2)?;
        let (scores, _) = again.forward(&net, (xs.clone(), xs), CONTEXT)?;
        let loss = cross_entropy(&scores, &ys)?;
        let grads = backward(&loss)?;
        assert_eq!(glance(&net, &loss, &grads)?, []);
        let reached = net.vars().iter().filter(|var| grads.get(var).is_some()).count();
        assert_eq!(reached, net.trained_vars().len(), "{front} frozen");
    }
    Ok(())
}

#[test]
fn stages_are_chosen_by_what_they_keep() -> freeze_core::Result<()> {
    let net = Freezer::new(net()?)?;
    let xs = Tensor::ones((64, 5), DType::F32, &Device::Cpu)?;
    let xs = (xs.clone(), xs);
    let before: Vec<Vec<f32>> = numbers(&net)?;
    let costs = stages(&net, &xs, &CONTEXT)?;
    assert_eq!(numbers(&net)?, before, "measuring moves nothing");
    let paths: Vec<&str> = costs.stages().iter().map(|stage| stage.path.as_str()).collect();
    let expected = ["stem", "norm", "old", "blocks.0", "blocks.1", "blocks.2", "last", "head"];
    assert_eq!(paths, expected);
    let outputs: Vec<usize> = costs.stages().iter().map(|stage| stage.output_bytes).collect();
    // The states, and beside them the samples, later the stem's output.
    assert_eq!(
        outputs,
        [(8 + 5) * 256, 16 * 256, 16 * 256, 16 * 256, 16 * 256, 16 * 256, 16 * 256, 11 * 256]
    );
    assert_eq!((costs.record_bytes(0), costs.input_bytes()), (13 * 4, 5 * 256));
    for (index, stage) in costs.stages().iter().enumerate() {
        assert!(stage.kept_bytes >= 8 * 256 || index == 7, "{stage:?}");
        // A layer's result, its tanh, the share of it and the last of two dropouts: no backward reads the first's.
        assert!(stage.kept_bytes == 4 * 8 * 256 || !stage.path.starts_with("blocks"), "{stage:?}");
    }

    let all: usize = costs.stages().iter().map(|stage| stage.kept_bytes).sum();
    assert_eq!(
        Recompute::within(&net, all, &xs, &CONTEXT)?,
        Recompute::within(&net, 2 * all, &xs, &CONTEXT)?
    );
    let error = Recompute::within(&net, 100, &xs, &CONTEXT).expect_err("too little").to_string();
    let least = error.split("the least is ").nth(1).and_then(|rest| rest.split(' ').next());
    let least: usize = least.and_then(|least| least.parse().ok()).expect("a number");
    assert!(least < all, "{error}");
    assert!(Recompute::within(&net, least - 1, &xs, &CONTEXT).is_err());
    let choice = Recompute::within(&net, least, &xs, &CONTEXT)?;
    assert!(driven(busy()?.recompute(choice))? == driven(busy()?)?);
    Ok(())
}

fn numbers(net: &Freezer<Net>) -> Result<Vec<Vec<f32>>> {
    let tensors = net.whole().named_tensors()?.into_iter();
    tensors.map(|(_, tensor)| tensor.flatten_all()?.to_vec1()).collect()
}

#[test]
fn misuse_is_refused() -> freeze_core::Result<()> {
    assert!(Recompute::every(0).is_err());
    let long = Freezer::new(net()?)?;
    let xs = Tensor::ones((4, 5), DType::F32, &Device::Cpu)?;
    let choice = Recompute::within(&long, usize::MAX, &(xs.clone(), xs.clone()), &CONTEXT)?;
    let mut short = net()?;
    short.blocks.pop();
    let short = Freezer::new(short)?;
    let error = choice.forward(&short, (xs.clone(), xs), CONTEXT).expect_err("another model");
    assert!(error.to_string().contains("a model of 8, this one has 7"), "{error}");
    Ok(())
}
