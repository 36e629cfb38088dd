//! The costs that a run shows its policy.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use freeze_core::forecast::Calibration;
use freeze_core::init::Seeded;
use freeze_core::optim::{AdamW, MasterWeights, Momentum, ParamsSgd, Sgd};
use freeze_core::policy::{Needs, Observation};
use freeze_core::train::TrainOptimizer;
use freeze_core::{
    Decision, Elapsed, Freezable, FreezePlan, PlanOptimizer, PlannedVar, Policy, Result, Training,
    nn,
};

use crate::rig::params;

/// Keeps what it is shown.
#[derive(Default)]
struct Costs(Arc<Mutex<Option<Arc<Calibration>>>>);

impl Policy for Costs {
    fn needs(&self, _: Elapsed) -> Needs {
        Needs::COSTS
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        if seen.is_at_start() {
            *self.0.lock().expect("no panic") = seen.calibration().cloned();
        }
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "costs".into()
    }
}

#[derive(Freezable)]
struct Stack {
    layers: Vec<nn::Linear>,
}

impl Stack {
    fn new(dtype: DType) -> candle_core::Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(3, dtype, &Device::Cpu);
        let layer = |i| nn::linear(8, 8, vb.pp(i));
        Ok(Self { layers: (0..3).map(layer).collect::<candle_core::Result<_>>()? })
    }

    fn loss(&self) -> candle_core::Result<Tensor> {
        let dtype = self.layers[0].weight().dtype();
        let xs = Tensor::ones((4, 8), dtype, &Device::Cpu)?;
        let ys = self.layers.iter().try_fold(xs, |xs, layer| layer.forward(&xs))?;
        ys.to_dtype(DType::F32)?.sqr()?.mean_all()
    }
}

/// The bytes of state that a forecast counts for each byte of a gradient, and that the optimizer then keeps.
fn state<O: TrainOptimizer + PlanOptimizer + 'static>(
    dtype: DType,
    build: impl FnOnce(Vec<PlannedVar>) -> Result<O>,
) -> Result<(f64, f64)> {
    let policy = Costs::default();
    let shown = policy.0.clone();
    let mut run = Training::new(Stack::new(dtype)?)?
        .optimizer(build)?
        .costs_of(Stack::loss)
        .policy(policy)
        .length(1, 1)?;
    run.next_epoch()?.expect("an epoch");
    let costs = shown.lock().expect("no panic").clone().expect("costs");
    let plan = costs.forecast(run.freezer().plan())?;
    let loss = run.model().loss()?;
    run.step(&loss)?;
    let optimizer = run.optimizer_as::<O>(0).expect("the optimizer");
    let kept = PlanOptimizer::state_bytes(optimizer).expect("bytes");
    let of = |bytes: usize| bytes as f64 / plan.gradient_bytes as f64;
    Ok((of(plan.state_bytes), of(kept)))
}

#[test]
fn what_the_optimizer_keeps_is_counted() -> Result<()> {
    let sgd = |momentum| {
        move |vars| Sgd::with_names(vars, ParamsSgd { lr: 1e-4, momentum, ..Default::default() })
    };
    let adam = |masters| {
        move |vars| {
            let mut adam = AdamW::with_names(vars, params())?;
            adam.set_master_weights(masters);
            Ok(adam)
        }
    };
    for (name, (forecast, kept), expected) in [
        ("AdamW", state(DType::F32, adam(MasterWeights::F32))?, 2.0),
        ("AdamW, f64", state(DType::F64, adam(MasterWeights::F32))?, 2.0),
        ("AdamW, bf16", state(DType::BF16, adam(MasterWeights::F32))?, 6.0),
        ("AdamW, f16, no masters", state(DType::F16, adam(MasterWeights::None))?, 4.0),
        ("SGD", state(DType::F32, sgd(Momentum::None))?, 0.0),
        ("SGD with momentum", state(DType::F32, sgd(Momentum::Heavy(0.9)))?, 1.0),
    ] {
        assert_eq!((forecast, kept), (expected, expected), "{name}");
    }
    Ok(())
}
