//! The table of bad inputs in docs/RELIABILITY.md: each of its rows is what the library really says.

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW as CandleAdamW, Linear, Module, Optimizer, ParamsAdamW, VarMap, linear};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::nn::Dropout;
use freeze_core::optim::{AdamW, GradClip, Momentum, ParamGroups, ParamsSgd, PerParam, Sgd, lr};
use freeze_core::{
    Elapsed, Freezable, FreezePlan, Freezer, LayerFreezing, LeafState, Result, freeze_layers,
};

use crate::{bad_files, doc};

#[derive(Freezable)]
pub struct Net {
    body: Vec<Linear>,
    head: Linear,
}

impl Net {
    pub fn new(depth: usize) -> Result<Self> {
        let map = VarMap::new();
        let vb = candle_nn::VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let body = (0..depth).map(|i| linear(2, 2, vb.pp(format!("body.{i}"))));
        let body = body.collect::<candle_core::Result<_>>()?;
        Ok(Self { body, head: linear(2, 2, vb.pp("head"))? })
    }
}

#[derive(Freezable)]
struct Empty {
    body: Vec<Linear>,
}

pub fn net() -> Result<Freezer<Net>> {
    Freezer::new(Net::new(2)?)
}

pub fn adamw(net: &Freezer<Net>) -> Result<AdamW> {
    Ok(AdamW::new(net.vars(), ParamsAdamW::default())?)
}

fn loss(net: &Net) -> Result<Tensor> {
    Ok(net.head.forward(&Tensor::ones((1, 2), DType::F32, &Device::Cpu)?)?.sqr()?.sum_all()?)
}

pub type Row = (&'static str, Box<dyn Fn() -> Result<()>>);

pub fn row<T>(what: &'static str, act: impl Fn() -> Result<T> + 'static) -> Row {
    (what, Box::new(move || act().map(drop)))
}

fn numbers() -> Vec<Row> {
    let sgd = |lr: f64, factor: f64| {
        move || -> Result<Sgd> {
            let momentum = Momentum::Heavy(factor);
            Ok(Sgd::new(net()?.vars(), ParamsSgd { lr, momentum, ..Default::default() })?)
        }
    };
    vec![
        row("`LayerFreezing::new(1.0, 0.5)`", || LayerFreezing::new(1.0, 0.5)),
        row("`LayerFreezing::new(NaN, 0.5)`", || LayerFreezing::new(f64::NAN, 0.5)),
        row("`LayerFreezing::new(0.5, -0.1)`", || LayerFreezing::new(0.5, -0.1)),
        row("`every_steps(0)`", || LayerFreezing::new(0.5, 1.0)?.every_steps(0)),
        row("`freeze_layers` at duration 1.5", || {
            freeze_layers(&mut net()?, &mut [], 1.5, 0.0, 1.0)
        }),
        row("`Elapsed::new(9, 8)`", || Elapsed::new(9, 8).fraction()),
        row("`Elapsed::new(0, 0)`", || Elapsed::new(0, 0).fraction()),
        row("`plan.train(\"head\", -1.0)`", || {
            FreezePlan::all_trained(&Net::new(2)?)?.train("head", -1.0).map(drop)
        }),
        row("`plan.train(\"head\", inf)`", || {
            FreezePlan::all_trained(&Net::new(2)?)?.train("head", f64::INFINITY).map(drop)
        }),
        row("`Sgd` at learning rate NaN", sgd(f64::NAN, 0.0)),
        row("`Sgd` at learning rate -0.1", sgd(-0.1, 0.0)),
        row("`Sgd` with momentum 1.0", sgd(0.1, 1.0)),
        row("`AdamW` with beta1 = 1.0", || {
            Ok(AdamW::new(net()?.vars(), ParamsAdamW { beta1: 1.0, ..Default::default() })?)
        }),
        row("`set_clip(GradClip::Norm(0.0))`", || adamw(&net()?)?.set_clip(GradClip::Norm(0.0))),
        row("`ParamGroups::lr_scale(\"**\", NaN)`", || ParamGroups::new().lr_scale("**", f64::NAN)),
        row("`lr::warmup(2.0, ..)`", || lr::warmup(2.0, lr::constant()).map(drop)),
        row("`Dropout::new(1.0, 0)`", || Dropout::new(1.0, 0)),
    ]
}

fn patterns() -> Vec<Row> {
    vec![
        row("`freeze_front(4)` of 3 leaves", || net()?.freeze_front(4, &mut []).map(drop)),
        row("`plan.freeze(\"hed\")`", || {
            FreezePlan::all_trained(&Net::new(2)?)?.freeze("hed").map(drop)
        }),
        row("`plan.freeze(\"body\")`", || {
            FreezePlan::all_trained(&Net::new(2)?)?.freeze("body").map(drop)
        }),
        row("`plan.freeze(\"[\")`", || {
            FreezePlan::all_trained(&Net::new(2)?)?.freeze("[").map(drop)
        }),
        row("`plan.freeze(\"\")`", || FreezePlan::all_trained(&Net::new(2)?)?.freeze("").map(drop)),
        row("`plan.set(3, ..)` of 3 leaves", || {
            FreezePlan::all_trained(&Net::new(2)?)?.set(3, LeafState::Frozen).map(drop)
        }),
        row("`plan.set_path(\"body.2\", ..)`", || {
            let mut plan = FreezePlan::all_trained(&Net::new(2)?)?;
            plan.set_path("body.2", LeafState::Frozen).map(drop)
        }),
        row("`leaf_before(\"boddy\")`", || Net::new(2)?.leaf_before("boddy")),
        row("`set_groups` with a pattern that matches nothing", || {
            let net = net()?;
            let mut opt = AdamW::with_names(net.named_vars(), ParamsAdamW::default())?;
            opt.set_groups(ParamGroups::new().lr_scale("tail.*", 0.1)?)
        }),
    ]
}

fn strangers() -> Vec<Row> {
    vec![
        row("a plan of a deeper model", || {
            net()?.apply(&FreezePlan::all_trained(&Net::new(3)?)?, &mut []).map(drop)
        }),
        row("a plan of another model", || {
            net()?.apply(&FreezePlan::all_trained(&Empty { body: vec![] })?, &mut []).map(drop)
        }),
        row("an optimizer of another model", || {
            net()?.freeze_front(1, &mut [&mut adamw(&net()?)?]).map(drop)
        }),
        row("two optimizers that own the same variables", || {
            let mut net = net()?;
            let (mut one, mut two) = (adamw(&net)?, adamw(&net)?);
            net.freeze_front(1, &mut [&mut one, &mut two]).map(drop)
        }),
        row("candle's `SGD` under a plan with rates", || {
            let mut net = net()?;
            let mut plan = net.plan().clone();
            plan.train("head", 0.5)?;
            net.apply(&plan, &mut [&mut candle_nn::SGD::new(net.vars(), 0.1)?]).map(drop)
        }),
        row("`AdamW` with gradients of another model", || {
            Ok(adamw(&net()?)?.backward_step(&loss(&*net()?)?)?)
        }),
        row("`PerParam<AdamW>` with gradients of another model", || {
            let params = ParamsAdamW::default();
            let mut opt = PerParam::<CandleAdamW>::new(net()?.vars(), params)?;
            Ok(opt.backward_step(&loss(&*net()?)?)?)
        }),
        row("a loss of NaN", || {
            let net = net()?;
            Ok(adamw(&net)?.backward_step(&(loss(&net)? * f64::NAN)?)?)
        }),
        row("a loss for a second `backward_once`", || {
            let weight = net()?.head.weight().clone();
            let loss = freeze_core::nn::ops::mul(&weight, &weight)?.sum_all()?;
            freeze_core::backward_once(&loss)?;
            Ok(freeze_core::backward_once(&loss).map(drop)?)
        }),
        row("an input of another shape", || {
            let xs = Tensor::ones((1, 3), DType::F32, &Device::Cpu)?;
            Ok(net()?.head.forward(&xs).map(drop)?)
        }),
    ]
}

fn empty() -> Vec<Row> {
    vec![
        row("`freeze_front(1)` of a model without leaves", || {
            Freezer::new(Empty { body: vec![] })?.freeze_front(1, &mut []).map(drop)
        }),
        row("an optimizer without variables, at a step", || {
            let params = ParamsAdamW::default();
            Ok(AdamW::new(vec![], params)?.backward_step(&loss(&*net()?)?)?)
        }),
        row("an optimizer without variables, under a plan", || {
            let mut opt = AdamW::new(vec![], ParamsAdamW::default())?;
            net()?.freeze_front(1, &mut [&mut opt]).map(drop)
        }),
    ]
}

#[test]
fn the_documented_errors_are_the_errors() {
    let mut table = String::from("| input | error |\n|---|---|\n");
    let rows =
        [numbers(), patterns(), strangers(), empty(), bad_files::files(), bad_files::managers()];
    for (what, act) in rows.into_iter().flatten() {
        let error = match act() {
            Ok(()) => panic!("{what} is accepted"),
            Err(error) => error.to_string(),
        };
        // candle's own errors have a backtrace behind the first line.
        let line = error.lines().next().unwrap_or_default().replace('|', "\\|");
        table.push_str(&format!("| {what} | {line} |\n"));
    }
    doc::has("bad inputs", &table);
}

/// What is not an error: a model without leaves or variables can be held, saved and resumed.
#[test]
fn an_empty_model_is_no_error() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("empty.safetensors");
    let mut net = Freezer::new(Empty { body: vec![] })?;
    net.freeze_front(0, &mut [])?;
    LayerFreezing::new(0.0, 1.0)?.epoch_end(&mut net, &mut [], Elapsed::new(1, 1))?;
    Checkpoint::of(&mut net).progress(Elapsed::new(1, 1)).save(&path)?;
    assert_eq!(Checkpoint::of(&mut net).resume(&path)?.progress, Elapsed::new(1, 1));
    assert!(net.vars().is_empty());
    Ok(())
}
