//! What freezing and thawing do to an optimizer.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
use freeze_core::optim::{
    AdamW, Fused, Momentum, ParamsSgd, PerParam, Sgd, StatePolicy, UpdateRule,
};
use freeze_core::{Error, Freezable, Freezer, PlanOptimizer, Result};

use super::{CPU, bits, store};

#[derive(Freezable)]
pub(crate) struct Net {
    body: Vec<Linear>,
    head: Linear,
}

impl Module for Net {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.body.iter().try_fold(x.clone(), |x, layer| layer.forward(&x)?.tanh())?;
        self.head.forward(&x)
    }
}

pub(crate) fn net() -> Result<Freezer<Net>> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let body = vec![linear(4, 4, vb.pp("body.0"))?, linear(4, 4, vb.pp("body.1"))?];
    Freezer::new(Net { body, head: linear(4, 2, vb.pp("head"))? })
}

pub(crate) fn train(net: &Freezer<Net>, opt: &mut impl Optimizer) -> candle_core::Result<()> {
    let x = Tensor::arange(0f32, 12., &CPU)?.reshape((3, 4))?.sin()?;
    opt.backward_step(&net.forward(&x)?.sqr()?.sum_all()?)
}

/// The bytes of a layer of four by four and its bias, with two moments in `f32`.
const LAYER: usize = (16 + 4) * 2 * 4;
const HEAD: usize = (8 + 2) * 2 * 4;

/// On the CPU a state has nowhere to move to, so that `Offload` keeps it like `Keep`; that one is
/// swapped for its copy is a unit test of `optim::plan`, and that it moves off a card one of `tests/cuda`.
#[test]
fn freezing_lets_go_of_what_the_policy_says() -> Result<()> {
    for (policy, let_go, updates) in
        [(StatePolicy::Drop, LAYER, 1), (StatePolicy::Keep, 0, 3), (StatePolicy::Offload, 0, 3)]
    {
        let mut net = net()?;
        let mut opt = AdamW::new(net.vars(), ParamsAdamW::default())?;
        opt.set_state_policy(policy);
        assert_eq!(opt.state_bytes(), 0, "an optimizer costs nothing before its first step");
        train(&net, &mut opt)?;
        train(&net, &mut opt)?;
        assert_eq!(opt.state_bytes(), 2 * LAYER + HEAD);

        net.freeze_front(1, &mut [&mut opt])?;
        assert_eq!(opt.state_bytes(), 2 * LAYER + HEAD - let_go, "{policy:?}");
        let front = net.vars()[0].clone();
        let frozen = bits(&front)?;
        train(&net, &mut opt)?;
        assert_eq!(bits(&front)?, frozen);
        assert_eq!(opt.trained_vars().len(), 4);

        net.thaw(&mut [&mut opt])?;
        train(&net, &mut opt)?;
        assert_ne!(bits(&front)?, frozen);
        assert_eq!(opt.state_bytes(), 2 * LAYER + HEAD);
        assert_eq!(opt.updates(&front), Some(updates), "{policy:?}");
    }
    Ok(())
}

/// What an optimizer says of its state after a step, and after a layer froze.
fn told<O: Optimizer + PlanOptimizer>(
    build: impl FnOnce(Vec<Var>) -> candle_core::Result<O>,
) -> Result<[Option<usize>; 2]> {
    let mut net = net()?;
    let mut opt = build(net.vars())?;
    train(&net, &mut opt)?;
    let before = PlanOptimizer::state_bytes(&opt);
    net.freeze_front(1, &mut [&mut opt])?;
    Ok([before, PlanOptimizer::state_bytes(&opt)])
}

#[test]
fn optimizers_tell_the_bytes_of_their_state() -> Result<()> {
    let moments = [Some(2 * LAYER + HEAD), Some(LAYER + HEAD)];
    let adamw = told(|vars| AdamW::new(vars, ParamsAdamW::default()))?;
    let candles = told(|vars| PerParam::<candle_nn::AdamW>::new(vars, ParamsAdamW::default()))?;
    assert_eq!((adamw, candles), (moments, moments));
    assert_eq!(told(|vars| candle_nn::SGD::new(vars, 0.1))?, [Some(0); 2]);
    Ok(())
}

#[test]
fn another_policy_reaches_what_is_frozen_with_the_next_plan() -> Result<()> {
    let mut net = net()?;
    let mut opt = AdamW::new(net.vars(), ParamsAdamW::default())?;
    opt.set_state_policy(StatePolicy::Keep);
    train(&net, &mut opt)?;
    net.freeze_front(1, &mut [&mut opt])?;
    opt.set_state_policy(StatePolicy::Drop);
    assert_eq!(opt.state_bytes(), 2 * LAYER + HEAD);
    let change = net.freeze_front(1, &mut [&mut opt])?;
    assert_eq!((opt.state_bytes(), change.state_bytes_released), (LAYER + HEAD, Some(LAYER)));
    let change = net.freeze_front(2, &mut [&mut opt])?;
    assert_eq!((opt.state_bytes(), change.state_bytes_released), (HEAD, Some(LAYER)));
    Ok(())
}

/// One variable is frozen for a while; after thawing it moves on as if it had been left out of
/// those steps (`Keep`), or as if it were new (`Drop`).
#[test]
fn thawing_goes_on_or_starts_afresh() -> Result<()> {
    for (policy, first_steps) in [(StatePolicy::Keep, 3), (StatePolicy::Drop, 0)] {
        let (ours, twin) = super::twins(&[5], DType::F32)?;
        let mut opt = AdamW::with_names(vec![("w", ours.clone())], Default::default())?;
        opt.set_state_policy(policy);
        let mut reference = candle_nn::AdamW::new(vec![twin.clone()], Default::default())?;
        let grad = |i: u32| Tensor::full(1.0 / (1.0 + i as f32), 5, &CPU);
        let plain = one(&ours)?;
        for i in 0..3 {
            opt.step(&store([(&ours, grad(i)?)]))?;
            if first_steps > 0 {
                reference.step(&store([(&twin, grad(i)?)]))?;
            }
        }
        let mut frozen = Freezer::new(plain)?;
        frozen.freeze_front(1, &mut [&mut opt])?;
        let still = bits(&ours)?;
        opt.step(&store([(&ours, grad(9)?)]))?;
        assert_eq!(bits(&ours)?, still, "a step with everything frozen does nothing");
        frozen.thaw(&mut [&mut opt])?;
        twin.set(&ours.as_detached_tensor())?;
        for i in 3..6 {
            opt.step(&store([(&ours, grad(i)?)]))?;
            reference.step(&store([(&twin, grad(i)?)]))?;
        }
        assert_eq!(bits(&ours)?, bits(&twin)?, "{policy:?}");
    }
    Ok(())
}

#[derive(Freezable)]
struct One {
    #[freeze(param)]
    w: Tensor,
}

fn one(var: &Var) -> Result<One> {
    Ok(One { w: var.as_tensor().clone() })
}

#[test]
fn a_parameter_that_joins_late_gets_an_ordinary_first_update() -> candle_core::Result<()> {
    let (early, late) = super::twins(&[1], DType::F64)?;
    let config = ParamsAdamW { lr: 0.001, weight_decay: 0.0, ..ParamsAdamW::default() };
    let vars = vec![early.clone(), late.clone()];
    let one = || Tensor::ones(1, DType::F64, &CPU);
    let moved = |mut opt: AdamW| -> candle_core::Result<f64> {
        (0..20).try_for_each(|_| opt.step(&store([(&early, one()?)])))?;
        let before = late.get(0)?.to_scalar::<f64>()?;
        opt.step(&store([(&early, one()?), (&late, one()?)]))?;
        Ok(before - late.get(0)?.to_scalar::<f64>()?)
    };
    let ours = moved(AdamW::new(vars, config)?)?;
    assert!((ours / 0.001 - 1.0).abs() < 1e-6, "the first update is {ours}, not the learning rate");
    Ok(())
}

#[test]
fn the_plans_share_of_the_learning_rate() -> Result<()> {
    fn moved<R: UpdateRule>(mut opt: Fused<R>, var: &Var, scale: f64) -> Result<f64> {
        let mut net = Freezer::new(one(var)?)?;
        let mut plan = net.plan().clone();
        plan.train("w", scale)?;
        net.apply(&plan, &mut [&mut opt])?;
        let before = var.get(0)?.to_scalar::<f64>()?;
        opt.step(&store([(var, Tensor::ones(1, DType::F64, &CPU)?)]))?;
        Ok(before - var.get(0)?.to_scalar::<f64>()?)
    }
    for scale in [0.0, 0.1, 1.0, 3.0] {
        let var = Var::ones(1, DType::F64, &CPU)?;
        let sgd = Sgd::new(vec![var.clone()], ParamsSgd { lr: 0.5, ..Default::default() })?;
        assert!((moved(sgd, &var, scale)? - 0.5 * scale).abs() < 1e-12);
        let config = ParamsAdamW { lr: 0.5, weight_decay: 0.0, ..Default::default() };
        let adamw = AdamW::new(vec![var.clone()], config)?;
        assert!((moved(adamw, &var, scale)? - 0.5 * scale).abs() < 1e-7);
    }
    Ok(())
}

#[test]
fn plain_sgd_keeps_no_state_and_momentum_one_moment() -> Result<()> {
    for (momentum, bytes) in [(Momentum::None, 0), (Momentum::Heavy(0.9), LAYER + HEAD / 2)] {
        let mut net = net()?;
        let config = ParamsSgd { momentum, ..ParamsSgd::default() };
        let mut opt = Sgd::new(net.vars(), config)?;
        train(&net, &mut opt)?;
        assert_eq!(opt.state_bytes(), bytes);
        net.freeze_front(2, &mut [&mut opt])?;
        assert_eq!(opt.state_bytes(), bytes.min(HEAD / 2));
    }
    Ok(())
}

#[test]
fn a_step_that_reaches_nothing_is_an_error() -> Result<()> {
    let var = Var::ones(2, DType::F32, &CPU)?;
    let other = Var::ones(2, DType::F32, &CPU)?;
    let message = |vars: Vec<Var>| -> Result<String> {
        let mut opt = AdamW::new(vars, ParamsAdamW::default())?;
        let error: Error = opt.backward_step(&other.sum_all()?).unwrap_err().into();
        Ok(error.to_string())
    };
    let cut = message(vec![var])?;
    assert!(cut.contains("any of the 1 trained variables"), "{cut}");
    let none = message(vec![])?;
    assert!(none.contains("into_trainable()"), "{none}");
    Ok(())
}
