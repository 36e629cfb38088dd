//! Who owns what trains: optimizers that are missing, doubled or left out, and leaves that nothing can
//! move.

use candle_core::Var;
use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, SGD};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim;
use freeze_core::{Elapsed, Error, Freezable, FreezePlan, Freezer, LeafState, PlanOptimizer};

use crate::support::{Mlp, randn, square_loss};

fn freezer(depth: usize) -> Freezer<Mlp> {
    Freezer::new(Mlp::new(depth, 3).expect("a model")).expect("a freezer")
}

fn sgd(vars: Vec<Var>) -> SGD {
    SGD::new(vars, 0.1).expect("an optimizer")
}

#[test]
fn every_trained_variable_has_one_owner() {
    let mut net = freezer(3);
    let vars = net.vars();
    let plan = net.plan().clone();
    let mut front = sgd(vars[..3].to_vec());
    let error = net.apply(&plan, &mut [&mut front]).expect_err("unowned");
    assert!(
        matches!(&error, Error::Unowned { names } if names == "`layers.1.bias`, `layers.2.weight`, `layers.2.bias`"),
        "{error}"
    );
    let mut all = sgd(vars.clone());
    let error = net.apply(&plan, &mut [&mut front, &mut all]).expect_err("owned twice");
    assert!(error.to_string().contains("another of the optimizers owns it too"), "{error}");
    let mut back = sgd(vars[3..].to_vec());
    net.apply(&plan, &mut [&mut front, &mut back]).expect("owned once");
    // A frozen variable needs no owner; no optimizer yet needs none.
    let mut net = freezer(3);
    let last = net.vars()[4..].to_vec();
    net.freeze_front(1, &mut []).expect("no optimizer yet");
    net.thaw(&mut []).expect("no optimizer yet");
    net.freeze_front(2, &mut [&mut sgd(last)]).expect("frozen");
}

/// An optimizer that was handed over and is left out would keep the state of what freezes, and what
/// thaws would not train.
#[test]
fn an_optimizer_in_use_is_not_left_out() {
    let plan = |frozen: &[usize], scale: f64| {
        let mut plan = FreezePlan::all_trained(&Mlp::new(3, 3).expect("a model")).expect("a plan");
        plan.set(2, LeafState::Trained { lr_scale: scale }).expect("a scale");
        for &leaf in frozen {
            plan.set(leaf, LeafState::Frozen).expect("a leaf");
        }
        plan
    };
    let first = "`layers.0.weight`, `layers.0.bias`";
    // (plan in force, plan asked for, which of front and back are handed over, what is refused)
    for (now, next, front, back, refused) in [
        (plan(&[], 1.0), plan(&[0], 1.0), false, false, first),
        (plan(&[0], 1.0), plan(&[], 1.0), false, false, first),
        (plan(&[], 1.0), plan(&[0, 1], 1.0), false, true, first),
        (plan(&[0, 1], 1.0), plan(&[0], 1.0), false, false, "`layers.1.weight`, `layers.1.bias`"),
        (plan(&[], 1.0), plan(&[], 0.5), false, false, "`layers.2.weight`, `layers.2.bias`"),
        (plan(&[0], 1.0), plan(&[0, 1], 1.0), false, true, ""),
        (plan(&[0], 1.0), plan(&[0], 1.0), false, false, ""),
        (plan(&[0], 1.0), plan(&[], 1.0), true, true, ""),
    ] {
        let mut net = freezer(3);
        let params = ParamsAdamW::default;
        let vars = net.planned_vars();
        let mut of_front = optim::AdamW::with_names(vars[..2].to_vec(), params()).expect("adam");
        let mut of_back = optim::AdamW::with_names(vars[2..].to_vec(), params()).expect("adam");
        let grads = net.forward(&randn((4, 3))).and_then(|ys| square_loss(&ys)?.backward());
        let grads = grads.expect("gradients");
        of_front.step(&grads).and_then(|()| of_back.step(&grads)).expect("a step");
        net.apply(&now, &mut [&mut of_front, &mut of_back]).expect("both");
        let held =
            |front: &optim::AdamW, back: &optim::AdamW| (front.state_bytes(), back.state_bytes());
        let before = held(&of_front, &of_back);
        let mut handed: Vec<&mut dyn PlanOptimizer> = Vec::new();
        front.then(|| handed.push(&mut of_front));
        back.then(|| handed.push(&mut of_back));
        let row = format!("{:?} to {:?}", now.states(), next.states());
        match net.apply(&next, &mut handed) {
            Ok(_) => assert_eq!((refused, net.plan()), ("", &next), "{row}"),
            Err(error @ Error::LeftOut { .. }) => {
                let told = "whose optimizer was handed over before and is not now; hand over every";
                assert!(error.to_string().contains(told), "{error}");
                let Error::LeftOut { names } = error else { unreachable!() };
                assert_eq!(
                    (names.as_str(), net.plan(), net.base()),
                    (refused, &now, &now),
                    "{row}"
                );
                assert_eq!(held(&of_front, &of_back), before, "{row}");
            }
            Err(error) => panic!("{row}: {error}"),
        }
    }
}

/// An optimizer that was resumed with the model is in use.
#[test]
fn a_resumed_optimizer_is_not_left_out() -> freeze_core::Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    for resumed in [false, true] {
        let mut net = freezer(2);
        let mut opt = optim::AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
        let run = Checkpoint::of(&mut net).optimizer(&mut opt).progress(Elapsed::new(1, 2));
        if resumed {
            run.resume(&path).map(drop)?
        } else {
            run.save(&path)?
        }
        let result = net.freeze_front(1, &mut []);
        assert_eq!(matches!(result, Err(Error::LeftOut { .. })), resumed, "resumed: {resumed}");
    }
    Ok(())
}

/// Plain tensors, as a file holds them, cannot train: asked for by hand that is an error, by a
/// schedule a warning.
#[test]
fn leaves_without_variables_are_named() {
    let loaded = |from: &[usize]| {
        let layer = |i: usize| {
            let weight = randn((3, 3));
            let plain = Linear::new(weight.clone(), None);
            let fresh =
                Linear::new(Var::from_tensor(&weight).expect("a variable").into_inner(), None);
            if from.contains(&i) { plain } else { fresh }
        };
        Freezer::new(Mlp { layers: (0..4).map(layer).collect() }).expect("a freezer")
    };
    let all = "`layers.0`, `layers.1`, `layers.2`, `layers.3`";
    // (leaves that were loaded, how many are frozen, which of the rest are refused)
    for (plain, frozen, refused) in [
        (&[][..], 0, ""),
        (&[0, 1], 2, ""),
        (&[0, 1], 1, "`layers.1`"),
        (&[0, 1, 2], 0, "`layers.0`, `layers.1`, `layers.2`"),
        (&[3], 3, "`layers.3`"),
        (&[0, 1, 2, 3], 4, ""),
        (&[0, 1, 2, 3], 0, all),
    ] {
        let mut net = loaded(plain);
        let plan = net.plan().clone();
        let row = format!("{plain:?}, {frozen} frozen");
        match net.freeze_front(frozen, &mut []) {
            Ok(_) => assert_eq!(refused, "", "{row}"),
            Err(Error::NoVariables { names }) => {
                assert_eq!((names.as_str(), net.plan()), (refused, &plan), "{row}");
            }
            Err(error) => panic!("{row}: {error}"),
        }
        let mut by_schedule = plan.clone();
        by_schedule.freeze_front(frozen).expect("a plan");
        net.refine(&by_schedule, &mut []).expect("a schedule may");
        let trainable = net.into_whole().into_trainable().and_then(Freezer::new);
        trainable.and_then(|mut net| net.thaw(&mut []).map(drop)).expect("variables");
    }
    let error = loaded(&[0]).thaw(&mut []).expect_err("plain").to_string();
    assert_eq!(
        error,
        "no gradient step can move `layers.0`, which the plan trains: their tensors are no \
         variables; call `into_trainable()` on the model before a freezer holds it, or freeze the leaf"
    );
}
