//! Steps of a run with the ranks that `mpirun` has started, beside the same steps without exchange:
//! `bash benches/peer/ranks.sh`, which has PyTorch's DDP with gloo take turns with it.
//!
//! Rank 0 prints a line for each model, share frozen and way of exchange: the median seconds of a step alone and of a
//! step with exchange, one after the other in one process, and the bytes that a rank brings to the exchange.

use std::time::Instant;

use candle_core::{Device::Cpu, Module, Result as Candle, Tensor};
use candle_nn::{ParamsAdamW, VarBuilder};
use freeze_core::nn::cross_entropy;
use freeze_core::optim::AdamW;
use freeze_core::parallel::{Group, Mpi, Parallel};
use freeze_core::{Freezable, FreezePlan, Result, Training};

#[allow(dead_code, reason = "the benchmark of layers uses what this one does not")]
mod layers {
    pub(crate) mod clock;
    pub(crate) mod convnet;
    pub(crate) mod drawn;
    pub(crate) mod kit;
    pub(crate) mod mlp;
    pub(crate) mod transformer;
}

use layers::clock::median;
use layers::drawn::{classes, seeded};
use layers::kit::{Net, Ours};
use layers::{mlp, transformer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEPS: usize = 7;
/// 1 MB: DDP's first bucket; its others, of 25 MB, would hold the whole models.
const BUCKET: usize = 1 << 20;

/// A model's stages, and a rank's share of a batch.
struct Model<S> {
    name: &'static str,
    stages: usize,
    stage: fn(usize, VarBuilder<'_>) -> Candle<S>,
    input: Tensor,
    targets: Tensor,
}

fn main() -> Result<()> {
    let group = Group::new(Mpi::new()?);
    let rows = 64 / group.size();
    measure(
        &group,
        &Model {
            name: "mlp",
            stages: mlp::STAGES,
            stage: |index, vb| mlp::stage::<Ours>(index, 1024, vb),
            input: Tensor::randn(0f32, 1., (rows, 1024), &Cpu)?,
            targets: classes(rows, 1024)?,
        },
    )?;
    let rows = 16 / group.size();
    measure(
        &group,
        &Model {
            name: "transformer",
            stages: 9,
            stage: |index, vb| {
                let (model, vocabulary) = (256, 256);
                let shape =
                    transformer::Shape { layers: 6, model, heads: 4, sequence: 64, vocabulary };
                transformer::stage::<Ours>(index, &shape, vb)
            },
            input: classes((rows, 64), 256)?,
            targets: classes(rows * 64, 256)?,
        },
    )
}

fn measure<S: Freezable + Module>(group: &Group, model: &Model<S>) -> Result<()> {
    let depths = [("nothing", 0), ("50 %", model.stages / 2), ("all but last", model.stages - 1)];
    for (label, frozen) in depths {
        for (way, within) in [("after", false), ("within", true)] {
            let ranks = Parallel::new(group.clone());
            let ranks = if within { ranks.within_backward(BUCKET)? } else { ranks };
            let mut alone = training(model, frozen, None)?;
            let mut together = training(model, frozen, Some(ranks))?;
            let (mut times, mut bytes) = ([Vec::new(), Vec::new()], 0);
            for step in 0..STEPS + 2 {
                // All ranks begin each step at the same time.
                let seconds = [
                    time(group, || one(&mut alone, model))?,
                    time(group, || {
                        let before = group.traffic().reduced;
                        one(&mut together, model)?;
                        bytes = group.traffic().reduced - before;
                        Ok(())
                    })?,
                ];
                if step > 1 {
                    times.iter_mut().zip(seconds).for_each(|(times, time)| times.push(time));
                }
            }
            if group.leads() {
                let [alone, together] = times.map(median);
                println!("{}\t{label}\t{way}\t{alone}\t{together}\t{bytes}", model.name);
            }
        }
    }
    Ok(())
}

/// A run that no epoch ends.
fn training<S: Freezable + Module>(
    model: &Model<S>,
    frozen: usize,
    ranks: Option<Parallel>,
) -> Result<Training<Net<S>>> {
    let stage = |index| (model.stage)(index, seeded(index));
    let net = Net { stages: (0..model.stages).map(stage).collect::<Candle<_>>()? };
    let params = ParamsAdamW { lr: 1e-4, ..Default::default() };
    let mut run =
        Training::new(net)?.optimizer(|vars| AdamW::with_names(vars, params))?.length(1, 1_000)?;
    run = match ranks {
        Some(ranks) => run.parallel(ranks),
        None => run,
    };
    let mut plan: FreezePlan = run.freezer().plan().clone();
    for index in 0..frozen {
        plan.freeze(&format!("stages.{index}.**"))?;
    }
    run.apply(&plan)?;
    run.next_epoch()?;
    Ok(run)
}

fn one<S: Freezable + Module>(run: &mut Training<Net<S>>, model: &Model<S>) -> Result<()> {
    let scores = run.model().forward(&model.input)?.flatten_to(candle_core::D::Minus2)?;
    run.step(&cross_entropy(&scores, &model.targets, None)?)?;
    Ok(())
}

fn time(group: &Group, step: impl FnOnce() -> Result<()>) -> Result<f64> {
    group.sum("the beginning of a step", freeze_core::parallel::Numbers::F32(&mut [0.0]))?;
    let start = Instant::now();
    step()?;
    Ok(start.elapsed().as_secs_f64())
}
