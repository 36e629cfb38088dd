//! Leaf order and what freezes at each depth, against every module tree recorded from the
//! reference. Where this library departs on purpose, the test of that tree says so.

use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;

use candle_core::{Tensor, Var};
use candle_nn::{
    Activation, BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Dropout, Embedding, GroupNorm,
    LayerNorm, Linear, SGD,
};
use freeze_core::optim::PerParam;
use freeze_core::{Freezable, Freezer, LeafTree, Rebuilt, Role, policy};
use serde::Deserialize;

use crate::support::{randn, varmap_builder};
use crate::walks::assert_same_walks;

#[derive(Deserialize)]
struct Golden {
    cases: HashMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    n_leaves: usize,
    leaf_order: Vec<GoldenLeaf>,
    depths: Vec<Depth>,
}

#[derive(Deserialize)]
struct GoldenLeaf {
    name: String,
    params: Vec<String>,
}

#[derive(Deserialize)]
struct Depth {
    current_duration: f64,
    freeze_depth: usize,
    freeze_percentage: f64,
    requires_grad_false: BTreeSet<String>,
    optimizer_params_after: usize,
}

fn case(name: &str) -> Case {
    let golden: Golden =
        serde_json::from_str(include_str!("../data/leaf_order.json")).expect("leaf_order.json");
    golden.cases.into_iter().find(|(key, _)| key == name).expect(name).1
}

/// Equal to the recorded case in every respect.
fn equal<M: Freezable>(name: &str, model: M) {
    assert_same_walks(&model);
    let case = case(name);
    let leaves = model.leaves().expect(name);
    let ours: Vec<(&str, Vec<&str>)> = leaves
        .iter()
        .map(|leaf| {
            let weights = leaf.params.iter().filter(|param| param.role == Role::Weight);
            (leaf.path.as_str(), weights.map(|param| param.name.as_str()).collect())
        })
        .collect();
    let theirs: Vec<(&str, Vec<&str>)> = case
        .leaf_order
        .iter()
        .map(|leaf| (leaf.name.as_str(), leaf.params.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(ours, theirs, "{name}");
    assert_eq!(leaves.len(), case.n_leaves, "{name}");

    let mut net = Freezer::new(model).expect(name);
    let mut opt: PerParam<SGD> = candle_nn::Optimizer::new(net.vars(), 0.1).expect(name);
    for depth in case.depths {
        let at =
            policy::Linear::new(0.0, 1.0).and_then(|s| s.at(depth.current_duration, leaves.len()));
        assert_eq!(at.expect(name), (depth.freeze_depth, depth.freeze_percentage), "{name}");
        net.freeze_front(depth.freeze_depth, &mut [&mut opt]).expect(name);
        assert_eq!(frozen(&net), depth.requires_grad_false, "{name} at {}", depth.freeze_depth);
        assert_eq!(opt.trained_vars(), depth.optimizer_params_after, "{name}");
    }
}

/// The full names of the view's parameters that no gradient reaches.
fn frozen<M: Freezable>(net: &Freezer<M>) -> BTreeSet<String> {
    let params = (**net).leaves().expect("leaves").into_iter().flat_map(|leaf| leaf.params);
    let frozen = params.filter(|param| param.role == Role::Weight && !param.trainable);
    frozen.map(|param| param.full_name).collect()
}

fn paths<M: Freezable>(model: &M) -> Vec<String> {
    model.leaves().expect("leaves").into_iter().map(|leaf| leaf.path).collect()
}

fn fc(inputs: usize, outputs: usize) -> Linear {
    candle_nn::linear(inputs, outputs, varmap_builder()).expect("a layer")
}

fn conv(inputs: usize, outputs: usize, kernel: usize) -> Conv2d {
    let config = Conv2dConfig::default();
    candle_nn::conv2d_no_bias(inputs, outputs, kernel, config, varmap_builder()).expect("a layer")
}

fn bn(size: usize) -> BatchNorm {
    candle_nn::batch_norm(size, 1e-5, varmap_builder()).expect("a layer")
}

fn ln(size: usize) -> LayerNorm {
    candle_nn::layer_norm(size, 1e-5, varmap_builder()).expect("a layer")
}

fn var(shape: impl Into<candle_core::Shape>) -> Tensor {
    Var::from_tensor(&randn(shape)).expect("a variable").into_inner()
}

#[test]
fn nested_sequential() {
    #[derive(Freezable)]
    struct Outer(First, Linear, Last);
    #[derive(Freezable)]
    struct First(Linear, Activation, (Linear, PhantomData<()>));
    #[derive(Freezable)]
    struct Last([Linear; 1]);
    const _: () = assert!(matches!(Outer::LEAVES.len(), Some(4)) && Outer::LEAVES.before("2") == 3);
    let first = First(fc(4, 4), Activation::Relu, (fc(4, 4), PhantomData));
    equal("nested_sequential", Outer(first, fc(4, 4), Last([fc(4, 2)])));
}

#[derive(Freezable)]
struct ResNetTiny {
    stem: (Conv2d, BatchNorm, Activation),
    layer1: Vec<ResBlock>,
    layer2: Vec<ResBlock>,
    fc: Linear,
}

#[derive(Freezable)]
struct ResBlock {
    conv1: Conv2d,
    bn1: BatchNorm,
    relu: Activation,
    conv2: Conv2d,
    bn2: BatchNorm,
    downsample: Option<(Conv2d, BatchNorm)>,
}

#[test]
fn resnet_tiny() {
    let block = |inputs: usize, outputs: usize| ResBlock {
        conv1: conv(inputs, outputs, 3),
        bn1: bn(outputs),
        relu: Activation::Relu,
        conv2: conv(outputs, outputs, 3),
        bn2: bn(outputs),
        downsample: (inputs != outputs).then(|| (conv(inputs, outputs, 1), bn(outputs))),
    };
    let model = ResNetTiny {
        stem: (conv(3, 8, 3), bn(8), Activation::Relu),
        layer1: vec![block(8, 8)],
        layer2: vec![block(8, 16), block(16, 16)],
        fc: fc(16, 10),
    };
    equal("resnet_tiny", model);
}

#[test]
fn pre_norm_block() {
    #[derive(Freezable)]
    struct PreLn {
        ln1: LayerNorm,
        qkv: Linear,
        proj: Linear,
        ln2: LayerNorm,
        mlp: (Linear, Activation, Linear),
    }
    let mlp = (fc(8, 32), Activation::Gelu, fc(32, 8));
    equal("prelN_block", PreLn { ln1: ln(8), qkv: fc(8, 24), proj: fc(8, 8), ln2: ln(8), mlp });
}

#[test]
fn module_list() {
    #[derive(Freezable)]
    struct List(Linear, Activation, Linear, Vec<Linear>);
    equal("module_list", List(fc(2, 2), Activation::Relu, fc(2, 2), vec![fc(2, 2)]));
}

#[test]
fn declared_in_reverse_of_the_forward() {
    #[derive(Freezable)]
    struct Swapped {
        third: Linear,
        second: Linear,
        first: Linear,
    }
    equal(
        "declared_reverse_of_forward",
        Swapped { third: fc(4, 2), second: fc(4, 4), first: fc(4, 4) },
    );
}

#[test]
fn names_are_not_sorted() {
    #[derive(Freezable)]
    struct Unsorted {
        b: Linear,
        a: Linear,
        #[freeze(rename = "10")]
        ten: Linear,
        #[freeze(rename = "9")]
        nine: Linear,
    }
    equal("names_not_sorted", Unsorted { b: fc(2, 2), a: fc(2, 2), ten: fc(2, 2), nine: fc(2, 2) });
}

#[test]
fn empty_model_and_one_leaf() {
    #[derive(Freezable)]
    struct Empty {
        #[freeze(rename = "0")]
        layers: Vec<Linear>,
    }
    equal("empty_model", Empty { layers: Vec::new() });
    equal("one_leaf_root", fc(3, 2));
}

#[test]
fn layers_without_parameters_of_their_own() {
    /// The reference's `3` is a layer norm without parameters: candle's always has some, so here it
    /// is plain arithmetic in the forward, and no field.
    #[derive(Freezable)]
    struct Net {
        #[freeze(rename = "0")]
        embed: Embedding,
        #[freeze(rename = "1")]
        norm: LayerNorm,
        #[freeze(rename = "2")]
        fc: Linear,
        #[freeze(rename = "4")]
        groups: Rebuilt<GroupNorm>,
        #[freeze(rename = "5")]
        dropout: Dropout,
        #[freeze(rename = "6")]
        head: Linear,
    }
    let model = Net {
        embed: Embedding::new(var((5, 4)), 4),
        norm: ln(4),
        fc: fc(4, 4),
        groups: Rebuilt::new(varmap_builder(), |vb| candle_nn::group_norm(2, 4, 1e-5, vb))
            .expect("a layer"),
        dropout: Dropout::new(0.1),
        head: Linear::new(var((2, 4)), None),
    };
    equal("layernorm_net", model);
}

/// Departure: an affine-less batch norm is a leaf here, since it has running statistics that
/// freezing must stop; the reference skips it. All others are the recorded ones, in their order.
#[test]
fn an_affine_less_batch_norm_is_a_leaf() {
    #[derive(Freezable)]
    struct Net {
        #[freeze(rename = "0")]
        conv1: Conv2d,
        #[freeze(rename = "1")]
        norm1: BatchNorm,
        #[freeze(rename = "3")]
        conv2: Conv2d,
        #[freeze(rename = "4")]
        norm2: BatchNorm,
        #[freeze(rename = "6")]
        head: Linear,
    }
    let config = BatchNormConfig { affine: false, ..Default::default() };
    let model = Net {
        conv1: Conv2d::new(var((4, 3, 3, 3)), Some(var(4)), Conv2dConfig::default()),
        norm1: bn(4),
        conv2: Conv2d::new(var((4, 4, 3, 3)), Some(var(4)), Conv2dConfig::default()),
        norm2: candle_nn::batch_norm(4, config, varmap_builder()).expect("a layer"),
        head: fc(4, 2),
    };
    let case = case("batchnorm_net");
    let ours = paths(&model);
    let theirs: Vec<String> = case.leaf_order.into_iter().map(|leaf| leaf.name).collect();
    assert_eq!(ours, ["0", "1", "3", "4", "6"]);
    assert_eq!(ours.into_iter().filter(|path| path != "4").collect::<Vec<_>>(), theirs);
    let net = Freezer::new(model.freeze_upto(4).expect("a view").into_inner()).expect("a freezer");
    let last = case.depths.last().expect("depths");
    assert_eq!(frozen(&net), last.requires_grad_false, "at full depth the same parameters freeze");
}

/// Departure: a parameter that sits directly on a parent is a leaf here, in declaration order; in
/// the reference it can never be frozen.
#[test]
fn parameters_on_parents_are_leaves() {
    #[derive(Freezable)]
    struct Net {
        own: Own,
        blk: Scaled,
        a: Linear,
        head: Linear,
    }
    #[derive(Freezable)]
    struct Own {
        #[freeze(param)]
        w: Tensor,
        act: Activation,
    }
    #[derive(Freezable)]
    struct Scaled {
        #[freeze(param)]
        gamma: Tensor,
        inner: Linear,
    }
    let own = Own { w: var((4, 4)), act: Activation::Relu };
    let blk = Scaled { gamma: var(4), inner: fc(4, 4) };
    let model = Net { own, blk, a: fc(4, 4), head: fc(4, 2) };
    const _: LeafTree = Net::LEAVES;
    assert_eq!(paths(&model), ["own.w", "blk.gamma", "blk.inner", "a", "head"]);
    let theirs = case("own_params_on_parents");
    let last = theirs.depths.last().expect("depths").requires_grad_false.clone();
    let net = Freezer::new(model.freeze_upto(4).expect("a view").into_inner()).expect("a freezer");
    let mut ours = frozen(&net);
    assert!(ours.remove("own.w") && ours.remove("blk.gamma"), "frozen here: {ours:?}");
    assert_eq!(ours, last);
}

/// Departure: a tied parameter trains on through its last trained leaf. In the reference it freezes
/// with the first leaf that holds it, under all its names, and at full depth nothing is left to
/// train, so that the next backward fails.
#[test]
fn tied_parameters_train_through_their_last_leaf() {
    #[derive(Freezable)]
    struct TiedLm {
        emb: Embedding,
        l1: Linear,
        l2: Linear,
        norm: LayerNorm,
        head: Linear,
    }
    let table = var((11, 8));
    let model = TiedLm {
        emb: Embedding::new(table.clone(), 8),
        l1: fc(8, 8),
        l2: fc(8, 8),
        norm: ln(8),
        head: Linear::new(table, None),
    };
    let case = case("tied_embedding_head");
    let theirs: Vec<String> = case.leaf_order.into_iter().map(|leaf| leaf.name).collect();
    assert_eq!(paths(&model), theirs);
    let mut net = Freezer::new(model).expect("a freezer");
    for depth in case.depths.iter().filter(|depth| depth.freeze_depth > 0) {
        let change = net.freeze_front(depth.freeze_depth, &mut []).expect("frozen");
        assert_eq!(change.ties.len(), 1);
        let mut expected = depth.requires_grad_false.clone();
        assert!(expected.remove("head.weight"), "frozen there, trained here");
        assert_eq!(frozen(&net), expected, "at {}", depth.freeze_depth);
    }
    assert_eq!(net.trained_vars().len(), 1);
}
