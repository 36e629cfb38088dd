//! What follows from a declaration: what trains at the start, what a schedule leaves alone, which
//! weights decay.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, SGD};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{AdamW, ParamGroups, PerParam};
use freeze_core::{
    Decision, Elapsed, Freezable, FreezePlan, Freezer, LayerFreezing, LeafState, PlanOptimizer,
    Policy, Result,
};

use super::common::{bits, linear};

#[derive(Freezable)]
struct Net {
    #[freeze(always)]
    embed: Linear,
    #[freeze(frozen)]
    stem: Linear,
    #[freeze(lr = 0.5)]
    body: Linear,
    head: Linear,
}

fn net() -> Freezer<Net> {
    let net = Net { embed: linear(1), stem: linear(2), body: linear(3), head: linear(4) };
    Freezer::new(net).unwrap()
}

fn loss(net: &Net) -> Tensor {
    let x = Tensor::ones((3, 2), DType::F32, &Device::Cpu).unwrap();
    let layers = [&net.embed, &net.stem, &net.body, &net.head];
    let y = layers.into_iter().fold(x, |x, layer| layer.forward(&x).unwrap());
    y.sqr().unwrap().mean_all().unwrap()
}

const FROZEN: LeafState = LeafState::Frozen;
const TRAINED: LeafState = LeafState::TRAINED;
const HALF: LeafState = LeafState::Trained { lr_scale: 0.5 };

#[test]
fn training_begins_as_declared() {
    let net = net();
    assert_eq!(net.plan().states(), [TRAINED, FROZEN, HALF, TRAINED]);
    assert_eq!(net.base(), net.plan());
    assert!(!net.stem.weight().is_variable() && net.whole().stem.weight().is_variable());
    let before = bits(net.whole());
    let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default()).unwrap();
    opt.backward_step(&loss(&net)).unwrap();
    let moved: Vec<bool> = before.iter().zip(bits(net.whole())).map(|(a, b)| *a != b).collect();
    assert_eq!(moved, [true, true, false, false, true, true, true, true]);
    let text = net.summary().unwrap().to_string();
    for words in ["trained, always", "frozen", "trained, lr x 0.5"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert_eq!(text, net.whole().summary().unwrap().to_string());
}

#[test]
fn no_schedule_freezes_what_always_trains() {
    let mut net = net();
    let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default()).unwrap();
    let mut hook = LayerFreezing::new(0.0, 1.0).unwrap();
    let report = hook.epoch_end(&mut net, &mut [&mut opt], Elapsed::new(2, 2)).unwrap();
    assert_eq!(report.depth(), 3);
    assert_eq!(net.plan().states(), [TRAINED, FROZEN, FROZEN, TRAINED]);
    // Also not after the plan has been saved, sent and taken up again.
    let json = serde_json::to_string(net.base()).unwrap();
    let saved: FreezePlan = serde_json::from_str(&json).unwrap();
    net.apply(&saved, &mut [&mut opt]).unwrap();
    hook.epoch_end(&mut net, &mut [&mut opt], Elapsed::new(2, 2)).unwrap();
    assert_eq!(net.plan().states(), [TRAINED, FROZEN, FROZEN, TRAINED]);
}

/// Freezes all that there is, by name.
struct All;

impl Policy for All {
    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let mut plan = base.clone();
        plan.freeze("**")?;
        Ok(Decision::new(plan))
    }

    fn describe(&self) -> String {
        "all".into()
    }
}

#[test]
fn not_even_a_schedule_that_names_it_freezes_what_always_trains() {
    let mut net = net();
    let mut hook = LayerFreezing::with_policy(All);
    hook.epoch_end(&mut net, &mut [], Elapsed::new(1, 2)).unwrap();
    assert_eq!(net.plan().states(), [TRAINED, FROZEN, FROZEN, FROZEN]);
    // What the user freezes by hand is frozen.
    let mut plan = net.base().clone();
    plan.freeze("embed").unwrap();
    net.apply(&plan, &mut []).unwrap();
    hook.epoch_end(&mut net, &mut [], Elapsed::new(2, 2)).unwrap();
    // Then the last leaf has to train.
    assert_eq!(net.plan().states(), [FROZEN, FROZEN, FROZEN, TRAINED]);
}

#[test]
fn a_resumed_run_begins_as_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.safetensors");
    let mut run = net();
    let mut plan = run.base().clone();
    plan.train("stem", 0.25).unwrap();
    run.apply(&plan, &mut []).unwrap();
    Checkpoint::of(&mut run).progress(Elapsed::new(1, 2)).save(&path).unwrap();
    let mut later = net();
    Checkpoint::of(&mut later).resume(&path).unwrap();
    assert_eq!((later.plan(), later.base()), (run.plan(), run.base()));
    later.refine(&FreezePlan::front_frozen(later.whole(), 4).unwrap(), &mut []).unwrap();
    assert_eq!(later.plan().states(), [TRAINED, FROZEN, FROZEN, FROZEN]);
}

/// `Net` before its attribute.
#[derive(Freezable)]
struct Undeclared {
    embed: Linear,
    stem: Linear,
    body: Linear,
    head: Linear,
}

#[test]
fn what_is_always_trained_is_the_models_to_say() {
    let net_before =
        Undeclared { embed: linear(1), stem: linear(2), body: linear(3), head: linear(4) };
    let mut before = Freezer::new(net_before).unwrap();
    let plan = before.plan().clone();
    assert!(!plan.is_always(0));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.safetensors");
    Checkpoint::of(&mut before).progress(Elapsed::new(1, 2)).save(&path).unwrap();
    let (mut applied, mut resumed) = (net(), net());
    applied.apply(&plan, &mut []).unwrap();
    Checkpoint::of(&mut resumed).resume(&path).unwrap();
    for net in [&mut applied, &mut resumed] {
        assert!(net.plan().is_always(0) && net.base().is_always(0));
        let mut hook = LayerFreezing::new(0.0, 1.0).unwrap();
        hook.epoch_end(net, &mut [], Elapsed::new(1, 1)).unwrap();
        assert_eq!(net.plan().states(), [TRAINED, FROZEN, FROZEN, TRAINED]);
    }
}

#[test]
fn what_is_said_by_hand_goes_on_top() {
    let mut net = net();
    let opts: &mut [&mut dyn PlanOptimizer] = &mut [];
    net.freeze_front(4, opts).unwrap();
    assert_eq!(net.plan().states(), [TRAINED, FROZEN, FROZEN, FROZEN]);
    net.freeze_front(0, opts).unwrap();
    assert_eq!(net.plan().states(), [TRAINED, FROZEN, HALF, TRAINED]);
    net.thaw(opts).unwrap();
    assert_eq!(net.plan().states(), [TRAINED, TRAINED, HALF, TRAINED]);
    let mut plan = FreezePlan::declared(net.whole()).unwrap();
    plan.freeze("embed").unwrap().train("stem", 2.0).unwrap();
    net.apply(&plan, opts).unwrap();
    let twice = LeafState::Trained { lr_scale: 2.0 };
    assert_eq!(net.plan().states(), [FROZEN, twice, HALF, TRAINED]);
}

#[derive(Freezable)]
struct Decays {
    first: Linear,
    #[freeze(no_decay)]
    second: Linear,
    tied: Linear,
}

#[derive(Freezable)]
#[freeze(unit)]
struct Block {
    #[freeze(no_decay)]
    inner: Linear,
    outer: Linear,
}

#[derive(Freezable)]
struct Spared {
    #[freeze(no_decay)]
    all: Linear,
    some: Block,
    none: Linear,
}

#[test]
fn a_summary_names_the_parameters_that_are_spared_unless_all_of_a_leaf_are() {
    let some = Block { inner: linear(2), outer: linear(2) };
    let net = Spared { all: linear(2), some, none: linear(2) };
    let text = net.summary().unwrap().to_string();
    for (leaf, said) in [
        ("all", Some("no decay")),
        ("some", Some("no decay of inner.weight, inner.bias")),
        ("none", None),
    ] {
        let row = text.lines().find(|line| line.contains(&format!(" {leaf} "))).unwrap();
        let found = row.find("no decay").map(|at| row[at..].trim());
        assert_eq!(found, said, "{row}");
    }
}

#[test]
fn what_is_spared_does_not_decay_unless_a_group_says_so() {
    let second = linear(2);
    let net = Freezer::new(Decays { first: linear(1), tied: second.clone(), second }).unwrap();
    assert!(net.summary().unwrap().to_string().contains("trained, no decay"));
    let config = ParamsAdamW { lr: 0.1, weight_decay: 0.5, ..ParamsAdamW::default() };
    let start: Vec<Tensor> = net.vars().iter().map(|var| var.as_tensor().copy().unwrap()).collect();
    let step = |optimizer: &mut AdamW| {
        for (var, start) in net.vars().iter().zip(&start) {
            var.set(start).unwrap();
        }
        let x = Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap();
        let y = net.second.forward(&net.first.forward(&x).unwrap()).unwrap();
        optimizer.backward_step(&y.sum_all().unwrap()).unwrap();
        bits(net.whole())
    };
    let without = ParamsAdamW { weight_decay: 0.0, ..config.clone() };
    let none = step(&mut AdamW::with_names(net.planned_vars(), without).unwrap());
    let pairs = net.named_vars();
    let all = step(&mut AdamW::with_names(pairs.clone(), config.clone()).unwrap());
    let spared = step(&mut AdamW::with_names(net.planned_vars(), config.clone()).unwrap());
    assert_ne!(none[2], all[2], "the decay shows");
    assert_eq!((&spared[..2], &spared[2..4]), (&all[..2], &none[2..4]));
    // Learnt with a plan as well.
    let mut late = AdamW::new(net.vars(), config.clone()).unwrap();
    late.prepare_plan(&net.planned_vars()).unwrap().commit();
    assert_eq!(step(&mut late), spared);
    let mut grouped = AdamW::with_names(net.planned_vars(), config).unwrap();
    grouped.set_groups(ParamGroups::new().weight_decay("second", 0.5).unwrap()).unwrap();
    assert_eq!(step(&mut grouped)[2..4], all[2..4]);
}

#[test]
fn an_optimizer_that_cannot_spare_a_variable_says_so() {
    let net =
        Freezer::new(Decays { first: linear(1), second: linear(2), tied: linear(3) }).unwrap();
    let config = ParamsAdamW::default();
    let error =
        PerParam::<candle_nn::AdamW>::with_names(net.planned_vars(), config.clone()).unwrap_err();
    assert!(error.to_string().contains("second.weight"), "{error}");
    let mut late = PerParam::<candle_nn::AdamW>::new(net.vars(), config).unwrap();
    assert!(late.prepare_plan(&net.planned_vars()).is_err());
    assert!(PerParam::<SGD>::with_names(net.planned_vars(), 0.1).is_ok());
}
