//! The table of bad inputs in docs/RELIABILITY.md: each of its rows is what the library really says.

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW as CandleAdamW, Linear, Module, Optimizer, ParamsAdamW, VarMap, linear};
use freeze_core::checkpoint::{Checkpoint, Goal, Manager, Weights, load_weights};
use freeze_core::nn::Dropout;
use freeze_core::optim::{AdamW, GradClip, Momentum, ParamGroups, ParamsSgd, PerParam, Sgd, lr};
use freeze_core::{
    Elapsed, Freezable, FreezePlan, Freezer, LayerFreezing, LeafState, PlanOptimizer, Result,
    freeze_layers,
};

use crate::doc;

#[derive(Freezable)]
struct Net {
    body: Vec<Linear>,
    head: Linear,
}

impl Net {
    fn new(depth: usize) -> Result<Self> {
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

fn net() -> Result<Freezer<Net>> {
    Freezer::new(Net::new(2)?)
}

fn adamw(net: &Freezer<Net>) -> Result<AdamW> {
    Ok(AdamW::new(net.vars(), ParamsAdamW::default())?)
}

fn loss(net: &Net) -> Result<Tensor> {
    Ok(net.head.forward(&Tensor::ones((1, 2), DType::F32, &Device::Cpu)?)?.sqr()?.sum_all()?)
}

type Row = (&'static str, Box<dyn Fn() -> Result<()>>);

fn row<T>(what: &'static str, act: impl Fn() -> Result<T> + 'static) -> Row {
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
        row("`freeze_upto(4)` of 3 leaves", || net()?.freeze_upto(4, &mut []).map(drop)),
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
            net()?.freeze_upto(1, &mut [&mut adamw(&net()?)?]).map(drop)
        }),
        row("two optimizers that own the same variables", || {
            let mut net = net()?;
            let (mut one, mut two) = (adamw(&net)?, adamw(&net)?);
            net.freeze_upto(1, &mut [&mut one, &mut two]).map(drop)
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
        row("an input of another shape", || {
            let xs = Tensor::ones((1, 3), DType::F32, &Device::Cpu)?;
            Ok(net()?.head.forward(&xs).map(drop)?)
        }),
    ]
}

fn empty() -> Vec<Row> {
    vec![
        row("`freeze_upto(1)` of a model without leaves", || {
            Freezer::new(Empty { body: vec![] })?.freeze_upto(1, &mut []).map(drop)
        }),
        row("an optimizer without variables, at a step", || {
            let params = ParamsAdamW::default();
            Ok(AdamW::new(vec![], params)?.backward_step(&loss(&*net()?)?)?)
        }),
        row("an optimizer without variables, under a plan", || {
            let mut opt = AdamW::new(vec![], ParamsAdamW::default())?;
            net()?.freeze_upto(1, &mut [&mut opt]).map(drop)
        }),
    ]
}

fn files() -> Vec<Row> {
    let file = |text: &'static [u8]| {
        move || {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("a file");
            let result = load_weights(file.path()).map(drop);
            result.map_err(|error| named(error, file.path()))
        }
    };
    vec![
        row("`resume` of a file that is not there", || {
            Checkpoint::of(&mut net()?).resume("none.safetensors")
        }),
        row("`save` to a folder that is not there", || {
            Checkpoint::of(&mut net()?).save("none/run.safetensors")
        }),
        row("`load_weights` of an empty file", file(b"")),
        row("`load_weights` of text", file(b"this is no safetensors file at all")),
        row("`save` with an optimizer that hides its state", || {
            let mut net = net()?;
            let params = ParamsAdamW::default();
            let mut opt = PerParam::<CandleAdamW>::new(net.vars(), params)?;
            Checkpoint::of(&mut net).optimizer(&mut opt).save("none.safetensors")
        }),
        row("`save_state` of an optimizer without names", || {
            adamw(&net()?)?.save_state().map(drop)
        }),
        row("`names_from` of another model's map", || {
            Weights::of(&Net::new(0)?)?.names_from(&VarMap::new()).map(drop)
        }),
    ]
}

fn managers() -> Vec<Row> {
    // In a folder of its own, which the error may name.
    let managed = |act: fn(Manager, &mut Freezer<Net>) -> Result<()>| {
        move || {
            let dir = tempfile::tempdir().expect("a folder");
            let error = |error: freeze_core::Error| match error {
                freeze_core::Error::Unsaved { what, why } => {
                    let folder = dir.path().display().to_string();
                    let [what, why] = [what, why].map(|text| text.replace(&folder, "FOLDER"));
                    freeze_core::Error::Unsaved { what, why }
                }
                error => error,
            };
            act(Manager::new(dir.path())?, &mut net()?).map_err(error)
        }
    };
    vec![
        row("`manager.keep_last(0)`", managed(|manager, _| manager.keep_last(0).map(drop))),
        row(
            "`manager.save_every_epochs(0)`",
            managed(|manager, _| manager.save_every_epochs(0).map(drop)),
        ),
        row(
            "`manager.save_every_steps(0)`",
            managed(|manager, _| manager.save_every_steps(0).map(drop)),
        ),
        row(
            "`manager.save` without a progress",
            managed(|manager, net| manager.save(Checkpoint::of(net)).map(drop)),
        ),
        row(
            "`save_if_due` by steps of a progress without steps",
            managed(|manager, net| {
                let run = Checkpoint::of(net).progress(Elapsed::new(1, 9));
                manager.save_every_steps(5)?.save_if_due(run).map(drop)
            }),
        ),
        row(
            "`manager.save` without a history for `keep_best`",
            managed(|manager, net| {
                let manager = manager.keep_best("accuracy", Goal::Highest);
                manager.save(Checkpoint::of(net).progress(Elapsed::new(1, 9))).map(drop)
            }),
        ),
        row(
            "`manager.save` of an epoch before the last one",
            managed(|manager, net| {
                manager.save(Checkpoint::of(net).progress(Elapsed::new(2, 9)))?;
                manager.save(Checkpoint::of(net).progress(Elapsed::new(1, 9))).map(drop)
            }),
        ),
        row(
            "`manager.save` where another run has got further",
            managed(|manager, net| {
                let first = manager.save(Checkpoint::of(net).progress(Elapsed::new(2, 9)))?;
                let other = Manager::new(first.parent().expect("a folder"))?;
                other.save(Checkpoint::of(net).progress(Elapsed::new(1, 9))).map(drop)
            }),
        ),
        row(
            "`save_delta` in the place of its base",
            managed(|manager, net| {
                let base = manager.save(Checkpoint::of(net).progress(Elapsed::new(2, 9)))?;
                Checkpoint::of(net).save_delta(&base, &base)
            }),
        ),
    ]
}

/// The same error about a file of a fixed name.
fn named(error: freeze_core::Error, path: &std::path::Path) -> freeze_core::Error {
    match error {
        freeze_core::Error::Damaged { path: at, why } if at == path.display().to_string() => {
            freeze_core::Error::Damaged { path: "FILE".into(), why }
        }
        error => error,
    }
}

#[test]
fn the_documented_errors_are_the_errors() {
    let mut table = String::from("| input | error |\n|---|---|\n");
    let rows = [numbers(), patterns(), strangers(), empty(), files(), managers()];
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
    net.freeze_upto(0, &mut [])?;
    LayerFreezing::new(0.0, 1.0)?.epoch_end(&mut net, &mut [], Elapsed::new(1, 1))?;
    Checkpoint::of(&mut net).progress(Elapsed::new(1, 1)).save(&path)?;
    assert_eq!(Checkpoint::of(&mut net).resume(&path)?.progress, Elapsed::new(1, 1));
    assert!(net.vars().is_empty());
    Ok(())
}
