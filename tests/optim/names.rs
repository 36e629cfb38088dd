//! Names, leaves and the plan are there from the start, and saving changes nothing.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{AdamW, ParamGroups, ParamsSgd, PerParam, Sgd};
use freeze_core::{Freezable, Freezer, PlanOptimizer, PlannedVar, Result};

use super::{CPU, bits, store};

#[derive(Freezable)]
struct Net {
    #[freeze(unit)]
    block: Block,
    #[freeze(param)]
    body: Tensor,
    #[freeze(param)]
    head: Tensor,
}

#[derive(Freezable)]
struct Block {
    #[freeze(param)]
    scale: Tensor,
    #[freeze(param)]
    shift: Tensor,
}

fn net() -> Result<Freezer<Net>> {
    let one = || Ok::<_, candle_core::Error>(Var::ones(1, DType::F32, &CPU)?.into_inner());
    let block = Block { scale: one()?, shift: one()? };
    Freezer::new(Net { block, body: one()?, head: one()? })
}

/// The body frozen, the head at a half of the rate.
fn under_a_plan() -> Result<Freezer<Net>> {
    let mut net = net()?;
    let mut plan = net.plan().clone();
    plan.freeze("body")?.train("head", 0.5)?;
    net.apply(&plan, &mut [])?;
    Ok(net)
}

/// How far a step along a gradient of 1 moves each parameter.
fn moves(net: &Freezer<Net>, opt: &mut impl Optimizer) -> Result<Vec<f32>> {
    let vars = net.vars();
    let before: Vec<f32> = numbers(&vars)?;
    let ones = vars.iter().map(|var| Ok((var, var.ones_like()?)));
    opt.step(&store(ones.collect::<candle_core::Result<Vec<_>>>()?))?;
    Ok(before.iter().zip(numbers(&vars)?).map(|(before, after)| before - after).collect())
}

fn numbers(vars: &[Var]) -> Result<Vec<f32>> {
    Ok(vars.iter().map(|var| var.get(0)?.to_scalar()).collect::<candle_core::Result<_>>()?)
}

const UNDER_THE_PLAN: [f32; 4] = [0.5, 0.5, 0.0, 0.25];

fn sgd() -> ParamsSgd {
    ParamsSgd { lr: 0.5, ..ParamsSgd::default() }
}

#[test]
fn an_optimizer_built_from_a_freezer_starts_under_its_plan() -> Result<()> {
    let net = under_a_plan()?;
    let mut ours = Sgd::with_names(net.planned_vars(), sgd())?;
    assert_eq!(ours.trained_vars().len(), 3);
    assert_eq!(moves(&net, &mut ours)?, UNDER_THE_PLAN);

    let net = under_a_plan()?;
    let mut theirs = PerParam::<candle_nn::SGD>::with_names(net.planned_vars(), 0.5)?;
    assert_eq!(theirs.trained_vars(), 3);
    assert_eq!(moves(&net, &mut theirs)?, UNDER_THE_PLAN);
    // The shares hold when the rate changes, and thawing brings back what was frozen at the start.
    let mut net = net;
    theirs.set_learning_rate(0.25);
    assert_eq!(moves(&net, &mut theirs)?, UNDER_THE_PLAN.map(|moved| moved / 2.0));
    net.thaw(&mut [&mut theirs])?;
    assert_eq!(moves(&net, &mut theirs)?, [0.25; 4]);
    Ok(())
}

#[test]
fn groups_find_leaves_and_names_before_any_plan_and_after() -> Result<()> {
    let new = ParamGroups::new;
    for (groups, expected) in [
        (new(), [0.5, 0.5, 0.0, 0.25]),
        // The path of a unit is that of its parameters' leaf.
        (new().lr_scale("block", 2.0)?, [1.0, 1.0, 0.0, 0.25]),
        (new().lr_scale("block.shift", 2.0)?, [0.5, 1.0, 0.0, 0.25]),
        (new().lr_scale("**", 2.0)?, [1.0, 1.0, 0.0, 0.5]),
    ] {
        let mut net = under_a_plan()?;
        let mut opt = Sgd::with_names(net.planned_vars(), sgd())?;
        opt.set_groups(groups.clone())?;
        assert_eq!(moves(&net, &mut opt)?, expected, "{groups:?}");
        let plan = net.plan().clone();
        net.apply(&plan, &mut [&mut opt])?;
        assert_eq!(moves(&net, &mut opt)?, expected, "{groups:?} after a plan");
    }
    Ok(())
}

#[test]
fn names_that_were_given_outlive_plans() -> Result<()> {
    let mut net = net()?;
    let mine = ["my.scale", "my.shift", "my.body", "other.head"];
    let mut opt = Sgd::with_names(mine.into_iter().zip(net.vars()), sgd())?;
    net.freeze_front(1, &mut [&mut opt])?;
    opt.set_groups(ParamGroups::new().lr_scale("my", 2.0)?)?;
    assert!(opt.set_groups(ParamGroups::new().lr_scale("head", 2.0)?).is_err());
    net.thaw(&mut [&mut opt])?;
    assert_eq!(moves(&net, &mut opt)?, [1.0, 1.0, 1.0, 0.5]);
    let saved: Vec<String> = opt.save_state()?.steps.into_keys().collect();
    assert_eq!(saved, ["my.body", "my.scale", "my.shift", "other.head"]);
    Ok(())
}

#[test]
fn saving_a_checkpoint_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.safetensors");
    let mut net = under_a_plan()?;
    let mut opt = AdamW::new(net.vars(), ParamsAdamW { lr: 0.5, ..Default::default() })?;
    let twin = under_a_plan()?;
    let mut unsaved = AdamW::new(twin.vars(), ParamsAdamW { lr: 0.5, ..Default::default() })?;
    for _ in 0..2 {
        Checkpoint::of(&mut net).optimizer(&mut opt).save(&path)?;
        assert_eq!(moves(&net, &mut opt)?, moves(&twin, &mut unsaved)?);
        assert!(opt.save_state().unwrap_err().to_string().contains("without a name"));
    }
    // What was saved can be resumed all the same, by one that was built in any way.
    let fresh = |net: &Freezer<Net>, named: bool| match named {
        true => AdamW::with_names(net.planned_vars(), ParamsAdamW::default()),
        false => Ok(AdamW::new(net.vars(), ParamsAdamW::default())?),
    };
    Checkpoint::of(&mut net).optimizer(&mut opt).save(&path)?;
    for named in [true, false] {
        let mut later = self::net()?;
        let mut resumed = fresh(&later, named)?;
        Checkpoint::of(&mut later).optimizer(&mut resumed).resume(&path)?;
        assert_eq!(resumed.learning_rate(), 0.5);
        assert_eq!(resumed.updates(&later.vars()[0]), Some(2));
        assert_eq!(later.plan(), net.plan());
    }
    Ok(())
}

#[test]
fn variables_of_two_models_are_told_apart_or_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.safetensors");
    let (mut one, other) = (net()?, net()?);
    let both = || one.planned_vars().into_iter().chain(other.planned_vars());
    let error = Sgd::with_names(both(), sgd()).unwrap_err().to_string();
    assert!(error.contains("`block.scale` as planned: the name occurs twice"), "{error}");

    let vars = both().map(|planned| planned.var).collect();
    let mut unnamed = AdamW::new(vars, ParamsAdamW::default())?;
    let error = Checkpoint::of(&mut one).optimizer(&mut unnamed).save(&path).unwrap_err();
    assert!(error.to_string().contains("without a name"), "half of them: {error}");
    let (planned, others) = (one.planned_vars(), other.planned_vars());
    for vars in [&planned, &others] {
        unnamed.prepare_plan(vars)?.commit();
    }
    for error in [
        Checkpoint::of(&mut one).optimizer(&mut unnamed).save(&path).unwrap_err(),
        unnamed.save_state().unwrap_err(),
        unnamed.state_tensors().unwrap_err(),
    ] {
        let said = error.to_string();
        assert!(said.contains("are named `block.scale`") && said.contains("within"), "{said}");
    }
    assert!(!path.exists());

    let apart = planned.into_iter().map(|var| var.within("one"));
    let apart: Vec<PlannedVar> = apart.chain(others.into_iter().map(|v| v.within("two"))).collect();
    let mut opt = AdamW::with_names(apart.clone(), ParamsAdamW::default())?;
    opt.set_groups(ParamGroups::new().lr_scale("two.block", 0.0)?)?;
    let ones = apart.iter().map(|planned| Ok((&planned.var, planned.var.ones_like()?)));
    opt.step(&store(ones.collect::<Result<Vec<_>>>()?))?;
    assert_eq!(numbers(&other.vars())?[..2], [1.0; 2]);
    Checkpoint::of(&mut one).optimizer(&mut opt).save(&path)?;
    let mut again = AdamW::with_names(apart, ParamsAdamW::default())?;
    Checkpoint::of(&mut one).optimizer(&mut again).resume(&path)?;
    let (saved, resumed) = (opt.state_tensors()?, again.state_tensors()?);
    assert_eq!(saved.len(), 3 * 8);
    for (name, tensor) in saved.iter().filter(|(name, _)| !name.starts_with("step")) {
        assert_eq!(bits(tensor)?, bits(&resumed[name])?, "{name}");
    }
    Ok(())
}

#[test]
fn a_prefix_stands_before_names_and_paths_with_a_dot_between() -> Result<()> {
    let var = Var::ones(1, DType::F32, &CPU)?;
    for (name, prefix, expected) in [
        ("head.weight", "teacher", ("teacher.head.weight", "teacher.head")),
        ("weight", "teacher", ("teacher.weight", "teacher")),
        ("head.weight", "", ("head.weight", "head")),
        ("weight", "", ("weight", "")),
    ] {
        let within = PlannedVar::from((name, var.clone())).within(prefix);
        assert_eq!((&*within.name, &*within.leaf), expected, "`{name}` within `{prefix}`");
    }
    Ok(())
}

#[test]
fn one_variable_given_twice_is_one() -> Result<()> {
    let var = Var::ones(1, DType::F32, &CPU)?;
    let twice = || [("a", var.clone()), ("b", var.clone())];
    let gradient = || Ok::<_, candle_core::Error>(store([(&var, var.ones_like()?)]));
    let mut ours = Sgd::with_names(twice(), sgd())?;
    ours.step(&gradient()?)?;
    assert_eq!(var.to_vec1::<f32>()?, [0.5]);
    let mut theirs = PerParam::<candle_nn::SGD>::with_names(twice(), 0.25)?;
    theirs.step(&gradient()?)?;
    assert_eq!(var.to_vec1::<f32>()?, [0.25]);
    let mut unnamed = PerParam::<candle_nn::SGD>::new(vec![var.clone(), var.clone()], 0.25)?;
    unnamed.step(&gradient()?)?;
    assert_eq!(var.to_vec1::<f32>()?, [0.0]);
    Ok(())
}
