//! Model and optimizers change together or not at all.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, ModuleT, Optimizer, ParamsAdamW, SGD};
use freeze_core::optim::{self, PerParam};
use freeze_core::{BatchNormPolicy, Freezable, FreezePlan, Freezer, LeafState, nn};

use crate::support::{Mlp, Tied, bits, randn, square_loss};

fn freezer(depth: usize) -> Freezer<Mlp> {
    Freezer::new(Mlp::new(depth, 3).expect("a model")).expect("a freezer")
}

fn sgd(vars: Vec<Var>) -> SGD {
    SGD::new(vars, 0.1).expect("an optimizer")
}

#[test]
fn an_optimizer_that_refuses_changes_nothing() {
    let mut net = freezer(3);
    let vars = net.vars();
    let mut adam =
        PerParam::<AdamW>::new(vars[..2].to_vec(), ParamsAdamW::default()).expect("adam");
    let mut sgd = sgd(vars[2..].to_vec());
    let mut plan = net.plan().clone();
    plan.freeze("layers.0").and_then(|p| p.train("layers.2", 0.5)).expect("a plan");
    let before = net.plan().clone();
    let error = net.apply(&plan, &mut [&mut adam, &mut sgd]).expect_err("one learning rate");
    assert_eq!(
        error.to_string(),
        "candle_nn::SGD cannot train `layers.2.weight` as planned: it has one learning rate for \
         all, so it cannot scale it by 0.5; use `freeze_core::optim::Sgd` or `PerParam::<SGD>`"
    );
    assert_eq!((net.plan(), net.base()), (&before, &before));
    assert_eq!(adam.trained_vars(), 2, "the optimizer that could follow did not");
    assert!(net.layers[0].weight().is_variable());
}

/// candle's SGD as an optimizer of which nothing is known.
struct Untold(SGD);

impl Optimizer for Untold {
    type Config = f64;

    fn new(vars: Vec<Var>, rate: f64) -> candle_core::Result<Self> {
        SGD::new(vars, rate).map(Self)
    }

    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
        self.0.step(grads)
    }

    fn learning_rate(&self) -> f64 {
        self.0.learning_rate()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.0.set_learning_rate(rate);
    }
}

/// What several optimizers let go of is added up, and unknown as soon as one of them cannot tell.
#[test]
fn the_state_that_every_optimizer_lets_go_of_is_counted() {
    const LEAF: usize = (3 * 3 + 3) * 4;
    let mut net = freezer(4);
    let vars = net.vars();
    let adam = ParamsAdamW::default;
    let mut front = PerParam::<AdamW>::new(vars[..2].to_vec(), adam()).expect("adam");
    let mut middle = optim::AdamW::new(vars[2..6].to_vec(), adam()).expect("adam");
    let mut back = sgd(vars[6..].to_vec());
    let loss = square_loss(&net.forward(&randn((4, 3))).expect("ys")).expect("a loss");
    let grads = loss.backward().expect("gradients");
    front.step(&grads).and_then(|()| middle.step(&grads)).expect("a step");
    assert_eq!(middle.state_bytes(), 2 * 2 * LEAF);

    let change = net.freeze_front(2, &mut [&mut front, &mut middle, &mut back]).expect("frozen");
    assert_eq!(change.state_bytes_released, Some(2 * LEAF + 2 * LEAF));
    assert_eq!(middle.state_bytes(), 2 * LEAF, "that of `layers.2`");
    assert_eq!((change.parameters_released, change.gradient_bytes_released), (24, 2 * LEAF));
    let change = net.freeze_front(2, &mut [&mut front, &mut middle, &mut back]).expect("again");
    assert_eq!((change.state_bytes_released, change.gradient_bytes_released), (Some(0), 0));

    let mut net = freezer(2);
    let mut front = PerParam::<AdamW>::new(net.vars()[..2].to_vec(), adam()).expect("adam");
    let mut back = PerParam::<Untold>::new(net.vars()[2..].to_vec(), 0.1).expect("sgd");
    let change = net.freeze_front(1, &mut [&mut front, &mut back]).expect("frozen");
    assert_eq!((change.state_bytes_released, change.gradient_bytes_released), (None, LEAF));
}

#[test]
fn names_are_those_of_the_whole_model_frozen_or_not() {
    let mut net = freezer(2);
    net.freeze_front(1, &mut []).expect("frozen");
    let named = net.named_vars();
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]);
    for ((name, var), same) in named.iter().zip(net.vars()) {
        assert_eq!(var.id(), same.id(), "{name}");
    }
}

#[test]
fn the_holder_says_what_frozen_batch_norms_normalise_by() {
    let norm = nn::batch_norm(3, 1e-5, crate::support::varmap_builder()).expect("a layer");
    let mut net = Freezer::new(norm).expect("a freezer");
    assert_eq!(net.batch_norm(), BatchNormPolicy::AsCaller);
    net.set_batch_norm(BatchNormPolicy::Inference).expect("set");
    assert_eq!(net.batch_norm(), BatchNormPolicy::Inference);
}

#[test]
fn learning_rates_are_scaled_by_leaf() {
    let mut net = freezer(3);
    let mut opt = PerParam::<SGD>::new(net.vars(), 0.1).expect("an optimizer");
    let mut plan = FreezePlan::all_trained(net.whole()).expect("a plan");
    plan.train("layers.1", 0.25).and_then(|p| p.train("layers.2", 0.0)).expect("a plan");
    net.apply(&plan, &mut [&mut opt]).expect("applied");
    let xs = randn((4, 3));
    for rate in [0.1, 0.4] {
        opt.set_learning_rate(rate);
        assert_eq!(opt.learning_rate(), rate);
        let before: Vec<Tensor> = net.vars().iter().map(|v| v.copy().expect("a copy")).collect();
        let grads =
            square_loss(&net.forward(&xs).expect("ys")).and_then(|l| l.backward()).expect("grads");
        opt.step(&grads).expect("a step");
        for (i, (var, before)) in net.vars().iter().zip(before).enumerate() {
            let scale = [1.0, 0.25, 0.0][i / 2];
            let step = (grads.get(var).expect("a gradient") * (rate * scale)).expect("a step");
            let expected = (before - step).expect("an update");
            assert_eq!(bits(var), bits(&expected), "variable {i} at {rate}");
        }
    }
}

#[test]
fn thawing_starts_with_an_ordinary_first_update() {
    let mut net = freezer(2);
    let mut opt = PerParam::<AdamW>::new(
        net.vars(),
        ParamsAdamW { lr: 0.01, weight_decay: 0.0, ..Default::default() },
    )
    .expect("adam");
    let xs = randn((4, 3));
    let step = |net: &Freezer<Mlp>, opt: &mut PerParam<AdamW>| {
        opt.backward_step(&square_loss(&net.forward(&xs).expect("ys")).expect("a loss"))
            .expect("a step");
    };
    step(&net, &mut opt);
    net.freeze_front(1, &mut [&mut opt]).expect("frozen");
    for _ in 0..20 {
        step(&net, &mut opt);
    }
    net.thaw(&mut [&mut opt]).expect("thawed");
    let before = net.layers[0].weight().copy().expect("a copy");
    step(&net, &mut opt);
    let moved =
        (net.layers[0].weight() - before).and_then(|d| d.abs()?.flatten_all()?.to_vec1::<f32>());
    // Adam's first update is lr in size wherever the gradient is not tiny (Kingma and Ba, 2015).
    for by in moved.expect("distances") {
        assert!((by - 0.01).abs() < 1e-4 || by < 0.01, "moved by {by}");
        assert!(by < 0.0101, "moved by {by}: more than a first update");
    }
}

#[test]
fn a_step_that_reaches_nothing_is_an_error() {
    let elsewhere = randn(3).sqr().and_then(|t| t.sum_all()).expect("a loss of other things");
    let mut net = freezer(2);
    let mut opt = PerParam::<SGD>::new(net.vars(), 0.1).expect("an optimizer");
    let error = opt.backward_step(&elsewhere).expect_err("no gradient").to_string();
    assert!(error.contains("no gradient reached any of the 4 trained variables"), "{error}");
    // All frozen: nothing to reach, nothing to report.
    net.freeze_front(2, &mut [&mut opt]).expect("frozen");
    opt.backward_step(&elsewhere).expect("a step without work");
    let mut none = PerParam::<SGD>::new(Vec::new(), 0.1).expect("an optimizer");
    let error = none.backward_step(&elsewhere).expect_err("no variables").to_string();
    assert!(error.contains("into_trainable()"), "{error}");
}

#[test]
fn a_tied_parameter_trains_while_one_leaf_that_holds_it_does() {
    let model = Tied::new().expect("a model");
    let mut net = Freezer::new(model).expect("a freezer");
    assert_eq!(net.vars().len(), 2, "a tied variable is listed once");
    let mut opt = PerParam::<SGD>::new(net.vars(), 0.1).expect("an optimizer");

    let mut plan = FreezePlan::front_frozen(net.whole(), 2).expect("a plan");
    plan.train("head", 0.5).expect("a plan");
    let change = net.apply(&plan, &mut [&mut opt]).expect("applied");
    assert_eq!(change.frozen, ["embed", "body"]);
    assert_eq!(change.parameters_released, 9, "the body's alone");
    assert_eq!(change.gradient_bytes_released, 9 * 4);
    assert_eq!(change.state_bytes_released, Some(0), "candle's SGD keeps none");
    let [tie] = &change.ties[..] else { panic!("one tie: {:?}", change.ties) };
    assert_eq!(
        (tie.name.as_str(), &tie.frozen_in[..], &tie.trained_in[..]),
        ("embed.weight", &["embed".to_string()][..], &["head".to_string()][..])
    );
    assert_eq!(net.planned_vars()[0].state, LeafState::Trained { lr_scale: 0.5 });

    // Trained through the head alone: the frozen use is detached.
    assert!(!net.embed.embeddings().track_op());
    let ids = Tensor::new(&[1u32, 4], &Device::Cpu).expect("ids");
    let hidden = net.embed.forward(&ids).and_then(|xs| net.body.forward(&xs)).expect("hidden");
    assert!(!hidden.track_op());
    opt.backward_step(&square_loss(&net.head.forward(&hidden).expect("ys")).expect("a loss"))
        .expect("a step");

    let change = net.freeze_front(3, &mut [&mut opt]).expect("all frozen");
    assert!(change.ties.is_empty());
    assert_eq!(net.trained_vars().len(), 0);
}

#[test]
fn modules_stay_modules() {
    fn through(module: &impl Module, xs: &Tensor) -> Tensor {
        module.forward(xs).expect("ys")
    }
    #[derive(Freezable)]
    struct TrainOnly {
        fc: Linear,
    }
    impl ModuleT for TrainOnly {
        fn forward_t(&self, xs: &Tensor, train: bool) -> candle_core::Result<Tensor> {
            let ys = self.fc.forward(xs)?;
            if train { ys * 2.0 } else { Ok(ys) }
        }
    }
    let xs = randn((2, 3));
    let net = freezer(2);
    assert_eq!(bits(&through(&net, &xs)), bits(&net.whole().forward(&xs).expect("ys")));
    let net = Freezer::new(TrainOnly { fc: Linear::new(randn((3, 3)), None) }).expect("a freezer");
    let twice = (net.forward_t(&xs, false).expect("ys") * 2.0).expect("twice");
    assert_eq!(bits(&net.forward_t(&xs, true).expect("ys")), bits(&twice));
}

/// A model whose forward takes `&mut self`, with a cache that is no parameter.
#[derive(Freezable)]
struct Cached {
    fc: Linear,
    #[freeze(skip)]
    calls: usize,
}

impl Cached {
    fn forward(&mut self, xs: &Tensor) -> candle_core::Result<Tensor> {
        self.calls += 1;
        self.fc.forward(xs)
    }
}

#[test]
fn a_mutable_forward_goes_through_the_view() {
    let model = Mlp::new(1, 3).map(|mlp| mlp.layers.into_iter().next()).expect("a layer");
    let mut net = Freezer::new(Cached { fc: model.expect("one"), calls: 0 }).expect("a freezer");
    let xs = randn((2, 3));
    net.view_mut().forward(&xs).expect("ys");
    assert_eq!((net.calls, net.whole().calls), (1, 0));
    net.refine(&net.plan().clone(), &mut []).expect("the same plan");
    assert_eq!(net.calls, 1, "the same plan keeps its view");
    net.freeze_front(1, &mut []).expect("another plan");
    assert_eq!(net.calls, 0, "a new view is a copy of the whole");
    assert!(!net.view_mut().forward(&xs).expect("ys").track_op());
    assert_eq!(net.into_whole().fc.weight().dtype(), DType::F32);
}
