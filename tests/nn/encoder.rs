//! A small transformer encoder learns to reverse its input, which stock candle layers cannot: their
//! layer norm and their softmax have no backward, so that nothing below the head learns.

#[path = "../../benches/layers/kit.rs"]
mod kit;
#[path = "../../benches/layers/transformer.rs"]
mod transformer;

use candle_core::{DType, Device::Cpu, Module, Result, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{LayerNormConfig, Optimizer, VarBuilder};
use freeze_core::audit::{Audit, Cause, CutAt, Outcome, audit};
use freeze_core::{Freezable, Freezer, init::Seeded, optim::AdamW};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use kit::{Kit, Net, Ours, Stock};
use transformer::{SequenceKit, Shape, Stage, attend_by};

/// candle's layers as a user takes them: fused layer norm and softmax.
enum Fused {}

impl Kit for Fused {
    type Linear = candle_nn::Linear;

    fn linear(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self::Linear> {
        candle_nn::linear(inputs, outputs, vb)
    }
}

impl SequenceKit for Fused {
    type Embedding = candle_nn::Embedding;
    type Norm = candle_nn::LayerNorm;

    fn embedding(words: usize, size: usize, vb: VarBuilder<'_>) -> Result<Self::Embedding> {
        candle_nn::embedding(words, size, vb)
    }

    fn norm(size: usize, vb: VarBuilder<'_>) -> Result<Self::Norm> {
        candle_nn::layer_norm(size, LayerNormConfig::default(), vb)
    }

    fn gelu(xs: &Tensor) -> Result<Tensor> {
        xs.gelu()
    }

    fn attention(operands: [&Tensor; 3], heads: usize) -> Result<Tensor> {
        attend_by(operands, heads, candle_nn::ops::softmax_last_dim)
    }
}

const SHAPE: Shape = Shape { layers: 2, model: 32, heads: 4, sequence: 8, vocabulary: 8 };
const BATCH: usize = 32;
const STEPS: usize = 250;

/// A model of the kit's layers, always with the same weights.
fn net<K: SequenceKit>() -> Result<Net<Stage<K>>> {
    let vb = Seeded::builder(7, DType::F32, &Cpu);
    let stage = |index| transformer::stage::<K>(index, &SHAPE, vb.pp(index));
    Ok(Net { stages: (0..SHAPE.layers + 3).map(stage).collect::<Result<_>>()? })
}

fn loss<K: SequenceKit>(
    net: &Net<Stage<K>>,
    (input, targets): &(Tensor, Tensor),
) -> Result<Tensor> {
    cross_entropy(&net.forward(input)?.flatten_to(1)?, targets)
}

/// The losses of `STEPS` steps, and the leaves that the first backward reached.
struct Run {
    losses: Vec<f32>,
    reached: Vec<String>,
}

impl Run {
    /// Trains a model of the kit's layers, always on the same data.
    fn of<K: SequenceKit>() -> freeze_core::Result<Self> {
        let net = net::<K>()?;
        let mut optimizer = AdamW::new_lr(net.vars()?, 3e-3)?;
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut run = Self { losses: Vec::new(), reached: Vec::new() };
        for step in 0..STEPS {
            let loss = loss(&net, &reversal(&mut rng)?)?;
            let grads = loss.backward()?;
            if step == 0 {
                let named = net.named_vars()?.into_iter();
                let reached = named.filter(|(_, var)| grads.get(var).is_some());
                run.reached = reached.map(|(name, _)| name).collect();
            }
            optimizer.step(&grads)?;
            run.losses.push(loss.to_scalar()?);
        }
        Ok(run)
    }

    /// The mean loss of the last twenty steps.
    fn end(&self) -> f32 {
        let last = &self.losses[STEPS - 20..];
        last.iter().sum::<f32>() / last.len() as f32
    }
}

/// Random sequences, and as targets their reversals, flattened.
fn reversal(rng: &mut ChaCha8Rng) -> Result<(Tensor, Tensor)> {
    let words = SHAPE.vocabulary as u32;
    let tokens: Vec<u32> =
        (0..BATCH * SHAPE.sequence).map(|_| rng.random_range(0..words)).collect();
    let reversed: Vec<u32> =
        tokens.chunks(SHAPE.sequence).flat_map(|row| row.iter().rev().copied()).collect();
    let targets = Tensor::from_vec(reversed, BATCH * SHAPE.sequence, &Cpu)?;
    Ok((Tensor::from_vec(tokens, (BATCH, SHAPE.sequence), &Cpu)?, targets))
}

#[test]
fn the_transformer_learns_what_stock_layers_cannot() -> freeze_core::Result<()> {
    let (ours, stock) = (Run::of::<Ours>()?, Run::of::<Fused>()?);
    // They start from the same function.
    assert!((ours.losses[0] - stock.losses[0]).abs() < 1e-4);
    assert_eq!(stock.reached, ["stages.4.weight", "stages.4.bias"]);
    assert_eq!(ours.reached.len(), 2 + 16 * SHAPE.layers + 2 + 2);
    assert!(ours.end() < 0.05, "{}", ours.end());
    assert!(stock.end() > 1.5, "{}", stock.end());
    Ok(())
}

/// The layers in candle's differentiable operations compute the same gradients, slower.
#[test]
fn the_loss_curve_is_that_of_differentiable_operations() -> freeze_core::Result<()> {
    let (ours, stock) = (Run::of::<Ours>()?, Run::of::<Stock>()?);
    for (step, (ours, stock)) in ours.losses.iter().zip(&stock.losses).take(50).enumerate() {
        assert!((ours - stock).abs() < 1e-3, "step {step}: {ours} {stock}");
    }
    Ok(())
}

#[test]
fn the_audit_of_stock_layers_names_the_layer_norms() -> freeze_core::Result<()> {
    fn audited<K: SequenceKit>() -> freeze_core::Result<Audit> {
        let batch = reversal(&mut ChaCha8Rng::seed_from_u64(11))?;
        audit(&Freezer::new(net::<K>()?)?, |net| loss(net, &batch))
    }

    audited::<Ours>()?.ensure_clean()?;
    let stock = audited::<Fused>()?;
    assert!(stock.ensure_clean().is_err());
    let mut cuts: Vec<&str> = Vec::new();
    for leaf in stock.leaves() {
        match &leaf.outcome {
            Outcome::Missing(Cause::Cut(CutAt::Leaf { path, kind: "LayerNorm" })) => {
                cuts.push(path)
            }
            outcome => assert!(leaf.path == "stages.4", "{}: {outcome:?}", leaf.path),
        }
    }
    cuts.dedup();
    let norms =
        ["stages.1.norm1", "stages.1.norm2", "stages.2.norm1", "stages.2.norm2", "stages.3"];
    assert_eq!(cuts, norms);
    Ok(())
}
