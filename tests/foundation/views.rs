//! Views beside the plan: frozen ones, and what the holder says of the whole model.

use candle_core::{ModuleT, Result, Tensor};
use candle_nn::{Module, Optimizer};
use freeze_core::optim::{Adam, ParamsAdam};
use freeze_core::{BatchNormPolicy, Freezable, FreezePlan, Freezer, nn};

use crate::support::{Mlp, bits, graph_nodes, randn, square_loss, varmap_builder};

fn freezer(depth: usize) -> Freezer<Mlp> {
    Freezer::new(Mlp::new(depth, 3).expect("a model")).expect("a freezer")
}

fn weights(net: &Freezer<Mlp>) -> Vec<Vec<u64>> {
    net.named_tensors().expect("tensors").iter().map(|(_, tensor)| bits(tensor)).collect()
}

/// Two models in turn, each through a frozen view of the other: neither turn records or moves
/// anything of the other, and the optimizers' state stays.
#[test]
fn models_train_in_turn_and_keep_their_state() -> freeze_core::Result<()> {
    let (front, back) = (freezer(2), freezer(2));
    let params = || ParamsAdam { lr: 0.01, ..Default::default() };
    let mut of_front = Adam::with_names(front.named_vars(), params())?;
    let mut of_back = Adam::with_names(back.named_vars(), params())?;
    let xs = randn((4, 3));
    for turn in 0..3 {
        let before = (weights(&front), weights(&back));
        let ys = back.frozen_view()?.forward(&front.forward(&xs)?)?;
        let grads = square_loss(&ys)?.backward()?;
        assert!(back.vars().iter().all(|var| grads.get(var).is_none()), "turn {turn}");
        of_front.step(&grads)?;
        assert_eq!(weights(&back), before.1, "turn {turn}: the back moved");

        let made = front.frozen_view()?.forward(&xs)?;
        assert_eq!(graph_nodes(&made), 0, "turn {turn}: a graph was recorded");
        let before = weights(&front);
        of_back.step(&square_loss(&back.forward(&made)?)?.backward()?)?;
        assert_eq!(weights(&front), before, "turn {turn}: the front moved");
    }
    assert_eq!(front.plan().frozen_leaves() + back.plan().frozen_leaves(), 0);
    for opt in [&mut of_front, &mut of_back] {
        let steps = freeze_core::PlanOptimizer::save_state(opt)?.steps;
        assert!(steps.values().all(|&steps| steps == 3) && steps.len() == 4, "{steps:?}");
    }
    Ok(())
}

/// What a view of a part freezes beside the plan, by which leaves get gradients.
#[test]
fn a_part_is_frozen_beside_the_plan() -> freeze_core::Result<()> {
    let mut net = freezer(4);
    let mut plan = net.plan().clone();
    plan.freeze("layers.0")?;
    net.apply(&plan, &mut [])?;
    let xs = randn((4, 3));
    for (pattern, trained) in [
        ("layers.0", &[1, 2, 3][..]),
        ("layers.1", &[2, 3]),
        ("layers.[12]", &[3]),
        ("layers.3", &[1, 2]),
        ("**", &[]),
    ] {
        let ys = net.frozen_view_of(pattern)?.forward(&xs)?;
        let grads = square_loss(&ys)?.backward()?;
        let vars = net.vars();
        let reached: Vec<usize> =
            (0..4).filter(|leaf| grads.get(&vars[2 * leaf]).is_some()).collect();
        assert_eq!(reached, trained, "{pattern}");
        assert_eq!(net.plan(), &plan, "{pattern}");
    }
    let error = net.frozen_view_of("layer.0").map(|_| ()).expect_err("no such leaf").to_string();
    assert!(error.contains("no leaf matches `layer.0`; near names: `layers.0`"), "{error}");
    Ok(())
}

#[derive(Freezable)]
struct Noisy {
    norm: nn::BatchNorm,
    drop: nn::Dropout,
}

impl Noisy {
    fn forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.drop.forward_t(&self.norm.forward_t(xs, train)?, train)
    }
}

/// Under either policy of the freezer, a frozen view does as its caller says.
#[test]
fn batch_norms_and_dropouts_of_a_frozen_view_do_as_the_caller_says() -> freeze_core::Result<()> {
    let norm = nn::batch_norm(3, 1e-5, varmap_builder())?;
    let model = Noisy { norm, drop: nn::Dropout::new(0.5, 1)? };
    let mut net = Freezer::new(model)?;
    let xs = (randn((64, 3)) + 2.0)?;
    for policy in [BatchNormPolicy::AsCaller, BatchNormPolicy::Inference] {
        net.set_batch_norm(policy)?;
        let view = net.frozen_view()?;
        let mean = bits(net.whole().norm.running_mean());
        let still = view.forward(&xs, false)?;
        assert_eq!(bits(&still), bits(&net.whole().norm.forward_t(&xs, false)?), "{policy:?}");
        assert_eq!(bits(net.whole().norm.running_mean()), mean, "{policy:?}");
        let zeros = |ys: &Tensor| ys.flatten_all()?.to_vec1::<f32>();
        let dropped = zeros(&view.forward(&xs, true)?)?.into_iter().filter(|y| *y == 0.0).count();
        assert!((50..142).contains(&dropped), "{policy:?}: {dropped} of 192");
        assert_ne!(bits(net.whole().norm.running_mean()), mean, "{policy:?}");
    }
    Ok(())
}

/// Everything the holder offers under the names of the model's own methods.
#[test]
fn the_holder_speaks_of_the_whole_model() -> freeze_core::Result<()> {
    let mut net = freezer(3);
    let ids = |tensors: Vec<(String, Tensor)>| -> Vec<_> {
        tensors.into_iter().map(|(name, tensor)| (name, tensor.id())).collect()
    };
    for frozen in 0..=3 {
        net.freeze_front(frozen, &mut [])?;
        let whole = net.whole();
        assert_eq!(ids(net.named_tensors()?), ids(whole.named_tensors()?), "{frozen} frozen");
        assert_eq!(net.vars().len(), 6, "{frozen} frozen");
        assert_eq!(net.named_vars().len(), 6, "{frozen} frozen");
        let params = net.leaves()?.into_iter().flat_map(|leaf| leaf.params);
        assert!(params.into_iter().all(|param| param.trainable), "{frozen} frozen");
        assert_eq!(net.leaf_before("layers.2")?, 2, "{frozen} frozen");
        assert_eq!(net.summary()?.total(), 36, "{frozen} frozen");
        // A view of the view could not thaw.
        let thawed = net.view(&FreezePlan::all_trained(whole)?)?;
        let ys = thawed.forward(&randn((2, 3)))?;
        let grads = square_loss(&ys)?.backward()?;
        assert!(net.vars().iter().all(|var| grads.get(var).is_some()), "{frozen} frozen");
        assert_eq!(net.plan().frozen_leaves(), frozen, "a view changes no plan");
    }
    Ok(())
}

/// By that name a view alone is taken, of the whole model whatever is frozen, and nothing changes.
#[test]
fn what_is_frozen_up_to_a_leaf_in_a_view_is_frozen_nowhere_else() -> freeze_core::Result<()> {
    let mut net = freezer(3);
    net.freeze_front(2, &mut [])?;
    let (plan, xs) = (net.plan().clone(), randn((2, 3)));
    for n in 0..=3 {
        let view = net.freeze_upto(n)?;
        assert_eq!(view.vars()?.len(), 2 * (3 - n), "{n} frozen in the view");
        assert_eq!(bits(&view.forward(&xs)?), bits(&net.forward(&xs)?));
        assert_eq!((net.plan(), net.base(), net.trained_vars().len()), (&plan, &plan, 2));
    }
    assert!(net.freeze_upto(4).is_err());
    Ok(())
}

/// A view is the model wherever one is wanted.
#[test]
fn a_view_is_used_as_the_model() -> freeze_core::Result<()> {
    fn through(module: &impl Module, xs: &Tensor) -> Result<Tensor> {
        module.forward(xs)
    }
    fn layers(model: &Mlp) -> usize {
        model.layers.len()
    }
    let model = Mlp::new(2, 3)?;
    let xs = randn((2, 3));
    let mut view = model.freeze_upto(1)?;
    assert_eq!(bits(&through(&view, &xs)?), bits(&model.forward(&xs)?));
    assert_eq!((layers(&view), view.vars()?.len()), (2, 2));
    assert_eq!(view.freeze_upto(2)?.vars()?.len(), 0);
    view.layers.pop();
    assert_eq!((view.into_inner().layers.len(), model.layers.len()), (1, 2));
    Ok(())
}

#[test]
fn a_refused_change_of_rates_alone_leaves_rates_view_and_optimizer() -> freeze_core::Result<()> {
    let mut net = freezer(3);
    let mut opt = Adam::with_names(net.planned_vars(), ParamsAdam::default())?;
    let rates =
        |net: &Freezer<Mlp>| -> Vec<_> { net.planned_vars().iter().map(|var| var.state).collect() };
    let mut plan = net.plan().clone();
    plan.freeze_front(1)?;
    plan.train("layers.1", 0.5)?;
    net.apply(&plan, &mut [&mut opt])?;
    let (before, view) = (rates(&net), net.layers[0].weight().id());

    let mut wrong = plan.clone();
    wrong.train("layers.2", 0.25)?;
    // Twice: nothing stays prepared from the first.
    for _ in 0..2 {
        assert!(net.apply(&wrong, &mut []).is_err(), "the optimizer is left out");
        assert_eq!((rates(&net), net.layers[0].weight().id()), (before.clone(), view));
        assert_eq!((net.plan(), net.base()), (&plan, &plan));
    }
    // Nothing to do, and then rates alone: the view stays, the optimizer follows.
    assert!(net.apply(&plan, &mut [&mut opt])?.is_empty());
    plan.train("layers.2", 0.0)?;
    net.apply(&plan, &mut [&mut opt])?;
    assert_eq!(net.layers[0].weight().id(), view);
    let start = weights(&net);
    // Every variable has a gradient, whatever the random weights are.
    let squares: candle_core::Result<Vec<_>> =
        net.vars().iter().map(|var| var.sqr()?.sum_all()).collect();
    opt.step(&candle_core::Tensor::stack(&squares?, 0)?.sum_all()?.backward()?)?;
    let moved: Vec<bool> =
        weights(&net).iter().zip(&start).map(|(now, then)| now != then).collect();
    assert_eq!(moved, [false, false, true, true, false, false]);
    Ok(())
}
