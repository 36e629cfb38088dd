//! The hook in a loop that is written by hand.

use candle_nn::{Module, Optimizer, SGD};
use freeze_core::policy::{Needs, Observation, Output, Shown};
use freeze_core::{
    Decision, Elapsed, FreezePlan, Freezer, LayerFreezing, LeafState, Policy, Result, freeze_layers,
};

use crate::support::{Mlp, bits, randn, square_loss};

/// Needs the same at every step, and remembers what it saw.
struct Watch {
    needs: Needs,
    seen: Vec<Observation>,
}

impl Watch {
    fn hook(needs: Needs) -> LayerFreezing<Self> {
        LayerFreezing::with_policy(Self { needs, seen: Vec::new() })
    }
}

impl Policy for Watch {
    fn needs(&self, _: Elapsed) -> Needs {
        self.needs
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.seen.push(seen.clone());
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "watch".into()
    }
}

fn at(step: usize) -> Elapsed {
    Elapsed::new(0, 1).at_step(step, 10)
}

#[test]
fn the_functional_form_trains_the_last_leaf_that_can() -> Result<()> {
    let mut net = Freezer::new(Mlp::new(3, 2)?)?;
    let mut plan = net.plan().clone();
    plan.freeze("layers.[12]")?;
    net.apply(&plan, &mut [])?;
    freeze_layers(&mut net, &mut [], 1.0, 0.0, 1.0)?;
    assert_eq!(net.plan().state(0), Some(LeafState::TRAINED));
    assert_eq!(net.plan().frozen_leaves(), 2);
    LayerFreezing::new(0.0, 1.0)?.epoch_end(&mut net, &mut [], Elapsed::new(1, 1))?;
    assert_eq!(net.plan(), &plan, "as the hook");
    Ok(())
}

#[test]
fn an_optimizer_that_the_hook_is_not_given_is_measured_from_outside() -> Result<()> {
    let mut net = Freezer::new(Mlp::new(2, 2)?)?;
    let mut opt = SGD::new(net.vars(), 0.1)?;
    let mut hook = Watch::hook(Needs::GRADIENT | Needs::UPDATE);
    let grads = square_loss(&net.forward(&randn((4, 2)))?)?.backward()?;
    let seen = hook.before_update(&net, &mut [], &grads, at(0))?;
    opt.step(&grads)?;
    hook.after_update(seen, &mut [], 1.0, at(1))?;
    hook.step_end(&mut net, &mut [], at(1))?;
    let [step] = &hook.policy().seen[..] else { panic!("one step was observed") };
    assert_eq!(step.tensors().len(), 4, "two weights and two biases");
    for seen in step.tensors() {
        assert!(
            seen.gradient_norms()?.is_some() && seen.update_norms()?.is_some(),
            "{}",
            seen.name()
        );
    }
    Ok(())
}

#[test]
fn outputs_that_are_needed_have_to_be_shown() -> Result<()> {
    let net = Freezer::new(Mlp::new(2, 2)?)?;
    let mut hook = Watch::hook(Needs::OUTPUTS);
    let ys = net.forward(&randn((4, 2)))?;
    let grads = square_loss(&ys)?.backward()?;
    let seen = hook.before_update(&net, &mut [], &grads, at(0))?;
    let refused = hook.after_update(seen, &mut [], 1.0, at(1));
    let refused = refused.expect_err("nothing was shown").to_string();
    assert!(refused.contains("show them by `showing`"), "{refused}");
    assert!(hook.policy().seen.is_empty());
    let seen = hook.before_update(&net, &mut [], &grads, at(0))?;
    let outputs = vec![Output { leaves: 2, tensor: ys.detach() }];
    let seen = seen.showing(Shown { outputs, costs: None });
    hook.after_update(seen, &mut [], 1.0, at(1))?;
    assert_eq!(hook.policy().seen.len(), 1);
    Ok(())
}

#[test]
fn gradients_that_are_no_numbers_are_not_kept() -> Result<()> {
    let net = Freezer::new(Mlp::new(2, 2)?)?;
    let mut hook = Watch::hook(Needs::GRADIENT_CHANGE | Needs::SUM_GRADIENTS);
    for (step, factor) in [(0, 1.0), (1, f64::NAN), (2, 1.0)] {
        let loss = (square_loss(&net.forward(&randn((4, 2)))?)? * factor)?;
        let seen = hook.before_update(&net, &mut [], &loss.backward()?, at(step))?;
        // An optimizer would skip the second step.
        hook.after_update(seen, &mut [], 1.0, at(step + 1))?;
    }
    let [_, last] = &hook.policy().seen[..] else { panic!("two steps were observed") };
    for seen in last.tensors() {
        assert!(seen.gradient_change_norms()?.is_some(), "{}", seen.name());
    }
    Ok(())
}

#[test]
fn a_penalty_moves_no_frozen_weight() -> Result<()> {
    let mut net = Freezer::new(Mlp::new(2, 2)?)?;
    let mut opt = SGD::new(net.vars(), 0.1)?;
    net.freeze_front(1, &mut [&mut opt])?;
    let before = bits(net.whole().layers[0].weight());
    let penalty = net.whole().layers[0].weight().sqr()?.sum_all()?;
    let loss = (square_loss(&net.forward(&randn((4, 2)))?)? + penalty)?;
    let loss = freeze_core::nn::ops::mul(&loss, &loss)?;
    let mut hook = LayerFreezing::new(0.0, 1.0)?;
    opt.step(&hook.backward(&net, &loss)?)?;
    opt.step(&hook.backward_once(&net, &loss)?)?;
    assert_eq!(bits(net.whole().layers[0].weight()), before);
    // The second gave back what the loss held.
    assert!(hook.backward(&net, &loss).is_err());
    Ok(())
}
