//! Over random models: the leaves are those that the description names, in its order, and
//! `freeze_upto(n)` freezes exactly the first `n`.

use candle_core::Tensor;
use candle_nn::{Activation, Linear};
use freeze_core::Freezable;
use proptest::prelude::*;

use super::common::{assert_laws, linear, paths, var};

#[derive(Freezable)]
enum Part {
    Layer(Linear),
    Plain(Activation),
    Bare(#[freeze(param)] Tensor),
    Pair(Box<Part>, Box<Part>),
    Block(Box<Block>),
    List { items: Vec<Part> },
    Whole(#[freeze(unit)] Vec<Part>),
    Absent,
}

#[derive(Freezable)]
struct Block {
    #[freeze(rename = "attn")]
    first: Part,
    #[freeze(skip)]
    skipped: u32,
    maybe: Option<Part>,
    twins: [Linear; 2],
}

/// What to build, without any tensor.
#[derive(Clone, Debug)]
enum Plan {
    Layer(u32),
    Plain,
    Bare,
    Pair(Box<(Plan, Plan)>),
    Block(Box<(Plan, Option<Plan>)>),
    List(Vec<Plan>),
    Whole(Vec<Plan>),
    Absent,
}

fn plan() -> impl Strategy<Value = Plan> {
    let leaf = prop_oneof![
        (0..100u32).prop_map(Plan::Layer),
        Just(Plan::Plain),
        Just(Plan::Bare),
        Just(Plan::Absent),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|pair| Plan::Pair(Box::new(pair))),
            (inner.clone(), prop::option::of(inner.clone()))
                .prop_map(|block| Plan::Block(Box::new(block))),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Plan::List),
            prop::collection::vec(inner, 0..4).prop_map(Plan::Whole),
        ]
    })
}

fn build(plan: &Plan) -> Part {
    let all = |plans: &[Plan]| plans.iter().map(build).collect();
    match plan {
        Plan::Layer(seed) => Part::Layer(linear(*seed)),
        Plan::Plain => Part::Plain(Activation::Relu),
        Plan::Bare => Part::Bare(var(&[1f32, 2.0])),
        Plan::Pair(pair) => Part::Pair(Box::new(build(&pair.0)), Box::new(build(&pair.1))),
        Plan::Block(block) => Part::Block(Box::new(Block {
            first: build(&block.0),
            skipped: 7,
            maybe: block.1.as_ref().map(build),
            twins: [linear(1), linear(2)],
        })),
        Plan::List(plans) => Part::List { items: all(plans) },
        Plan::Whole(plans) => Part::Whole(all(plans)),
        Plan::Absent => Part::Absent,
    }
}

/// The paths that the documented rules give, said again without the derive.
fn expected(plan: &Plan, at: &str, into: &mut Vec<String>) {
    let below = |segment: &str| match at {
        "" => segment.to_string(),
        at => format!("{at}.{segment}"),
    };
    match plan {
        Plan::Plain | Plan::Absent => {}
        Plan::Layer(_) | Plan::Bare | Plan::Whole(_) => into.push(at.to_string()),
        Plan::Pair(pair) => {
            expected(&pair.0, &below("0"), into);
            expected(&pair.1, &below("1"), into);
        }
        Plan::Block(block) => {
            expected(&block.0, &below("attn"), into);
            if let Some(maybe) = &block.1 {
                expected(maybe, &below("maybe"), into);
            }
            into.extend([below("twins.0"), below("twins.1")]);
        }
        Plan::List(plans) => {
            for (i, plan) in plans.iter().enumerate() {
                expected(plan, &below(&format!("items.{i}")), into);
            }
        }
    }
}

proptest! {
    #[test]
    fn the_leaves_are_those_described_and_depth_counts_them(plan in plan()) {
        let model = build(&plan);
        let mut described = Vec::new();
        expected(&plan, "", &mut described);
        prop_assert_eq!(paths(&model), described);
        assert_laws(&model);
    }

    #[test]
    fn leaf_before_is_the_depth_that_freezes_all_in_front(plans in prop::collection::vec(plan(), 1..4)) {
        let model = (linear(0), plans.iter().map(build).collect::<Vec<Part>>(), linear(1));
        let paths = paths(&model);
        for (i, path) in paths.iter().enumerate() {
            prop_assert_eq!(model.leaf_before(path).unwrap(), i);
        }
        prop_assert_eq!(model.leaf_before("2").unwrap(), paths.len() - 1);
    }
}
