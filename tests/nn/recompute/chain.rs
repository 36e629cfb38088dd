//! Models as chains of stages, and one training step of them, of which everything is compared.

use std::ops::Range;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{BatchNormConfig, Conv2dConfig, LayerNormConfig, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::ops::{AttentionMask, avg_pool2d, gelu, relu, scaled_dot_product_attention};
use freeze_core::nn::{self, Dropout, DropoutState};
use freeze_core::{backward, recompute};

use crate::support::{flat, random};

pub(super) type Stage = Arc<dyn Fn(Tensor) -> Result<Tensor> + Send + Sync>;

/// A model with all that a step may move.
pub(super) struct Chain {
    pub(super) input: Tensor,
    pub(super) stages: Vec<Stage>,
    pub(super) vars: Vec<Var>,
    statistics: Vec<Tensor>,
    dropouts: Vec<Dropout>,
}

/// Layers are frozen where this says so; makes variables of the rest and takes note of them.
struct Maker {
    vb: VarBuilder<'static>,
    frozen: usize,
    stage: usize,
    vars: Vec<Var>,
}

impl Maker {
    fn new(frozen: usize) -> Self {
        let vb = Seeded::builder(5, DType::F32, &Device::Cpu);
        Self { vb, frozen, stage: 0, vars: Vec::new() }
    }

    fn param(&mut self, tensor: &Tensor) -> Tensor {
        if self.stage < self.frozen {
            return tensor.detach();
        }
        let var = Var::from_tensor(&tensor.detach()).expect("a variable");
        self.vars.push(var.clone());
        var.into_inner()
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Result<nn::Linear> {
        let name = format!("{}.{}", self.stage, self.vars.len());
        let made = nn::linear(inputs, outputs, self.vb.pp(name))?;
        let weight = self.param(made.weight());
        let bias = made.bias().map(|bias| self.param(bias));
        Ok(nn::Linear::new(weight, bias))
    }
}

pub(super) const KINDS: [fn(usize) -> Result<Chain>; 3] = [mlp, cnn, transformer];

/// Six stages with a dropout each; the last dropout is shared by two.
pub(super) fn mlp(frozen: usize) -> Result<Chain> {
    let mut maker = Maker::new(frozen);
    let mut dropouts = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for stage in 0..6 {
        maker.stage = stage;
        let layer = maker.linear(8, 8)?;
        let dropout = match stage {
            5 => Dropout::clone(&dropouts[4]),
            _ => Dropout::new(0.3, stage as u64)?,
        };
        dropouts.push(dropout.clone());
        stages.push(Arc::new(move |xs| dropout.forward(&gelu(&layer.forward(&xs)?)?, true)));
    }
    let input = random(1, (5, 8), DType::F32);
    Ok(Chain { input, stages, vars: maker.vars, statistics: Vec::new(), dropouts })
}

/// Four convolutions with batch norm, and a head.
fn cnn(frozen: usize) -> Result<Chain> {
    let mut maker = Maker::new(frozen);
    let (mut statistics, mut stages): (Vec<Tensor>, Vec<Stage>) = Default::default();
    for stage in 0..4 {
        maker.stage = stage;
        let name = maker.vb.pp(format!("conv{stage}"));
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        let conv = nn::conv2d_no_bias(if stage == 0 { 1 } else { 3 }, 3, 3, config, name)?;
        let conv = nn::Conv2d::new(maker.param(conv.weight()), None, config);
        let norm = nn::batch_norm(3, BatchNormConfig::default(), maker.vb.pp(format!("n{stage}")))?;
        let (weight, bias) = norm.weight_and_bias().expect("affine");
        let (weight, bias) = (maker.param(weight), maker.param(bias));
        let running = [norm.running_mean().clone(), norm.running_var().clone()];
        statistics.extend(running.clone());
        let [mean, var] = running;
        let norm = nn::BatchNorm::new(3, mean, var, weight, bias, 1e-5)?;
        stages.push(Arc::new(move |xs| relu(&norm.forward_t(&conv.forward(&xs)?, true)?)));
    }
    maker.stage = 4;
    let head = maker.linear(3 * 9, 4)?;
    stages.push(Arc::new(move |xs| head.forward(&avg_pool2d(&xs, 2)?.flatten_from(1)?)));
    let input = random(2, (4, 1, 6, 6), DType::F32);
    Ok(Chain { input, stages, vars: maker.vars, statistics, dropouts: Vec::new() })
}

/// Blocks with two shortcuts and a dropout each: the normalised input is used three times.
fn transformer(frozen: usize) -> Result<Chain> {
    let mut maker = Maker::new(frozen);
    let (mut dropouts, mut stages): (Vec<Dropout>, Vec<Stage>) = Default::default();
    for stage in 0..4 {
        maker.stage = stage;
        let layers: Vec<nn::Linear> = (0..5).map(|_| maker.linear(8, 8)).collect::<Result<_>>()?;
        let config = LayerNormConfig::default();
        let norm = nn::layer_norm(8, config, maker.vb.pp(format!("norm{stage}")))?;
        let bias = norm.bias().expect("a bias").clone();
        let norm = nn::LayerNorm::new(maker.param(norm.weight()), maker.param(&bias), 1e-5);
        let dropout = Dropout::new(0.2, 9 + stage as u64)?;
        dropouts.push(dropout.clone());
        stages.push(Arc::new(move |xs| {
            let normed = norm.forward(&xs)?;
            let head = |layer: &nn::Linear| {
                layer.forward(&normed)?.reshape((2, 3, 2, 4))?.transpose(1, 2)?.contiguous()
            };
            let (q, k, v) = (head(&layers[0])?, head(&layers[1])?, head(&layers[2])?);
            let mixed = scaled_dot_product_attention(&q, &k, &v, AttentionMask::Causal, None)?;
            let mixed = mixed.transpose(1, 2)?.reshape((2, 3, 8))?;
            let xs = (xs + dropout.forward(&layers[3].forward(&mixed)?, true)?)?;
            &xs + dropout.forward(&layers[4].forward(&xs)?, true)?
        }));
    }
    let input = random(3, (2, 3, 8), DType::F32);
    Ok(Chain { input, stages, vars: maker.vars, statistics: Vec::new(), dropouts })
}

/// Whose backward runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Backward {
    Ours,
    Candles,
}

/// Everything that a step shows and leaves behind.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    loss: Vec<f64>,
    grads: Vec<Option<Vec<u64>>>,
    statistics: Vec<Vec<f64>>,
    generators: Vec<DropoutState>,
}

impl Chain {
    /// The stages with those of each range put together as one, made by `made`.
    pub(super) fn with(
        &self,
        ranges: &[Range<usize>],
        made: impl Fn(Vec<Stage>) -> Stage,
    ) -> Vec<Stage> {
        let mut stages = Vec::new();
        let mut at = 0;
        for range in ranges {
            stages.extend(self.stages[at..range.start].iter().cloned());
            stages.push(made(self.stages[range.clone()].to_vec()));
            at = range.end;
        }
        stages.extend(self.stages[at..].iter().cloned());
        stages
    }

    /// One forward and backward through `stages`.
    pub(super) fn step(&self, stages: &[Stage], whose: Backward) -> Result<Outcome> {
        let loss = self.loss(stages)?;
        let grads = match whose {
            Backward::Ours => backward(&loss)?,
            Backward::Candles => loss.backward()?,
        };
        Ok(Outcome {
            loss: flat(&loss),
            grads: self.bits(&grads),
            statistics: self.statistics.iter().map(flat).collect(),
            generators: self.dropouts.iter().map(Dropout::state).collect(),
        })
    }

    pub(super) fn loss(&self, stages: &[Stage]) -> Result<Tensor> {
        let through = |xs: Tensor, stage: &Stage| stage(xs);
        stages.iter().try_fold(self.input.clone(), through)?.sqr()?.mean_all()
    }

    fn bits(&self, grads: &GradStore) -> Vec<Option<Vec<u64>>> {
        let bits = |grad: &Tensor| flat(grad).into_iter().map(f64::to_bits).collect();
        self.vars.iter().map(|var| grads.get(var).map(bits)).collect()
    }

    /// How often the dropouts have drawn.
    pub(super) fn drawn(&self) -> Vec<u64> {
        self.dropouts.iter().map(|dropout| dropout.state().position).collect()
    }
}

/// Stages one after the other, run again as one.
pub(super) fn again(stages: Vec<Stage>) -> Stage {
    let all: Stage = Arc::new(move |xs| stages.iter().try_fold(xs, |xs, stage| stage(xs)));
    Arc::new(move |xs| {
        let all = Arc::clone(&all);
        recompute(xs, move |xs| all(xs))
    })
}

/// The numbers from 0 to `len` in pieces of `n`.
pub(super) fn every(n: usize, len: usize) -> Vec<Range<usize>> {
    (0..len).step_by(n).map(|start| start..(start + n).min(len)).collect()
}
