//! What holds for every model.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Optimizer, ParamsAdamW, VarBuilder};
use freeze_core::audit::audit;
use freeze_core::cache::CacheContext;
use freeze_core::checkpoint::{load_weights, save_weights};
use freeze_core::init::Seeded;
use freeze_core::optim::AdamW;
use freeze_core::{
    ActivationCache, BatchNormPolicy, Freezable, Freezer, Recompute, Staged, Stages, Training,
    backward,
};

use crate::golden::{assert_within, numbers};

/// A small model, a batch for it and a loss.
pub(crate) trait Subject {
    type Context: CacheContext<Owned = Self::Context> + Send + Sync + 'static;
    type Model: Staged<Flow = Tensor, Context = Self::Context> + Send + Sync + 'static;

    fn build(&self, vb: VarBuilder<'_>) -> freeze_core::Result<Self::Model>;
    /// The batch, of `samples()` samples.
    fn input(&self, dtype: DType) -> Tensor;
    fn samples(&self) -> usize;
    fn context(&self, train: bool) -> Self::Context;

    fn loss(&self, output: &Tensor) -> Result<Tensor> {
        output.to_dtype(DType::F32)?.sqr()?.mean_all()
    }

    fn seeded(&self, dtype: DType) -> Self::Model {
        self.build(Seeded::builder(3, dtype, &Device::Cpu)).expect("a model")
    }
}

/// All of them.
pub(crate) fn all<S: Subject>(subject: &S) {
    every_leaf_learns(subject);
    frozen_stages_stay(subject);
    weights_load_and_save_unchanged(subject);
    every_dtype_computes(subject);
    what_need_not_be_computed_changes_nothing(subject);
}

fn every_leaf_learns<S: Subject>(subject: &S) {
    let net = Freezer::new(subject.seeded(DType::F32)).expect("a freezer");
    let (input, context) = (subject.input(DType::F32), subject.context(false));
    let audit =
        audit(&net, |net| subject.loss(&net.forward(input.clone(), &context)?)).expect("an audit");
    audit.ensure_clean().expect("every leaf gets a gradient");
}

/// Bit for bit the same output; no gradient and no change below the boundary, both above it.
fn frozen_stages_stay<S: Subject>(subject: &S) {
    let (input, context) = (subject.input(DType::F32), subject.context(false));
    let whole = subject.seeded(DType::F32);
    let output = bits(&whole.forward(input.clone(), &context).expect("an output"));
    for stage in whole.stages() {
        let mut net = Freezer::new(subject.seeded(DType::F32)).expect("a freezer");
        let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default()).expect("AdamW");
        let front = net.whole().first_leaf(stage).expect("a stage");
        net.freeze_front(front, &mut [&mut opt]).expect("frozen");
        let found = net.forward(input.clone(), &context).expect("an output");
        assert_eq!(bits(&found), output, "{stage}");
        let grads = backward(&subject.loss(&found).expect("a loss")).expect("gradients");
        let before = values(net.whole());
        opt.step(&grads).expect("a step");
        let leaves = net.whole().leaves().expect("leaves");
        let vars = net.whole().vars().expect("variables");
        let frozen: Vec<&str> = leaves[..front].iter().map(|leaf| leaf.path.as_str()).collect();
        let shared = |tensor: &Tensor| {
            let twins = leaves[front..].iter().flat_map(|leaf| &leaf.params);
            twins.filter(|twin| twin.id == tensor.id()).count() > 0
        };
        for ((name, old), (_, tensor)) in
            before.iter().zip(net.whole().named_tensors().expect("tensors"))
        {
            let is_frozen = frozen.iter().any(|path| {
                name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.') || rest.is_empty())
            }) && !shared(&tensor);
            let is_trained = !is_frozen && vars.iter().any(|var| var.id() == tensor.id());
            assert_eq!(grads.get(&tensor).is_some(), is_trained, "{stage}: gradient of {name}");
            assert_eq!(numbers(&tensor) != *old, is_trained, "{stage}: {name} changed");
        }
    }
}

fn weights_load_and_save_unchanged<S: Subject>(subject: &S) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let model = subject.seeded(DType::F32);
    save_weights(&path, &model).expect("saved");
    let saved = load_weights(&path).expect("weights");
    let bytes = std::fs::read(&path).expect("a file");
    let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu);
    let again = subject.build(vb.expect("a builder")).expect("the same names");
    let named = |model: &S::Model| -> Vec<(String, Vec<f64>)> { values(model) };
    assert_eq!(named(&again), named(&model));
    for (name, old) in named(&model) {
        assert_eq!(numbers(&saved[&name]), old, "{name}");
    }
}

fn every_dtype_computes<S: Subject>(subject: &S) {
    let output = |dtype: DType| {
        let model = subject.seeded(dtype);
        let output = model.forward(subject.input(dtype), &subject.context(false)).expect("output");
        assert_eq!(output.dtype(), dtype);
        let grads = backward(&subject.loss(&output).expect("a loss")).expect("gradients");
        for var in model.vars().expect("variables") {
            let grad = grads.get(&var).expect("a gradient");
            assert_eq!(grad.dtype(), dtype);
            assert!(numbers(grad).iter().all(|value| value.is_finite()), "{dtype:?}");
        }
        output
    };
    let single = output(DType::F32);
    for (dtype, tolerance) in [(DType::F64, 1e-4), (DType::F16, 0.03), (DType::BF16, 0.1)] {
        assert_within(&output(dtype), &single, tolerance, &format!("{dtype:?}"));
    }
}

/// A run with a cache and recomputation of stages is the run without, bit for bit.
fn what_need_not_be_computed_changes_nothing<S: Subject>(subject: &S) {
    let keys: Vec<u64> = (0..subject.samples() as u64).collect();
    let run = |choose: &dyn Fn(Training<S::Model>) -> Training<S::Model>| {
        let mut run = choose(Training::new(subject.seeded(DType::F32)).expect("a run"))
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))
            .and_then(|run| run.length(1, 3))
            .expect("a run");
        run.set_batch_norm(BatchNormPolicy::Inference).expect("a policy");
        let stages = run.freezer().whole().stages();
        let front = run.freezer().whole().first_leaf(stages[stages.len() / 2]).expect("a stage");
        run.freeze_front(front).expect("frozen");
        let mut losses = Vec::new();
        while run.next_epoch().expect("an epoch").is_some() {
            for _ in 0..3 {
                let context = subject.context(true);
                let output = run.forward(&keys, subject.input(DType::F32), &context).expect("out");
                let loss = subject.loss(&output).expect("a loss");
                losses.push(bits(&loss));
                run.step(&loss).expect("a step");
            }
            run.epoch_end([]).expect("an end");
        }
        let hits = run.activation_cache().map(|cache| cache.stats().hits);
        (losses, values(run.freezer().whole()), hits)
    };
    let (losses, weights, _) = run(&|run| run);
    assert_ne!(losses[0], losses[2], "the run trains");
    let cached = run(&|run| run.cache(ActivationCache::new()));
    assert_eq!(cached.2, Some(2 * subject.samples() as u64), "the later steps find records");
    let every = run(&|run| run.recompute(Recompute::every(1).expect("a number")));
    for (which, found) in [("cache", cached), ("recompute", every)] {
        assert_eq!(found.0, losses, "{which}: losses");
        assert_eq!(found.1, weights, "{which}: weights");
    }
}

/// Every tensor's name and elements.
fn values<M: Freezable>(model: &M) -> Vec<(String, Vec<f64>)> {
    let tensors = model.named_tensors().expect("tensors").into_iter();
    tensors.map(|(name, tensor)| (name, numbers(&tensor))).collect()
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    numbers(tensor).into_iter().map(f64::to_bits).collect()
}
