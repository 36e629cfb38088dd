//! What it costs that a policy looks at every step, on the models of `benches/layers`:
//! `cargo bench --bench observe`, about a minute.
//!
//! Runs of one model take turns step by step: without a policy, with one that needs nothing, with one
//! that needs the norms of gradient, update and weight and the relative update. Ratios are taken within
//! a round; their medians are printed, and `!` marks a missed goal.

#[path = "layers/clock.rs"]
#[allow(dead_code)] // processor time
mod clock;
#[path = "layers/convnet.rs"]
#[allow(dead_code)] // candle's layers
mod convnet;
#[path = "layers/drawn.rs"]
mod drawn;
#[path = "layers/kit.rs"]
#[allow(dead_code)] // candle's layers
mod kit;
#[path = "layers/mlp.rs"]
mod mlp;
#[path = "layers/transformer.rs"]
#[allow(dead_code)] // candle's layers
mod transformer;

use std::time::Instant;

use candle_core::{Device::Cpu, Module, Tensor};
use candle_nn::ParamsAdamW;
use freeze_core::nn::cross_entropy;
use freeze_core::optim::AdamW;
use freeze_core::policy::{Needs, Observation};
use freeze_core::{Decision, Elapsed, Freezable, FreezePlan, Policy, Result, Training};

use clock::median;
use drawn::{classes, seeded};
use kit::{Net, Ours};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The share of a step that observing may take.
const GOAL: f64 = 0.02;

/// Reads every number that it gets.
struct Reads(Needs);

impl Policy for Reads {
    fn needs(&self, _: Elapsed) -> Needs {
        self.0
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        for seen in seen.tensors() {
            std::hint::black_box((seen.gradient_norms()?, seen.update_norms()?));
            std::hint::black_box((seen.weight_norms()?, seen.mean_relative_update()?));
        }
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "reads".into()
    }
}

fn main() -> Result<()> {
    // Cargo passes it to benchmarks, and not to tests.
    let full = std::env::args().any(|argument| argument == "--bench");
    let (width, image, model, sequence, rounds) =
        if full { (1024, 32, 256, 64, 61) } else { (16, 8, 16, 4, 1) };
    let (heads, vocabulary, layers) = (4, 256, 6);
    let shape = transformer::Shape { layers, model, heads, sequence, vocabulary };
    let xs = Tensor::randn(0f32, 1., (64, width), &Cpu)?;
    let mlp = |index| mlp::stage::<Ours>(index, width, seeded(index));
    contest("mlp", rounds, (&xs, classes(64, width)?), mlp::STAGES, mlp)?;
    let xs = Tensor::randn(0f32, 1., (32, 3, image, image), &Cpu)?;
    let convnet = |index| convnet::stage::<Ours>(index, seeded(index));
    contest("convnet", rounds, (&xs, classes(32, convnet::CLASSES)?), convnet::STAGES, convnet)?;
    let xs = classes(16 * sequence, vocabulary)?.reshape((16, sequence))?;
    let transformer = |index| transformer::stage::<Ours>(index, &shape, seeded(index));
    let ys = classes(16 * sequence, vocabulary)?;
    contest("transformer", rounds, (&xs, ys), layers + 3, transformer)
}

fn contest<S: Freezable + Module>(
    name: &str,
    rounds: usize,
    (xs, ys): (&Tensor, Tensor),
    stages: usize,
    stage: impl Fn(usize) -> candle_core::Result<S>,
) -> Result<()> {
    let all = Needs::GRADIENT | Needs::UPDATE | Needs::WEIGHT | Needs::RELATIVE_UPDATE;
    let run = |needs: Option<Needs>| -> Result<Training<Net<S>>> {
        let net = Net { stages: (0..stages).map(&stage).collect::<candle_core::Result<_>>()? };
        let params = ParamsAdamW { lr: 1e-4, ..Default::default() };
        let run = Training::new(net.into_trainable()?)?
            .optimizer(|vars| AdamW::with_names(vars, params))?
            .length(1, rounds + 2)?;
        let mut run = match needs {
            Some(needs) => run.policy(Reads(needs)),
            None => run,
        };
        run.next_epoch()?;
        Ok(run)
    };
    let mut runs = [run(None)?, run(Some(Needs::NONE))?, run(Some(all))?];
    let mut ratios = [Vec::new(), Vec::new()];
    let step = |run: &mut Training<Net<S>>| -> Result<f64> {
        let start = Instant::now();
        let ys_hat = run.model().forward(xs)?;
        let rows = ys_hat.elem_count() / ys_hat.dims().last().copied().unwrap_or(1).max(1);
        let loss = cross_entropy(&ys_hat.reshape((rows, ()))?, &ys, None)?;
        run.step(&loss)?;
        Ok(start.elapsed().as_secs_f64())
    };
    for round in 0..=rounds {
        let [plain, nothing, looks] = &mut runs;
        let plain = step(plain)?;
        let others = [step(nothing)?, step(looks)?];
        if round > 0 {
            ratios.iter_mut().zip(others).for_each(|(ratios, time)| ratios.push(time / plain));
        }
    }
    let [nothing, looks] = ratios.map(median);
    let mark = if looks > 1.0 + GOAL { " !" } else { "" };
    println!("{name}: needs nothing {nothing:.3}, all norms at every step {looks:.3}{mark}");
    Ok(())
}
