//! Whole runs of the reference, trained again from the same weights on the same data, by candle's
//! optimizers and by this library's. Runs with momentum are the latter's alone: candle's SGD has none.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW, SGD, loss};
use freeze_core::optim::{AdamW, Momentum, ParamsSgd, PerParam, Sgd};
use freeze_core::{Elapsed, Freezable, Freezer, LayerFreezing, PlanOptimizer};
use serde::Deserialize;

use crate::support::bits;

#[derive(Deserialize)]
pub struct Golden {
    pub batch_size: usize,
    pub runs: Vec<Run>,
}

#[derive(Deserialize)]
pub struct Run {
    pub run: String,
    pub model: String,
    pub optimizer: Optim,
    pub freeze_start: f64,
    pub freeze_level: f64,
    pub epochs_f32: Vec<Epoch>,
    pub epochs_f64: Vec<Epoch>,
}

#[derive(Deserialize)]
pub struct Optim {
    pub kind: String,
    pub lr: f64,
    pub weight_decay: f64,
    #[serde(default)]
    pub momentum: f64,
    #[serde(default)]
    pub beta1: f64,
    #[serde(default)]
    pub beta2: f64,
    #[serde(default)]
    pub eps: f64,
}

#[derive(Deserialize)]
pub struct Epoch {
    pub epoch: usize,
    pub losses: Vec<f64>,
    pub freeze_depth: usize,
    pub freeze_percentage: f64,
    pub optimizer_params: usize,
    pub trainable_elements: usize,
    pub frozen: Vec<String>,
}

type Tensors = HashMap<String, Tensor>;

pub fn golden() -> (Golden, Tensors) {
    let golden =
        serde_json::from_str(include_str!("../data/training.json")).expect("training.json");
    let bytes = include_bytes!("../data/training.safetensors");
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).expect("tensors");
    (golden, tensors)
}

#[derive(Freezable)]
struct Mlp {
    fc0: Linear,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    fc4: Linear,
    fc5: Linear,
}

impl Module for Mlp {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let hidden = [&self.fc0, &self.fc1, &self.fc2, &self.fc3, &self.fc4];
        let xs = hidden.iter().try_fold(xs.clone(), |xs, fc| fc.forward(&xs)?.relu())?;
        self.fc5.forward(&xs)
    }
}

#[derive(Freezable)]
struct Cnn {
    conv0: Conv2d,
    conv1: Conv2d,
    conv2: Conv2d,
    fc0: Linear,
    fc1: Linear,
}

impl Module for Cnn {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let convs = [&self.conv0, &self.conv1, &self.conv2];
        let xs = convs.iter().try_fold(xs.clone(), |xs, conv| conv.forward(&xs)?.relu())?;
        self.fc1.forward(&self.fc0.forward(&xs.flatten_from(1)?)?.relu()?)
    }
}

/// Initial weights by name, as variables.
struct Init<'a> {
    tensors: &'a Tensors,
    model: &'a str,
    dtype: DType,
}

impl Init<'_> {
    fn var(&self, name: &str) -> Tensor {
        let tensor = self.tensors[&format!("{}/init/{name}", self.model)].to_dtype(self.dtype);
        Var::from_tensor(&tensor.expect("dtype")).expect("a variable").into_inner()
    }

    fn linear(&self, name: &str) -> Linear {
        Linear::new(self.var(&format!("{name}.weight")), Some(self.var(&format!("{name}.bias"))))
    }

    fn conv(&self, name: &str, stride: usize) -> Conv2d {
        let config = Conv2dConfig { stride, padding: 1, ..Default::default() };
        Conv2d::new(
            self.var(&format!("{name}.weight")),
            Some(self.var(&format!("{name}.bias"))),
            config,
        )
    }

    fn mlp(&self) -> Mlp {
        let [fc0, fc1, fc2, fc3, fc4, fc5] =
            ["fc0", "fc1", "fc2", "fc3", "fc4", "fc5"].map(|name| self.linear(name));
        Mlp { fc0, fc1, fc2, fc3, fc4, fc5 }
    }

    fn cnn(&self) -> Cnn {
        Cnn {
            conv0: self.conv("conv0", 1),
            conv1: self.conv("conv1", 2),
            conv2: self.conv("conv2", 1),
            fc0: self.linear("fc0"),
            fc1: self.linear("fc1"),
        }
    }
}

/// Trains one run; compares every step, every epoch and the final weights.
fn check<M, O>(run: &Run, batch_size: usize, tensors: &Tensors, dtype: DType, model: M, mut opt: O)
where
    M: Freezable + Module,
    O: Optimizer + PlanOptimizer,
{
    let (epochs, suffix, loss_bound, weight_bound) = match dtype {
        DType::F32 => (&run.epochs_f32, "f32", 1e-5, 5e-5),
        _ => (&run.epochs_f64, "f64", 1e-9, 1e-9),
    };
    let xs = tensors[&format!("{}/x", run.model)].to_dtype(dtype).expect("inputs");
    let ys = &tensors[&format!("{}/y", run.model)];
    let mut net = Freezer::new(model).expect("a freezer");
    let mut hook = LayerFreezing::new(run.freeze_start, run.freeze_level).expect("a hook");
    let mut stopped: HashMap<String, Vec<u64>> = HashMap::new();
    for golden in epochs {
        let place = format!("{} {suffix} epoch {}", run.run, golden.epoch);
        for (step, expected) in golden.losses.iter().enumerate() {
            let batch = |t: &Tensor| t.narrow(0, step * batch_size, batch_size).expect("a batch");
            let loss = loss::cross_entropy(&net.forward(&batch(&xs)).expect("logits"), &batch(ys))
                .expect("a loss");
            opt.backward_step(&loss).expect("a step");
            let loss =
                loss.to_dtype(DType::F64).and_then(|l| l.to_scalar::<f64>()).expect("a number");
            let off = (loss - expected).abs();
            assert!(off <= loss_bound, "{place} step {step}: {loss} and {expected}, {off:e} apart");
        }
        let elapsed = Elapsed::new(golden.epoch, epochs.len());
        let report = hook.epoch_end(&mut net, &mut [&mut opt], elapsed).expect("a report");
        assert_eq!(report.depth(), golden.freeze_depth, "{place}");
        assert_eq!(report.percentage().to_bits(), golden.freeze_percentage.to_bits(), "{place}");
        assert_eq!(report.change.parameters_trained, golden.trainable_elements, "{place}");
        assert_eq!(net.trained_vars().len(), golden.optimizer_params, "{place}");
        let weights = net.whole().named_tensors().expect("weights");
        for (name, weight) in weights.iter().filter(|(name, _)| golden.frozen.contains(name)) {
            let now = bits(weight);
            let then = stopped.entry(name.clone()).or_insert_with(|| now.clone());
            assert!(*then == now, "{place}: {name} moved after it froze");
        }
        assert_eq!(stopped.len(), golden.frozen.len(), "{place}");
    }
    for (name, weight) in net.whole().named_tensors().expect("weights") {
        let expected = &tensors[&format!("{}/final_{suffix}/{name}", run.run)];
        let off = weight
            .to_dtype(DType::F64)
            .and_then(|w| {
                (w - expected.to_dtype(DType::F64)?)?.abs()?.max_all()?.to_scalar::<f64>()
            })
            .expect("a distance");
        assert!(off <= weight_bound, "{} {suffix}: {name} is {off:e} off", run.run);
    }
}

/// Whose optimizers train.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    Candles,
    Ours,
}

/// Trains every run of `kind` that the optimizers can, and returns how many those are.
fn check_runs(kind: &str, whose: Whose, dtype: DType) -> usize {
    let (golden, tensors) = golden();
    let can = |run: &&Run| whose == Whose::Ours || run.optimizer.momentum == 0.0;
    let runs: Vec<&Run> =
        golden.runs.iter().filter(|run| run.optimizer.kind == kind).filter(can).collect();
    for &run in &runs {
        let init = Init { tensors: &tensors, model: &run.model, dtype };
        let batch = golden.batch_size;
        match run.model.as_str() {
            "mlp" => check_model(run, batch, &tensors, dtype, whose, init.mlp()),
            "cnn" => check_model(run, batch, &tensors, dtype, whose, init.cnn()),
            other => panic!("no model {other}"),
        }
    }
    runs.len()
}

fn check_model<M: Freezable + Module>(
    run: &Run,
    batch: usize,
    tensors: &Tensors,
    dtype: DType,
    whose: Whose,
    model: M,
) {
    let vars = model.vars().expect("variables");
    let Optim { lr, weight_decay, momentum, beta1, beta2, eps, .. } = run.optimizer;
    let adamw = ParamsAdamW { lr, beta1, beta2, eps, weight_decay };
    match (run.optimizer.kind.as_str(), whose) {
        ("SGD", Whose::Candles) => {
            let opt = SGD::new(vars, lr).expect("an optimizer");
            check(run, batch, tensors, dtype, model, opt);
        }
        ("SGD", Whose::Ours) => {
            let momentum = if momentum == 0.0 { Momentum::None } else { Momentum::Heavy(momentum) };
            let opt = Sgd::new(vars, ParamsSgd { lr, momentum, weight_decay });
            check(run, batch, tensors, dtype, model, opt.expect("an optimizer"));
        }
        ("AdamW", Whose::Candles) => {
            let opt = PerParam::<candle_nn::AdamW>::new(vars, adamw).expect("an optimizer");
            check(run, batch, tensors, dtype, model, opt);
        }
        ("AdamW", Whose::Ours) => {
            let opt = AdamW::new(vars, adamw).expect("an optimizer");
            check(run, batch, tensors, dtype, model, opt);
        }
        (other, _) => panic!("no optimizer {other}"),
    }
}

#[test]
fn sgd_runs() {
    for dtype in [DType::F32, DType::F64] {
        assert_eq!(check_runs("SGD", Whose::Candles, dtype), 5);
        assert_eq!(check_runs("SGD", Whose::Ours, dtype), 8, "three of them with momentum");
    }
}

#[test]
fn adamw_runs() {
    for dtype in [DType::F32, DType::F64] {
        assert_eq!(check_runs("AdamW", Whose::Candles, dtype), 5);
        assert_eq!(check_runs("AdamW", Whose::Ours, dtype), 5);
    }
}
