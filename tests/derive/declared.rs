//! What a declaration says of each leaf: the nearest word counts, rates multiply.

use candle_core::Tensor;
use candle_nn::Linear;
use freeze_core::{Declared, Error, Freezable, FreezePlan, LeafState};

use super::common::{assert_laws, linear, var};
use crate::walks::assert_same_walks;

const SHARE: f64 = 0.5;

#[derive(Freezable)]
#[freeze(lr = SHARE)]
struct Block {
    plain: Linear,
    #[freeze(frozen)]
    still: Linear,
    #[freeze(lr = 0.25, no_decay)]
    slow: Linear,
    #[freeze(always)]
    kept: Linear,
}

fn block() -> Block {
    Block { plain: linear(1), still: linear(2), slow: linear(3), kept: linear(4) }
}

#[derive(Freezable)]
#[freeze(unit, always, lr = 3)]
struct Whole(Linear, #[freeze(no_decay)] Linear);

#[derive(Freezable)]
enum Head {
    One(#[freeze(lr = 0.5)] Linear),
    Two {
        #[freeze(frozen)]
        left: Linear,
        right: Linear,
    },
}

#[derive(Freezable)]
struct Net {
    #[freeze(param, frozen, rename = "wpe")]
    position: Tensor,
    #[freeze(no_decay)]
    blocks: Vec<Block>,
    #[freeze(frozen)]
    still: [Block; 1],
    #[freeze(always)]
    kept: Block,
    whole: Whole,
    #[freeze(unit, frozen)]
    adapter: Vec<Linear>,
    #[freeze(lr = 0.5)]
    head: Head,
    last: Linear,
}

fn net(head: Head) -> Net {
    Net {
        position: var(&[1f32]),
        blocks: vec![block()],
        still: [block()],
        kept: block(),
        whole: Whole(linear(1), linear(2)),
        adapter: vec![linear(3)],
        head,
        last: linear(4),
    }
}

const SAID: Declared = Declared::NOTHING;

#[test]
fn the_nearest_word_counts_and_rates_multiply() {
    let head = Head::Two { left: linear(1), right: linear(2) };
    let expected = [
        ("wpe", SAID.frozen()),
        ("blocks.0.plain", SAID.lr(0.5).no_decay()),
        ("blocks.0.still", SAID.lr(0.5).frozen().no_decay()),
        ("blocks.0.slow", SAID.lr(0.125).no_decay()),
        ("blocks.0.kept", SAID.lr(0.5).always().no_decay()),
        // The block's own rate is nearer than the field's `frozen`.
        ("still.0.plain", SAID.lr(0.5)),
        ("still.0.still", SAID.lr(0.5).frozen()),
        ("still.0.slow", SAID.lr(0.125).no_decay()),
        ("still.0.kept", SAID.lr(0.5).always()),
        // A rate takes `always` from nothing; `frozen` does.
        ("kept.plain", SAID.always().lr(0.5)),
        ("kept.still", SAID.lr(0.5).frozen()),
        ("kept.slow", SAID.always().lr(0.125).no_decay()),
        ("kept.kept", SAID.always().lr(0.5)),
        ("whole", SAID.always().lr(3.0)),
        ("adapter", SAID.frozen()),
        ("head.left", SAID.lr(0.5).frozen()),
        ("head.right", SAID.lr(0.5)),
        ("last", SAID),
    ];
    let net = net(head);
    let leaves = net.leaves().unwrap();
    let found: Vec<(&str, Declared)> =
        leaves.iter().map(|leaf| (leaf.path.as_str(), leaf.declared)).collect();
    assert_eq!(found, expected);
    let other = self::net(Head::One(linear(1))).leaves().unwrap();
    assert_eq!((other[15].path.as_str(), other[15].declared), ("head", SAID.lr(0.25)));

    let spared = |index: usize| leaves[index].params.iter().map(|param| param.no_decay).collect();
    let of_whole: Vec<bool> = spared(13);
    assert_eq!(of_whole, [false, false, true, true], "within a unit, by the tensor");
}

#[test]
fn the_type_alone_knows_it() {
    const SLOW: Declared = Net::LEAVES.declared("kept.slow");
    for (path, declared) in [
        ("wpe", SAID.frozen()),
        ("blocks", SAID.no_decay()),
        ("still.0.still", SAID.lr(0.5).frozen()),
        ("kept.slow", SLOW),
        ("whole", SAID.always().lr(3.0)),
        ("last", SAID),
    ] {
        assert_eq!(Net::LEAVES.declared(path), declared, "{path}");
    }
    assert_eq!(SLOW, SAID.always().lr(0.125).no_decay());
    let text = Net::LEAVES.to_string();
    for line in [
        "  wpe: Tensor, frozen\n",
        "  blocks: Vec (length known at run time), no decay\n",
        "  still[0..1]: Block, lr x 0.5\n",
        "    slow: Linear, lr x 0.25, no decay\n",
        "  whole: Whole, always, lr x 3\n",
        "  head: Head (length known at run time), lr x 0.5\n",
        "  last: Linear\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
fn the_declared_plan_says_it_too() {
    let net = net(Head::One(linear(1)));
    let plan = FreezePlan::declared(&net).unwrap();
    for (leaf, state) in net.leaves().unwrap().iter().zip(plan.states()) {
        assert_eq!(leaf.declared.is_frozen(), state.is_frozen(), "{}", leaf.path);
        assert_eq!(leaf.declared.is_always(), plan.is_always(leaf.index), "{}", leaf.path);
    }
    assert_eq!(plan.state(3), Some(LeafState::Trained { lr_scale: 0.125 }));
    // Whoever asks for all gets all.
    let all = FreezePlan::all_trained(&net).unwrap();
    assert!(all.states().iter().all(|state| *state == LeafState::TRAINED) && all.is_always(13));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<FreezePlan>(&json).unwrap(), plan);
    assert!(json.contains(r#""always":["blocks.0.kept""#), "{json}");
    let bad = json.replace(r#""always":["blocks.0.kept""#, r#""always":["blocks.0.kpt""#);
    let error = serde_json::from_str::<FreezePlan>(&bad).unwrap_err().to_string();
    assert!(error.contains("blocks.0.kept"), "{error}");
}

#[derive(Freezable)]
#[freeze(lr = f64::MAX)]
struct Huge<T>(T);

#[derive(Freezable)]
struct Parts {
    #[freeze(unit)]
    block: Block,
    head: Linear,
}

#[test]
fn what_makes_no_sense_is_an_error() {
    assert_laws(&Huge(linear(1)));
    let error = FreezePlan::declared(&Huge(Huge(linear(1)))).unwrap_err();
    assert!(matches!(error, Error::Number { name: "lr_scale", .. }), "{error}");
    let parts = Parts { block: block(), head: linear(1) };
    assert_same_walks(&parts);
    let error = parts.leaves().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("a unit is one leaf"), "{error}");
}
