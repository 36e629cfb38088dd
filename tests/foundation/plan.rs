//! Plans as data: by index, by path, by pattern; and what is refused.

use candle_nn::Linear;
use freeze_core::{Elapsed, Error, Freezable, FreezePlan, Freezer, LeafState};
use proptest::prelude::*;

use crate::support::{Mlp, bits, randn, varmap_builder};

#[derive(Freezable)]
struct Net {
    stem: Linear,
    layers: Vec<Block>,
    head: Linear,
}

#[derive(Freezable)]
struct Block {
    qkv: Linear,
    proj: Linear,
}

/// `stem`, `layers.0.qkv` .. `layers.11.proj`, `head`: 26 leaves.
fn net() -> Net {
    let vb = varmap_builder();
    let linear = |name: &str| candle_nn::linear(2, 2, vb.pp(name)).expect("a layer");
    let block = |i: usize| Block { qkv: linear(&format!("{i}a")), proj: linear(&format!("{i}b")) };
    Net { stem: linear("stem"), layers: (0..12).map(block).collect(), head: linear("head") }
}

fn plan() -> FreezePlan {
    FreezePlan::all_trained(&net()).expect("a plan")
}

#[test]
fn patterns_match_whole_segments() {
    let all: Vec<String> = plan().paths().to_vec();
    for (pattern, matched) in [
        ("**", (0..26).collect::<Vec<_>>()),
        ("stem", vec![0]),
        ("stem.**", vec![0]),
        ("layers.1.**", vec![3, 4]),
        ("layers.1.*", vec![3, 4]),
        ("layers.1?.qkv", vec![21, 23]),
        ("layers.[01].proj", vec![2, 4]),
        ("{stem,head}", vec![0, 25]),
        ("{stem.**,head.**}", vec![0, 25]),
        ("{stem.**,layers.{1.**,11.proj.**}}", vec![0, 3, 4, 24]),
        ("{[s}]tem.**,head}", vec![0, 25]),
        ("{stem,layers.1{,.**}.qkv}", vec![0, 3]),
        ("**.qkv", (0..12).map(|i| 1 + 2 * i).collect()),
        ("layers.**.proj", (0..12).map(|i| 2 + 2 * i).collect()),
        ("layers.11.proj", vec![24]),
    ] {
        let mut plan = plan();
        plan.freeze(pattern).expect(pattern);
        let frozen: Vec<usize> = (0..26).filter(|&i| plan.states()[i].is_frozen()).collect();
        assert_eq!(
            frozen,
            matched,
            "{pattern}: {:?}",
            matched.iter().map(|&i| &all[i]).collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_matches_nothing_is_an_error_with_near_names() {
    for (pattern, message) in [
        ("heed", "no leaf matches `heed`; near names: `head`"),
        ("layers", "no leaf matches `layers`; `layers` is a group: its leaves are `layers.**`"),
        (
            "layers.1",
            "no leaf matches `layers.1`; `layers.1` is a group: its leaves are `layers.1.**`",
        ),
        (
            "layers.*",
            "no leaf matches `layers.*`; near names: `layers.0.qkv`, `layers.1.qkv`, `layers.2.qkv`",
        ),
        ("zzz", "no leaf matches `zzz`"),
        ("", "no leaf matches ``"),
        (
            "layers.[",
            "`layers.[` is not a pattern: unclosed character class; missing ']'; `[[]` and `[{]` \
             stand for `[` and `{` themselves",
        ),
        (
            "layers.[[]",
            "no leaf matches `layers.[[]`; near names: `layers.0.qkv`, `layers.1.qkv`, `layers.2.qkv`",
        ),
    ] {
        let mut plan = plan();
        let before = plan.clone();
        let error = plan.freeze(pattern).expect_err(pattern).to_string();
        assert_eq!(error, message);
        assert_eq!(plan, before, "{pattern} changed the plan");
    }
}

#[test]
fn sets_by_index_and_path() {
    let mut plan = plan();
    plan.set(25, LeafState::Frozen).expect("index");
    plan.set_path("layers.2.qkv", LeafState::Trained { lr_scale: 0.0 }).expect("path");
    assert_eq!(plan.frozen_leaves(), 1);
    assert_eq!(plan.state(5), Some(LeafState::Trained { lr_scale: 0.0 }));
    assert_eq!(plan.state(26), None);
    let wrong =
        |result: freeze_core::Result<&mut FreezePlan>| result.expect_err("wrong").to_string();
    assert_eq!(
        wrong(plan.set(26, LeafState::Frozen)),
        "no leaf at or below `26`: the plan has 26 leaves"
    );
    assert_eq!(wrong(plan.set_path("layers.*", LeafState::Frozen)).matches("layers").count(), 4);
    let before = plan.clone();
    for bad in [f64::NAN, f64::INFINITY, -0.1] {
        let error = plan.train("head", bad).expect_err("a bad number");
        assert!(matches!(error, Error::Number { name: "lr_scale", .. }), "{error}");
        assert_eq!(plan, before, "{bad} changed the plan");
    }
    let error = plan.freeze_front(27).map(|_| ()).expect_err("too deep").to_string();
    assert_eq!(error, "cannot freeze up to leaf 27: the model has 26 leaves");
}

#[test]
fn a_plan_of_another_model_is_refused() {
    let other = Mlp::new(26, 2).expect("a model");
    let error = net().view(&FreezePlan::all_trained(&other).expect("a plan")).map(|_| ());
    assert_eq!(
        error.expect_err("another model").to_string(),
        "the plan does not fit the model: leaf 0 is `layers.0` in the plan and `stem` in the model; \
         make it from this model"
    );
    let shorter = Mlp::new(3, 2).and_then(|m| Ok(FreezePlan::all_trained(&m)?)).expect("a plan");
    let error = Mlp::new(4, 2).expect("a model").view(&shorter).map(|_| ()).expect_err("shorter");
    assert!(error.to_string().contains("it has 3 leaves, the model 4"), "{error}");
}

#[test]
fn saved_plans_are_checked() {
    let json = serde_json::to_string(&plan()).expect("json");
    assert_eq!(serde_json::from_str::<FreezePlan>(&json).expect("a plan"), plan());
    let bad = json.replacen("1.0", "-1.0", 1);
    let error = serde_json::from_str::<FreezePlan>(&bad).expect_err("a negative scale");
    assert!(error.to_string().contains("`lr_scale` is -1"), "{error}");
    let twice = json.replacen("layers.7.qkv", "layers.3.qkv", 1);
    let error = serde_json::from_str::<FreezePlan>(&twice).expect_err("a leaf twice").to_string();
    assert!(error.contains("the plan has the leaf `layers.3.qkv` twice"), "{error}");
}

fn states() -> impl Strategy<Value = Vec<LeafState>> {
    let state = prop_oneof![
        Just(LeafState::Frozen),
        (0.0..10.0f64).prop_map(|lr_scale| LeafState::Trained { lr_scale }),
    ];
    prop::collection::vec(state, 5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Saving loses nothing, and a view detaches exactly what the plan freezes.
    #[test]
    fn a_view_is_what_the_plan_says(states in states()) {
        let model = Mlp::new(5, 2).expect("a model");
        let mut plan = FreezePlan::all_trained(&model).expect("a plan");
        for (i, state) in states.iter().enumerate() {
            plan.set(i, *state).expect("set");
        }
        let json = serde_json::to_string(&plan).expect("json");
        prop_assert_eq!(&serde_json::from_str::<FreezePlan>(&json).expect("a plan"), &plan);
        let view = model.view(&plan).expect("a view");
        for (layer, state) in view.layers.iter().zip(&states) {
            prop_assert_eq!(layer.weight().is_variable(), !state.is_frozen());
        }
        let (whole, view) = (model.named_tensors().expect("all"), view.named_tensors().expect("all"));
        prop_assert_eq!(view.len(), 2 * states.len());
        for (i, ((name, ours), (viewed, theirs))) in whole.iter().zip(&view).enumerate() {
            prop_assert_eq!(name, viewed);
            prop_assert_eq!(bits(ours), bits(theirs), "{}", name);
            let trains = !states[i / 2].is_frozen();
            // What trains is the model's own variable, what does not is no variable of any kind.
            prop_assert_eq!((theirs.is_variable(), theirs.id() == ours.id()), (trains, trains), "{}", name);
        }
    }
}

/// What a message shows of its input stays short.
#[test]
fn messages_are_short_whatever_they_are_about() {
    let many = Freezer::new((0..400).map(|_| Linear::new(randn((1, 1)), None)).collect::<Vec<_>>());
    let mut many = many.expect("a freezer");
    let long = "x".repeat(100_000);
    let errors = [
        plan().freeze(&long).map(drop),
        plan().freeze(&format!("{long}[")).map(drop),
        plan().set_path(&long, LeafState::Frozen).map(drop),
        net().leaf_before(&long).map(drop),
        plan().train("head", -1e300).map(drop),
        many.thaw(&mut []).map(drop),
    ];
    for error in errors {
        let error = error.expect_err("refused").to_string();
        assert!(error.chars().count() < 350, "{} signs: {error}", error.chars().count());
    }
    let error = plan().train("head", -1e300).map(drop).expect_err("refused").to_string();
    assert_eq!(error, "`lr_scale` is -1e300, expected a finite number of at least 0");
    let error = many.thaw(&mut []).expect_err("plain").to_string();
    assert!(error.contains("`7` and 392 more, which the plan trains"), "{error}");
    let error = Elapsed::new(usize::MAX, (1 << 53) + 1).fraction().expect_err("beyond").to_string();
    assert_eq!(error, "`epoch` is 18446744073709551615, expected at most the total of the run");
}
