//! The enum that `#[freeze(stages)]` writes: which fields are stages, of which name, path and place.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::{Activation, Linear};
use freeze_core::{Error, Freezable, FreezePlan, Freezer, Stage, Stages};

use super::common::{assert_model, linear, var};

type Alias = Vec<Linear>;

#[derive(Freezable)]
enum Block {
    One(Linear),
    Two { left: Linear, right: Linear },
    Plain,
}

/// Every kind of field.
#[derive(Freezable)]
#[freeze(stages)]
struct All {
    stem: Linear,
    act: Activation,
    #[freeze(skip)]
    skipped: u8,
    blocks: Vec<Block>,
    groups: [Vec<Linear>; 2],
    queue: VecDeque<Box<Linear>>,
    slice: Option<Arc<Box<[Linear]>>>,
    holes: Vec<Option<Linear>>,
    #[freeze(no_stage)]
    shared: Linear,
    pair: (Linear, Linear),
    alias: Alias,
    #[freeze(rename = "wpe", param)]
    position: Option<Tensor>,
    #[freeze(unit)]
    whole: Vec<Linear>,
    neck: Option<Box<Linear>>,
    #[freeze(no_stage)]
    by_task: BTreeMap<String, Linear>,
    r#type: Linear,
    self_: Linear,
    conv1_1: Linear,
    conv11: Linear,
    _0: Linear,
    head: Linear,
}

/// Bare tensors in a list are one stage together.
#[derive(Freezable)]
#[freeze(stages)]
struct Scaled {
    #[freeze(param)]
    scales: Vec<Tensor>,
    head: Linear,
}

#[test]
fn a_list_of_bare_tensors_is_a_stage_unless_it_is_empty() {
    let scaled = |scales| Scaled { scales, head: linear(1) };
    assert_eq!(scaled(vec![]).stages(), [ScaledStage::Head]);
    let two = scaled(vec![linear(2).weight().clone(), linear(3).weight().clone()]);
    assert_eq!(two.stages(), [ScaledStage::Scales, ScaledStage::Head]);
}

/// Stages below several segments, declared in another order than their names.
#[derive(Freezable)]
#[freeze(stages)]
struct Deep {
    #[freeze(rename = "model.embed")]
    embed: Linear,
    #[freeze(rename = "model.encoder.layer")]
    layers: Vec<Block>,
    #[freeze(rename = "model.encoder.norm")]
    norm: Linear,
    #[freeze(rename = "head")]
    out: Linear,
}

#[test]
fn stages_lie_below_the_segments_of_their_fields() {
    let layers = (1..12).map(|seed| Block::One(linear(seed))).chain([Block::Plain]).collect();
    let net = Deep { embed: linear(0), layers, norm: linear(20), out: linear(21) };
    let paths: Vec<String> = net.stages().iter().map(ToString::to_string).collect();
    assert_eq!(paths[1], "model.encoder.layer.0");
    assert_eq!(
        paths[11..],
        ["model.encoder.layer.10", "model.encoder.layer.11", "model.encoder.norm", "head"]
    );
    let mut net = Freezer::new(net).unwrap();
    for (frozen, boundary) in
        [(0, Some(0)), (3, Some(3)), (11, Some(11)), (12, Some(13)), (13, Some(14))]
    {
        net.freeze_front(frozen, &mut []).unwrap();
        let found = net.whole().frozen_boundary(net.plan()).unwrap();
        let expected = boundary.map(|at: usize| net.stages()[at]);
        assert_eq!(found, expected, "{frozen} leaves frozen");
    }
    let leaves = |stage| net.stage_leaves(stage).unwrap();
    assert_eq!(leaves(DeepStage::Layers(10)), 11..12);
    assert_eq!(leaves(DeepStage::Layers(11)), 12..12);
    assert_eq!(leaves(DeepStage::Norm), 12..13);
}

fn all(is_full: bool) -> All {
    let some = |seed| is_full.then(|| linear(seed));
    let many = |seed: u32| (0..if is_full { 12 } else { 0 }).map(move |i| linear(seed + i));
    let blocks = [Block::Plain, Block::One(linear(3))]
        .into_iter()
        .chain(some(4).map(|left| Block::Two { left, right: linear(5) }));
    All {
        stem: linear(1),
        act: Activation::Relu,
        skipped: 7,
        blocks: blocks.collect(),
        groups: [many(20).collect(), vec![linear(40)]],
        queue: many(50).map(Box::new).collect(),
        slice: is_full.then(|| Arc::new(many(70).collect())),
        holes: vec![some(90), None, Some(linear(91))],
        shared: linear(92),
        pair: (linear(93), linear(94)),
        alias: vec![linear(95)],
        position: is_full.then(|| var(&[1f32])),
        whole: vec![linear(96), linear(97)],
        neck: some(98).map(Box::new),
        by_task: BTreeMap::from([("a".to_string(), linear(99))]),
        r#type: linear(100),
        self_: linear(101),
        conv1_1: linear(102),
        conv11: linear(103),
        _0: linear(104),
        head: linear(105),
    }
}

fn shown<M: Stages>(model: &M) -> Vec<String> {
    model.stages().iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_field_has_its_stages() {
    let few = [
        "stem",
        "act",
        "blocks.0",
        "blocks.1",
        "groups.1.0",
        "holes.2",
        "pair",
        "alias",
        "whole",
        "type",
        "self_",
        "conv1_1",
        "conv11",
        "_0",
        "head",
    ];
    assert_eq!(shown(&all(false)), few);
    let mut many = vec!["stem".to_string(), "act".into()];
    many.extend((0..3).map(|i| format!("blocks.{i}")));
    many.extend((0..12).map(|i| format!("groups.0.{i}")));
    many.push("groups.1.0".into());
    many.extend((0..12).map(|i| format!("queue.{i}")));
    many.extend((0..12).map(|i| format!("slice.{i}")));
    many.extend(["holes.0", "holes.2", "pair", "alias", "wpe", "whole", "neck"].map(String::from));
    many.extend(few[9..].iter().map(ToString::to_string));
    assert_eq!(shown(&all(true)), many);
    assert_eq!(all(true).skipped, 7);
}

#[test]
fn variants_are_called_by_their_fields() {
    use AllStage::{_0, Conv1_1, Conv11, Groups, Position, Self_, Type};
    for (stage, path, name) in [
        (Groups(1, 10), "groups.1.10", "Groups(1, 10)"),
        (Position, "wpe", "Position"),
        (Type, "type", "Type"),
        (Self_, "self_", "Self_"),
        (Conv1_1, "conv1_1", "Conv1_1"),
        (Conv11, "conv11", "Conv11"),
        (_0, "_0", "_0"),
    ] {
        assert_eq!((stage.to_string().as_str(), format!("{stage:?}").as_str()), (path, name));
    }
}

/// What every model holds to: stages are in order, and their leaves lie one behind the other.
#[track_caller]
fn assert_stages<M: Stages>(model: &M) {
    let stages = model.stages();
    assert!(stages.is_sorted_by(|a, b| a < b), "{stages:?}");
    assert_eq!(stages.iter().collect::<HashSet<_>>().len(), stages.len());
    let leaves = model.leaves().expect("leaves");
    let mut end = 0;
    for stage in stages {
        let range = model.stage_leaves(stage).expect("leaves of a stage");
        assert_eq!(model.first_leaf(stage).expect("a stage"), range.start);
        assert!(range.start >= end, "{stage} begins before the one in front of it ends");
        end = range.end;
        let path = stage.to_string();
        let within = |leaf: &str| leaf == path || leaf.starts_with(&format!("{path}."));
        for leaf in &leaves {
            assert_eq!(range.contains(&leaf.index), within(&leaf.path), "{stage} {}", leaf.path);
        }
    }
}

#[test]
fn stages_and_leaves_lie_in_one_order() {
    assert_stages(&all(true));
    assert_stages(&all(false));
    let model = all(true);
    for (stage, first) in [
        (AllStage::Stem, 0),
        (AllStage::Act, 1), // without a leaf, behind that of the stem
        (AllStage::Blocks(0), 1),
        (AllStage::Blocks(1), 1),
        (AllStage::Blocks(2), 2),
        (AllStage::Groups(0, 0), 4),
        (AllStage::Groups(0, 11), 15), // by number, not by letter
        (AllStage::Groups(1, 0), 16),
        (AllStage::Pair, 44), // behind a leaf that belongs to no stage
    ] {
        assert_eq!(model.first_leaf(stage).expect("a stage"), first, "{stage}");
        let path = stage.to_string();
        if !model.stage_leaves(stage).expect("a stage").is_empty() {
            assert_eq!(model.leaf_before(&path).expect("a path"), first, "{stage}");
        }
    }
}

#[test]
fn a_stage_that_is_not_there_is_refused_by_name() {
    let model = all(false);
    for stage in [AllStage::Neck, AllStage::Blocks(2), AllStage::Groups(1, 1), AllStage::Holes(0)] {
        let error = model.first_leaf(stage).expect_err("no such stage").to_string();
        assert!(error.contains(&format!("`{stage}`")), "{error}");
        assert!(error.contains("has the stages `stem`, `act`, `blocks.0`"), "{error}");
    }
}

/// Generic, with a default, a const parameter and an enum of another name.
#[derive(Freezable)]
#[freeze(stages = "Place")]
pub(crate) struct Generic<L, N = Option<Linear>, const K: usize = 2> {
    body: [L; K],
    pairs: Vec<(L, L)>,
    neck: N,
    inner: Vec<Self>,
}

#[test]
fn a_generic_model_has_one_enum() {
    let inner = Generic { body: [linear(1)], pairs: vec![], neck: linear(2), inner: vec![] };
    let paths = ["body.0", "neck"];
    assert_eq!(shown(&inner), paths);
    let net: Generic<Linear, Option<Linear>> = Generic {
        body: [linear(1), linear(2)],
        pairs: vec![(linear(3), linear(4))],
        neck: None,
        inner: vec![],
    };
    // Behind a parameter an absent `Option` is none either.
    assert_eq!(net.stages(), [Place::Body(0), Place::Body(1), Place::Pairs(0)]);
    assert_model(&net, &["body.0", "body.1", "pairs.0.0", "pairs.0.1"]);
    assert_stages(&net);
    let view = net.freeze_upto(1).expect("a view");
    assert_eq!(view.stages(), net.stages());
}

#[derive(Freezable)]
#[freeze(stages)]
struct Tied {
    embed: Linear,
    body: Vec<Linear>,
    #[freeze(no_stage)]
    bias: Option<Linear>,
    head: Linear,
}

fn tied(has_bias: bool) -> Tied {
    let embed = linear(1);
    let head = Linear::new(embed.weight().clone(), None);
    Tied { embed, body: vec![linear(2), linear(3)], bias: has_bias.then(|| linear(4)), head }
}

/// The boundary under a plan in which the leaves at `trained` train, seen from the model and from the
/// view that the plan makes of it.
fn boundary(model: &Tied, trained: &[usize]) -> Option<TiedStage> {
    let mut plan =
        FreezePlan::front_frozen(model, model.leaves().expect("leaves").len()).expect("a plan");
    for &leaf in trained {
        plan.set(leaf, freeze_core::LeafState::TRAINED).expect("a leaf");
    }
    let boundary = model.frozen_boundary(&plan).expect("of this model");
    let view = model.view(&plan).expect("a view");
    assert_eq!(view.frozen_boundary(&plan).expect("of this model"), boundary);
    boundary
}

#[test]
fn the_boundary_is_the_first_stage_that_moves() {
    use TiedStage::{Body, Embed, Head};
    let mut free = tied(false);
    free.head = linear(5);
    for (trained, expected) in [
        (&[][..], None),
        (&[3], Some(Head)),
        (&[2, 3], Some(Body(1))),
        (&[1], Some(Body(0))), // what is frozen behind it moves no less
        (&[1, 3], Some(Body(0))),
        (&[0, 3], Some(Embed)),
    ] {
        assert_eq!(boundary(&free, trained), expected, "{trained:?}");
    }
    // The head's weight is the embedding's.
    for (trained, expected) in
        [(&[][..], None), (&[2], Some(Body(1))), (&[3], Some(Embed)), (&[2, 3], Some(Embed))]
    {
        assert_eq!(boundary(&tied(false), trained), expected, "{trained:?}");
    }
    // What belongs to no stage may be used by the first.
    let mut with_bias = tied(true);
    with_bias.head = linear(5);
    for (trained, expected) in [(&[4][..], Some(Head)), (&[3], Some(Embed)), (&[2, 3], Some(Embed))]
    {
        assert_eq!(boundary(&with_bias, trained), expected, "{trained:?}");
    }
}

#[derive(Freezable)]
#[freeze(stages)]
struct Adapted {
    body: Linear,
    #[freeze(unit)]
    adapter: Option<Linear>,
    head: Linear,
}

/// The leaf of a unit is there without its tensors, too.
#[test]
fn a_unit_that_is_absent_moves_nothing() {
    use AdaptedStage::{Adapter, Head};
    for (adapter, expected) in [(None, Head), (Some(linear(2)), Adapter)] {
        let net = Adapted { body: linear(1), adapter, head: linear(3) };
        assert_eq!(net.leaves().expect("leaves").len(), 3);
        let plan = FreezePlan::front_frozen(&net, 1).expect("a plan");
        assert_eq!(net.frozen_boundary(&plan).expect("of this model"), Some(expected));
    }
}

#[test]
fn the_boundary_of_another_models_plan_is_an_error() {
    let plan = FreezePlan::all_trained(&tied(true)).expect("a plan");
    let error = tied(false).frozen_boundary(&plan).expect_err("another model");
    assert!(matches!(error, Error::PlanMismatch { .. }), "{error}");
}

#[test]
fn a_freezer_shows_its_stages() {
    let mut net = Freezer::new(all(true)).expect("a freezer");
    assert_eq!(net.frozen_boundary(net.plan()).expect("a plan"), Some(AllStage::Stem));
    let front = net.first_leaf(AllStage::Groups(1, 0)).expect("a stage");
    net.freeze_front(front, &mut []).expect("frozen");
    assert_eq!(net.frozen_boundary(net.plan()).expect("a plan"), Some(AllStage::Stem), "`shared`");
    let mut plan = net.plan().clone();
    plan.freeze("shared").and_then(|plan| plan.freeze("by_task.**")).expect("frozen by name");
    net.apply(&plan, &mut []).expect("applied");
    assert_eq!(net.frozen_boundary(net.plan()).expect("a plan"), Some(AllStage::Groups(1, 0)));
}

#[test]
fn a_stage_is_a_key_like_any() {
    fn is_key<S: Stage>(stage: S) -> bool {
        BTreeMap::from([(stage, 1)]).contains_key(&stage)
    }
    assert!(is_key(AllStage::Holes(3)));
}
