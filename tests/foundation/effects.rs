//! What freezing does, seen in graphs, gradients and bits.

use candle_core::{Tensor, Var};
use candle_nn::{Module, Optimizer, SGD};
use freeze_core::{Freezable, Freezer};

use crate::support::{Mlp, bits, graph_nodes, randn, square_loss, with_gradient};

const DEPTH: usize = 6;

fn model_and_input() -> (Mlp, Tensor) {
    (Mlp::new(DEPTH, 8).expect("a model"), randn((4, 8)))
}

#[test]
fn the_backward_graph_shrinks_with_depth() {
    let (model, xs) = model_and_input();
    let nodes = |n: usize| {
        let view = model.freeze_upto(n).expect("a view");
        graph_nodes(&square_loss(&view.forward(&xs).expect("ys")).expect("a loss"))
    };
    let counts: Vec<usize> = (0..=DEPTH).map(nodes).collect();
    assert!(counts.windows(2).all(|pair| pair[1] < pair[0]), "{counts:?}");
    assert_eq!(counts[DEPTH], 0, "nothing is tracked when all is frozen");
}

#[test]
fn no_gradient_exists_for_a_frozen_parameter() {
    let (model, xs) = model_and_input();
    let all: Vec<String> =
        model.named_vars().expect("vars").into_iter().map(|(name, _)| name).collect();
    for n in 0..=DEPTH {
        let view = model.freeze_upto(n).expect("a view");
        let loss = square_loss(&view.forward(&xs).expect("ys")).expect("a loss");
        let grads = loss.backward().expect("gradients");
        assert_eq!(with_gradient(&model, &grads), all[2 * n..], "{n} frozen");
    }
}

#[test]
fn a_step_through_the_view_moves_the_original() {
    let (model, xs) = model_and_input();
    let before: Vec<Vec<u64>> = tensors(&model);
    let view = model.freeze_upto(2).expect("a view");
    let mut sgd = SGD::new(model.vars().expect("vars"), 0.1).expect("an optimizer");
    sgd.backward_step(&square_loss(&view.forward(&xs).expect("ys")).expect("a loss"))
        .expect("step");
    let after = tensors(&model);
    assert_eq!(after, tensors(&*view), "view and original share storage");
    let moved: Vec<bool> = before.iter().zip(&after).map(|(b, a)| b != a).collect();
    let expected: Vec<bool> = (0..2 * DEPTH).map(|i| i >= 4).collect();
    assert_eq!(moved, expected);
    // And the other way: weights loaded into the original are seen by the view taken before.
    for var in model.vars().expect("vars") {
        var.set(&var.zeros_like().expect("zeros")).expect("set");
    }
    assert!(tensors(&*view).iter().flatten().all(|&bits| f64::from_bits(bits) == 0.0));
}

#[test]
fn thawing_restores_training() {
    let (model, xs) = model_and_input();
    let mut net = Freezer::new(model).expect("a freezer");
    let mut sgd = SGD::new(net.vars(), 0.1).expect("an optimizer");
    net.freeze_front(DEPTH - 1, &mut [&mut sgd]).expect("frozen");
    let frozen = tensors(net.whole());
    let loss = |net: &Freezer<Mlp>| square_loss(&net.forward(&xs).expect("ys")).expect("a loss");
    sgd.backward_step(&loss(&net)).expect("a step");
    assert_eq!(tensors(net.whole())[..2 * (DEPTH - 1)], frozen[..2 * (DEPTH - 1)]);
    net.thaw(&mut [&mut sgd]).expect("thawed");
    sgd.backward_step(&loss(&net)).expect("a step");
    let moved = tensors(net.whole()).iter().zip(&frozen).filter(|(a, b)| a != b).count();
    assert_eq!(moved, 2 * DEPTH);
}

#[test]
fn plain_tensors_become_variables_and_ties_stay() {
    #[derive(Freezable)]
    struct Tied {
        embed: candle_nn::Embedding,
        head: candle_nn::Linear,
    }
    let table = randn((5, 3));
    let plain = Tied {
        embed: candle_nn::Embedding::new(table.clone(), 3),
        head: candle_nn::Linear::new(table.clone(), Some(randn(5))),
    };
    assert!(plain.vars().expect("vars").is_empty());
    let model = plain.into_trainable().expect("variables");
    assert_eq!(model.vars().expect("vars").len(), 2, "the tied table is one variable");
    assert_eq!(model.embed.embeddings().id(), model.head.weight().id());
    assert_eq!(bits(model.head.weight()), bits(&table));
    // Variables stay the ones they were.
    let again = model.vars().expect("vars");
    let kept = model.into_trainable().expect("variables").vars().expect("vars");
    let ids = |vars: &[Var]| vars.iter().map(|var| var.id()).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&kept));
}

/// In a view what is tied is detached use by use.
#[test]
fn what_a_view_detached_stays_tied() {
    #[derive(Freezable)]
    struct Tied {
        embed: candle_nn::Embedding,
        body: candle_nn::Linear,
        head: candle_nn::Linear,
    }
    let table = randn((5, 5));
    let model = || {
        let linear = |weight: &Tensor| candle_nn::Linear::new(weight.clone(), None);
        let embed = candle_nn::Embedding::new(table.clone(), 5);
        let plain = Tied { embed, body: linear(&randn((5, 5))), head: linear(&table) };
        plain.into_trainable().expect("variables")
    };
    for depth in 0..=3 {
        let whole = model();
        let own: Vec<_> = whole.vars().expect("vars").iter().map(|var| var.id()).collect();
        let view = whole.freeze_upto(depth).expect("a view");
        assert_eq!(view.summary().expect("a summary").total(), 50, "{depth}");
        let again = view.into_inner().into_trainable().expect("variables");
        let table = again.embed.embeddings();
        assert_eq!(table.id(), again.head.weight().id(), "{depth} frozen");
        assert_eq!(again.vars().expect("vars").len(), 2, "{depth} frozen");
        // What the view trains in one of its places is the variable of the model, also in the others.
        assert_eq!(table.id() == own[0], depth < 3, "{depth} frozen");
        assert_eq!(again.body.weight().id() == own[1], depth < 2, "{depth} frozen");
    }
    for (pattern, trains) in [("embed", vec!["embed.embeddings"]), ("body", vec!["body.weight"])] {
        let frozen = model().freeze_upto(3).expect("a view").into_inner();
        let again = frozen.into_trainable_matching(pattern).expect("variables");
        let named = again.named_vars().expect("vars");
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), trains.len(), "{pattern}: {names:?}");
        let tied = again.embed.embeddings().id() == again.head.weight().id();
        assert_eq!(tied, pattern == "embed", "{pattern}");
    }
}

#[test]
fn what_a_pattern_matches_becomes_variables() {
    let plain = || {
        let layer = || candle_nn::Linear::new(randn((2, 2)), None);
        vec![layer(), layer(), layer()]
    };
    let shared = {
        let mut layers = plain();
        layers[2] = layers[0].clone();
        layers
    };
    for (what, model, pattern, trainable) in [
        ("one", plain(), "1", vec!["1.weight"]),
        ("all", plain(), "**", vec!["0.weight", "1.weight", "2.weight"]),
        ("with its tie", shared, "2", vec!["0.weight"]),
    ] {
        let before = tensors(&model);
        let model = model.into_trainable_matching(pattern).expect(what);
        let named = model.named_vars().expect("variables");
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, trainable, "{what}");
        assert_eq!(tensors(&model), before, "{what}");
        if what == "with its tie" {
            assert_eq!(model[0].weight().id(), model[2].weight().id());
        }
    }
    for (pattern, fault) in [("head", "no leaf matches `head`"), ("[", "is not a pattern")] {
        let error = plain().into_trainable_matching(pattern).expect_err(pattern).to_string();
        assert!(error.contains(fault), "{error}");
    }
}

fn tensors<M: Freezable>(model: &M) -> Vec<Vec<u64>> {
    model.named_tensors().expect("tensors").iter().map(|(_, tensor)| bits(tensor)).collect()
}
