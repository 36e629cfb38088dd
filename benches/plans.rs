//! What plans cost: `cargo bench --bench plans`.
//!
//! Small layers, so that all there is to measure is what lies around the arithmetic. Each kind of change
//! is made in turn within a round; medians over the rounds are printed.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, ParamsAdamW, VarBuilder, VarMap, linear};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, FreezePlan, Freezer, LeafState, PlanOptimizer, Rebuilt};

const ROUNDS: usize = 60;
const WIDTH: usize = 4;

/// What is timed in a round, in this order.
const CHANGES: [&str; 5] = ["Freezer::new", "freeze half", "scale rates", "thaw", "the same plan"];

fn main() -> Result<()> {
    print!("{:>24}", "median");
    CHANGES.iter().for_each(|name| print!(" {name:>14}"));
    println!();
    for leaves in [800, 3200] {
        let layers = || layers(leaves, variables());
        show(&format!("{leaves} leaves"), layers, false)?;
        show(&format!("{leaves} leaves, AdamW"), layers, true)?;
    }
    let rebuilt = || Ok(Rebuilt::new(variables(), |vb| layers(800, vb))?);
    show("Rebuilt of 800, AdamW", rebuilt, true)
}

/// A builder whose tensors are fresh variables.
fn variables() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)
}

fn layers(leaves: usize, vb: VarBuilder<'_>) -> Result<Vec<Linear>> {
    (0..leaves).map(|i| linear(WIDTH, WIDTH, vb.pp(format!("blocks.{i}.linear")))).collect()
}

/// Measures a model and prints its row.
fn show<M: Freezable>(
    name: &str,
    model: impl Fn() -> Result<M>,
    with_optimizer: bool,
) -> Result<()> {
    let mut times: [Vec<f64>; CHANGES.len()] = Default::default();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let taken = changes(model()?, with_optimizer)?;
        if round > 0 {
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
        }
    }
    print!("{name:>24}");
    for times in &mut times {
        times.sort_unstable_by(f64::total_cmp);
        print!(" {:>11.0} us", times[times.len() / 2] * 1e6);
    }
    println!();
    Ok(())
}

/// The seconds that each change takes.
fn changes<M: Freezable>(model: M, with_optimizer: bool) -> Result<[f64; CHANGES.len()]> {
    let (made, mut net) = time(|| Freezer::new(model))?;
    let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
    step(&net, &mut opt)?;
    let mut optimizers: Vec<&mut dyn PlanOptimizer> = Vec::new();
    if with_optimizer {
        optimizers.push(&mut opt);
    }
    let whole = net.plan().clone();
    let mut half = whole.clone();
    half.freeze_front(whole.len() / 2)?;
    let (frozen, _) = time(|| net.apply(&half, &mut optimizers))?;
    let scaled = scaled(&half)?;
    let (rates, _) = time(|| net.apply(&scaled, &mut optimizers))?;
    let (thawed, _) = time(|| net.apply(&whole, &mut optimizers))?;
    let (same, _) = time(|| net.apply(&whole, &mut optimizers))?;
    Ok([made, frozen, rates, thawed, same])
}

/// The plan with everything that trains at half its rate.
fn scaled(plan: &FreezePlan) -> Result<FreezePlan> {
    let mut scaled = plan.clone();
    for (index, state) in plan.states().iter().enumerate() {
        if let LeafState::Trained { lr_scale } = state {
            scaled.set(index, LeafState::Trained { lr_scale: lr_scale / 2. })?;
        }
    }
    Ok(scaled)
}

/// Gives the optimizer a state for every variable.
fn step<M: Freezable>(net: &Freezer<M>, opt: &mut AdamW) -> Result<()> {
    let mut grads = candle_core::backprop::GradStore::default();
    for var in net.vars() {
        grads.insert(&var, Tensor::ones(var.shape(), DType::F32, &Device::Cpu)?);
    }
    candle_nn::Optimizer::step(opt, &grads)
}

fn time<T>(work: impl FnOnce() -> freeze_core::Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let made = work()?;
    Ok((start.elapsed().as_secs_f64(), made))
}
