//! Questions about a model look at it and make nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use candle_nn::{Linear, VarBuilder, linear};
use freeze_core::checkpoint::{Checkpoint, save_weights};
use freeze_core::{
    BatchNormPolicy, Freezable, FreezePlan, Freezer, LeafTree, Mapper, Rebuilt, Result, nn, optim,
};

use crate::support::{randn, varmap_builder};
use crate::walks::assert_same_walks;

#[test]
fn layers_of_the_library_are_asked_as_they_are_mapped() {
    let vb = varmap_builder();
    let config = nn::BatchNormConfig { affine: false, ..Default::default() };
    let one = candle_nn::Conv1dConfig::default();
    let two = candle_nn::Conv2dConfig::default();
    let layers = (
        nn::linear(3, 2, vb.pp("0")).expect("linear"),
        nn::linear_no_bias(3, 2, vb.pp("1")).expect("linear"),
        nn::conv1d(3, 2, 3, one, vb.pp("2")).expect("conv1d"),
        nn::conv2d_no_bias(3, 2, 3, two, vb.pp("3")).expect("conv2d"),
        nn::embedding(3, 2, vb.pp("4")).expect("embedding"),
        nn::prelu(Some(3), vb.pp("5")).expect("prelu"),
        nn::layer_norm(3, 1e-5, vb.pp("6")).expect("layer norm"),
        nn::layer_norm_no_bias(3, 1e-5, vb.pp("7")).expect("layer norm"),
        nn::rms_norm(3, 1e-5, vb.pp("8")).expect("rms norm"),
        nn::group_norm(1, 3, 1e-5, vb.pp("9")).expect("group norm"),
    );
    assert_same_walks(&layers);
    let layers = (
        nn::batch_norm(3, 1e-5, vb.pp("10")).expect("batch norm"),
        nn::batch_norm(3, config, vb.pp("11")).expect("batch norm"),
        nn::lstm(3, 2, Default::default(), vb.pp("12")).expect("lstm"),
        nn::gru(3, 2, Default::default(), vb.pp("13")).expect("gru"),
        nn::Dropout::new(0.5, 1).expect("dropout"),
        [Some(nn::linear(3, 2, vb.pp("14")).expect("linear")), None],
        Rebuilt::new(vb.pp("15"), |vb| candle_nn::batch_norm(3, 1e-5, vb.pp("bn")))
            .expect("rebuilt"),
    );
    assert_same_walks(&layers);
}

#[test]
fn every_list_of_bare_tensors_is_asked_as_it_is_mapped() {
    #[derive(Freezable)]
    struct Bare {
        #[freeze(param)]
        one: Tensor,
        #[freeze(param)]
        maybe: [Tensor; 2],
        #[freeze(param)]
        absent: Option<Tensor>,
        #[freeze(param)]
        list: Vec<Tensor>,
        #[freeze(param, no_decay)]
        gaps: Vec<Option<Tensor>>,
    }
    let one = randn((2, 2));
    let bare = |list: Vec<Tensor>| Bare {
        one: one.clone(),
        maybe: [randn(1), one.clone()],
        absent: None,
        gaps: list.iter().map(|tensor| Some(tensor.clone())).chain([None]).collect(),
        list,
    };
    assert_same_walks(&bare(vec![randn(2), randn(3)]));
    assert_same_walks(&bare(Vec::new()));
}

/// What a hand-written layer does wrong is told by both walks, at the same place.
#[test]
fn what_is_wrong_with_a_layer_is_said_by_both_walks() {
    struct Outside(Tensor);

    impl Freezable for Outside {
        const LEAVES: LeafTree = LeafTree::leaf("Outside");

        fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
            Ok(Self(mapper.weight("weight", &self.0)?))
        }
    }

    #[derive(Freezable)]
    struct Net {
        layer: Linear,
        rest: Vec<Outside>,
    }

    let layer = linear(2, 2, varmap_builder()).expect("a layer");
    let net = Net { layer, rest: vec![Outside(randn(2))] };
    assert_same_walks(&net);
    let error = net.leaves().map(drop).expect_err("outside a leaf").to_string();
    assert!(error.contains("rest.0.weight"), "{error}");
}

/// A constructor runs where a view is made, and nowhere else.
#[test]
fn no_question_runs_a_constructor() {
    #[derive(Freezable)]
    struct Net {
        body: Rebuilt<Linear>,
        head: Vec<Linear>,
    }

    let built = Arc::new(AtomicUsize::new(0));
    let counted = built.clone();
    let runs = move || counted.swap(0, Ordering::Relaxed);
    let vb = varmap_builder();
    let build = move |vb: VarBuilder<'static>| {
        built.fetch_add(1, Ordering::Relaxed);
        linear(2, 2, vb)
    };
    let body = Rebuilt::new(vb.pp("body"), build).expect("a body");
    assert_eq!(runs(), 2, "the recording run, and the layer itself");
    let head = vec![linear(2, 2, vb.pp("head")).expect("a head")];
    let mut net = Freezer::new(Net { body, head }).expect("a freezer");
    assert_eq!(runs(), 1, "the view");

    let model = net.whole();
    model.leaves().expect("leaves");
    model.named_vars().expect("variables");
    model.named_tensors().expect("tensors");
    model.leaf_before("head").expect("a path");
    model.summary().expect("a summary");
    FreezePlan::declared(model).expect("a plan");
    FreezePlan::front_frozen(model, 1).expect("a plan");
    net.leaves().expect("leaves");
    net.planned_vars();
    net.summary().expect("a summary");
    let folder = tempfile::tempdir().expect("a folder");
    save_weights(folder.path().join("weights"), &net).expect("saved");
    Checkpoint::of(&mut net).save(folder.path().join("run")).expect("saved");
    assert_eq!(runs(), 0, "questions");

    let mut plan = net.plan().clone();
    net.apply(plan.train("body", 0.5).expect("a plan"), &mut []).expect("applied");
    assert_eq!(runs(), 0, "a plan that freezes what the last one does");
    net.freeze_front(1, &mut []).expect("frozen");
    assert_eq!(runs(), 1, "a plan that freezes more");
    net.freeze_front(1, &mut []).expect("frozen");
    assert_eq!(runs(), 0, "the same plan");
    net.frozen_view().map(drop).expect("a view");
    assert_eq!(runs(), 1, "a view");
    Checkpoint::of(&mut net).resume(folder.path().join("run")).expect("resumed");
    assert_eq!(runs(), 1, "the view that a resume shows");
}

/// What a forward keeps in the view stays while the same leaves are frozen, whatever their rates.
#[test]
fn a_plan_that_freezes_the_same_keeps_the_view() {
    #[derive(Freezable)]
    struct Net {
        body: Linear,
        head: Linear,
        #[freeze(skip)]
        calls: usize,
    }

    let vb = varmap_builder();
    let layer = |name: &str| linear(2, 2, vb.pp(name)).expect("a layer");
    let model = Net { body: layer("body"), head: layer("head"), calls: 0 };
    let mut net = Freezer::new(model).expect("a freezer");
    let mut opt =
        optim::AdamW::with_names(net.planned_vars(), Default::default()).expect("an optimizer");
    net.freeze_front(1, &mut [&mut opt]).expect("frozen");
    net.view_mut().calls = 3;

    let mut plan = net.plan().clone();
    plan.train("head", 0.25).expect("a plan");
    let change = net.apply(&plan, &mut [&mut opt]).expect("applied");
    assert!(change.is_empty());
    assert_eq!((net.calls, net.plan(), net.base()), (3, &plan, &plan));
    assert!(
        net.planned_vars()
            .iter()
            .all(|var| var.state == plan.states()[usize::from(&*var.leaf == "head")])
    );
    assert_eq!(opt.trained_vars().len(), 2);

    net.set_batch_norm(BatchNormPolicy::Inference).expect("set");
    assert_eq!(net.calls, 0, "another policy is another view");
    net.view_mut().calls = 3;
    net.freeze_front(2, &mut [&mut opt]).expect("frozen");
    assert_eq!(net.calls, 0, "other leaves are frozen");
}
