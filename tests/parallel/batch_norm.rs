//! Batch norms over the batch of all ranks, and running statistics of those that are not.

use candle_core::{D, DType, Device, ModuleT, Result as Candle, Tensor};
use candle_nn::{Conv2dConfig, Linear, Module, ParamsAdamW, VarBuilder, linear, loss::mse};
use freeze_core::init::Seeded;
use freeze_core::nn::{BatchNorm, Conv2d, Dropout, batch_norm, conv2d_no_bias};
use freeze_core::optim::AdamW;
use freeze_core::parallel::Group;
use freeze_core::policy::from_text;
use freeze_core::{BatchNormPolicy, Freezable, Result, Training};

use crate::net::{SIZE, distance, on_ranks, share};

const STEPS: usize = 6;

/// A residual block and a head. No bias in front of a norm: its gradient would be the rounding of zero, which Adam
/// makes as large as any other.
#[derive(Freezable)]
struct Net {
    stem: Conv2d,
    first: BatchNorm,
    conv: Conv2d,
    second: BatchNorm,
    flat: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

impl Net {
    fn new(across: Option<&Group>, drops: f32) -> Candle<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(0, DType::F64, &Device::Cpu);
        let norm = |name: &str| {
            let norm = batch_norm(4, 1e-5, vb.pp(name))?;
            Candle::Ok(match across {
                Some(group) => norm.across(group),
                None => norm,
            })
        };
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        Ok(Self {
            stem: conv2d_no_bias(2, 4, 3, config, vb.pp("stem"))?,
            first: norm("first")?,
            conv: conv2d_no_bias(4, 4, 3, config, vb.pp("conv"))?,
            second: norm("second")?,
            flat: norm("flat")?,
            dropout: Dropout::new(drops, 3)?,
            head: linear(4, 1, vb.pp("head"))?,
        })
    }
}

impl ModuleT for Net {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Candle<Tensor> {
        let xs = self.first.forward_relu(&self.stem.forward(xs)?, train)?;
        let ys = self.second.forward_add_relu(&self.conv.forward(&xs)?, &xs, train)?;
        let ys = self.flat.forward_t(&ys.mean(D::Minus1)?.mean(D::Minus1)?, train)?;
        self.head.forward(&self.dropout.forward(&ys, train)?)
    }
}

/// Losses and every number of the model, running statistics included.
fn driven(
    group: Option<Group>,
    across: bool,
    drops: f32,
    frozen: usize,
    policy: BatchNormPolicy,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (rank, size) = group.as_ref().map_or((0, 1), |group| (group.rank(), group.size()));
    let net = Net::new(group.as_ref().filter(|_| across), drops)?;
    let adam = ParamsAdamW { lr: 0.01, ..Default::default() };
    let mut run = Training::new(net)?.optimizer(|vars| AdamW::with_names(vars, adam))?;
    run = run.accumulate(2)?.length(1, STEPS)?;
    run.freeze_front(frozen)?;
    run.set_batch_norm(policy)?;
    if let Some(group) = group {
        run = run.parallel(group);
    }
    let mut losses = Vec::new();
    while run.next_epoch()?.is_some() {
        for batch in 0..STEPS {
            let which = share(rank, size, SIZE);
            let number = |i: usize| ((batch * SIZE * 36 + i) as f64 * 0.7).sin() + 0.3;
            let xs: Vec<f64> = (which.start * 32..which.end * 32).map(number).collect();
            let ys: Vec<f64> = which.clone().map(number).collect();
            let xs = Tensor::from_vec(xs, (which.len(), 2, 4, 4), &Device::Cpu)?;
            let ys = Tensor::from_vec(ys, (which.len(), 1), &Device::Cpu)?;
            let loss = mse(&run.model().forward_t(&xs, true)?, &ys)?;
            losses.push(run.step_of(&loss, which.len())?.loss);
        }
        run.epoch_end([])?;
    }
    let mut all = Vec::new();
    for (_, tensor) in run.freezer().whole().named_tensors()? {
        all.extend(tensor.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok((losses, all))
}

#[test]
fn across_the_ranks_the_run_is_that_of_one() -> Result<()> {
    use BatchNormPolicy::{AsCaller, Inference};
    for (frozen, policy) in [(0, AsCaller), (2, AsCaller), (2, Inference), (4, Inference)] {
        let (losses, whole) = driven(None, false, 0.0, frozen, policy)?;
        // Five ranks have shares of two and three samples.
        for size in [2, 3, 5] {
            for rank in on_ranks(size, |group| driven(Some(group), true, 0.0, frozen, policy)) {
                let rank = rank?;
                let apart = distance(&losses, &rank.0).max(distance(&whole, &rank.1));
                assert!(apart < 1e-12, "{size} ranks, {frozen} frozen, {policy:?}: {apart}");
            }
        }
    }
    Ok(())
}

#[test]
fn running_statistics_are_means_over_the_ranks_and_dropouts_differ() -> Result<()> {
    let policy = BatchNormPolicy::AsCaller;
    let ends = on_ranks(3, |group| driven(Some(group), false, 0.3, 0, policy));
    let ends: Vec<_> = ends.into_iter().collect::<Result<_>>()?;
    assert!(ends.iter().all(|end| *end == ends[0]));
    let again = on_ranks(3, |group| driven(Some(group), false, 0.3, 0, policy));
    assert_eq!(ends, again.into_iter().collect::<Result<Vec<_>>>()?);
    Ok(())
}

#[test]
fn each_rank_drops_other_numbers() -> Result<()> {
    let kept = on_ranks(3, |group| {
        let net = Net::new(None, 0.5)?;
        let mut run = Training::new(net)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .parallel(group)
            .length(1, 1)?;
        run.next_epoch()?;
        let ones = Tensor::ones((8, 8), DType::F64, &Device::Cpu)?;
        Ok(run.model().dropout.forward(&ones, true)?.flatten_all()?.to_vec1::<f64>()?)
    });
    let kept: Vec<Vec<f64>> = kept.into_iter().collect::<Result<_>>()?;
    assert!(kept[0] != kept[1] && kept[1] != kept[2] && kept[0] != kept[2]);
    Ok(())
}

/// Costs are measured on rank 0 alone, where no other rank would answer.
#[test]
fn a_policy_that_goes_by_costs_begins_where_norms_are_over_all_ranks() -> Result<()> {
    let ends = on_ranks(2, |group| {
        let xs = Tensor::ones((4, 2, 4, 4), DType::F64, &Device::Cpu)?;
        let typical = xs.clone();
        let adam = ParamsAdamW { lr: 0.01, ..Default::default() };
        let mut run = Training::new(Net::new(Some(&group), 0.0)?)?
            .optimizer(|vars| AdamW::with_names(vars, adam))?
            .costs_of(move |net| net.forward_t(&typical, true)?.sqr()?.mean_all())
            .policy(from_text("budget:time=0.9,every=1,probe=1,by=leaf")?)
            .parallel(group)
            .length(2, STEPS)?;
        let mut plans = Vec::new();
        while run.next_epoch()?.is_some() {
            for _ in 0..STEPS {
                let loss = run.model().forward_t(&xs, true)?.sqr()?.mean_all()?;
                run.step_of(&loss, 4)?;
            }
            run.epoch_end([])?;
            plans.push(run.freezer().plan().clone());
        }
        Ok(plans)
    });
    let ends: Vec<_> = ends.into_iter().collect::<Result<_>>()?;
    assert_eq!(ends[0], ends[1]);
    Ok(())
}
