//! Parameter groups by name.

use candle_core::{DType, Tensor, Var};
use candle_nn::{LayerNorm, Linear, Optimizer};
use freeze_core::optim::{ParamGroups, ParamsSgd, Sgd};
use freeze_core::{Error, Freezable, Freezer, PlannedVar, Result};

use super::{CPU, store};

const NAMES: [(&str, &[usize]); 5] = [
    ("blocks.1.fc.weight", &[2, 2]),
    ("blocks.1.fc.bias", &[2]),
    ("blocks.10.fc.weight", &[2, 2]),
    ("norm.weight", &[2]),
    ("head.weight", &[2, 2]),
];

/// How far one step of one tenth moves each parameter from 1 along a gradient of 1, in tenths: the
/// share of the learning rate times one plus the weight decay.
fn moved(groups: ParamGroups) -> Result<Vec<f64>> {
    let var = |(name, dims): (&str, &[usize])| -> Result<(String, Var)> {
        Ok((name.to_string(), Var::ones(dims, DType::F64, &CPU)?))
    };
    let named = NAMES.into_iter().map(var).collect::<Result<Vec<_>>>()?;
    let vars: Vec<Var> = named.iter().map(|(_, var)| var.clone()).collect();
    let config = ParamsSgd { lr: 0.1, weight_decay: 1.0, ..ParamsSgd::default() };
    let mut opt = Sgd::with_names(named, config)?;
    opt.set_groups(groups)?;
    let ones = vars.iter().map(|var| Ok((var, var.ones_like()?)));
    let ones = ones.collect::<candle_core::Result<Vec<(&Var, Tensor)>>>()?;
    opt.step(&store(ones))?;
    vars.iter().map(|var| Ok(first_move(var)?)).collect()
}

fn first_move(var: &Var) -> candle_core::Result<f64> {
    let now = var.flatten_all()?.get(0)?.to_scalar::<f64>()?;
    Ok(((1.0 - now) * 1e9).round() / 1e8)
}

#[test]
fn patterns_reach_leaves_and_parameters() -> Result<()> {
    let new = ParamGroups::new;
    for (groups, expected) in [
        (new(), [2.0, 2.0, 2.0, 2.0, 2.0]),
        (new().lr_scale("**", 0.5)?, [1.0, 1.0, 1.0, 1.0, 1.0]),
        (new().lr_scale("blocks.1.**", 0.5)?, [1.0, 1.0, 2.0, 2.0, 2.0]),
        (new().lr_scale("blocks.1.fc", 0.5)?, [1.0, 1.0, 2.0, 2.0, 2.0]),
        (new().lr_scale("blocks.*.fc.weight", 0.5)?, [1.0, 2.0, 1.0, 2.0, 2.0]),
        (new().weight_decay("head", 3.0)?, [2.0, 2.0, 2.0, 2.0, 4.0]),
        (new().no_decay_on_biases_and_norms(), [2.0, 1.0, 2.0, 1.0, 2.0]),
        (
            new().no_decay_on_biases_and_norms().weight_decay("norm", 0.5)?,
            [2.0, 1.0, 2.0, 1.5, 2.0],
        ),
        (new().lr_scale("**", 0.5)?.lr_scale("head", 2.0)?, [1.0, 1.0, 1.0, 1.0, 4.0]),
    ] {
        assert_eq!(moved(groups.clone())?, expected, "{groups:?}");
    }
    Ok(())
}

#[test]
fn a_pattern_without_a_match_is_an_error_with_near_names() -> Result<()> {
    let error = moved(ParamGroups::new().lr_scale("haed", 2.0)?).unwrap_err().to_string();
    assert!(error.contains("`haed`") && error.contains("`head`"), "{error}");
    for wrong in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(ParamGroups::new().lr_scale("head", wrong).is_err());
        assert!(ParamGroups::new().weight_decay("head", wrong).is_err());
    }
    Ok(())
}

#[derive(Freezable)]
struct Net {
    fc: Linear,
    norm: LayerNorm,
}

#[test]
fn a_freezer_hands_over_names_and_types() -> Result<()> {
    let ones = |dims: &[usize]| Ok::<_, Error>(Var::ones(dims, DType::F64, &CPU)?.into_inner());
    let fc = Linear::new(ones(&[2, 2])?, Some(ones(&[2])?));
    let norm = LayerNorm::new_no_bias(ones(&[2, 2])?, 1e-5);
    let mut net = Freezer::new(Net { fc, norm })?;
    let config = ParamsSgd { lr: 0.1, weight_decay: 1.0, ..ParamsSgd::default() };
    let mut opt = Sgd::new(net.vars(), config)?;
    opt.set_groups(ParamGroups::new().no_decay_on_biases_and_norms().lr_scale("fc", 0.5)?)?;
    let vars = net.vars();
    let grads = || {
        let ones = vars.iter().map(|var| Ok((var, var.ones_like()?)));
        Ok::<_, Error>(store(ones.collect::<candle_core::Result<Vec<_>>>()?))
    };
    // The patterns would be passed over in silence before the names are known.
    let error = opt.step(&grads()?).unwrap_err().to_string();
    assert!(error.contains("without a name"), "{error}");
    net.thaw(&mut [&mut opt])?;
    opt.step(&grads()?)?;
    let moves = vars.iter().map(first_move).collect::<candle_core::Result<Vec<_>>>()?;
    assert_eq!(
        moves,
        [1.0, 0.5, 1.0],
        "the norm's weight has two dimensions and is spared by type"
    );

    opt.set_groups(ParamGroups::new().lr_scale("norm", 2.0)?)?;
    let wrong = ParamGroups::new().lr_scale("nrom", 2.0)?;
    assert!(opt.set_groups(wrong).unwrap_err().to_string().contains("`norm`"));
    Ok(())
}

#[test]
fn a_wrong_pattern_stops_the_plan_before_anything_changes() -> Result<()> {
    let mut net = super::plans::net()?;
    let mut opt = Sgd::new(net.vars(), ParamsSgd::default())?;
    opt.set_groups(ParamGroups::new().lr_scale("boddy.0", 2.0)?)?;
    let error = net.freeze_front(1, &mut [&mut opt]).unwrap_err().to_string();
    assert!(error.contains("`body.0`"), "{error}");
    assert_eq!(net.plan().frozen_leaves(), 0);
    assert_eq!(opt.trained_vars().len(), 6);
    Ok(())
}

/// Under each of its names, and of each of its leaves.
#[test]
fn a_tied_parameter_is_found_by_all_its_names() -> Result<()> {
    let tied = Var::ones((2, 2), DType::F64, &CPU)?;
    let bias = Var::ones(2, DType::F64, &CPU)?;
    let [tokens, head] =
        [None, Some(bias.into_inner())].map(|bias| Linear::new(tied.as_tensor().clone(), bias));
    let net = Freezer::new(vec![tokens, head])?;
    let config = ParamsSgd { lr: 0.1, weight_decay: 1.0, ..ParamsSgd::default() };
    for (pattern, expected) in [
        ("0", [4.0, 2.0]),
        ("0.weight", [4.0, 2.0]),
        ("1.weight", [4.0, 2.0]),
        ("1", [4.0, 4.0]),
        ("1.bias", [2.0, 4.0]),
    ] {
        for var in net.vars() {
            var.set(&var.ones_like()?)?;
        }
        let mut opt = Sgd::with_names(net.planned_vars(), config.clone())?;
        opt.set_groups(ParamGroups::new().lr_scale(pattern, 2.0)?)?;
        let ones = net.vars().into_iter().map(|var| Ok((var.clone(), var.ones_like()?)));
        let ones = ones.collect::<candle_core::Result<Vec<(Var, Tensor)>>>()?;
        opt.step(&store(ones.iter().map(|(var, one)| (var, one.clone()))))?;
        let moves = net.vars().iter().map(first_move).collect::<candle_core::Result<Vec<_>>>()?;
        assert_eq!(moves, expected, "{pattern}");
    }
    let inner = PlannedVar::from(("w", net.vars()[0].clone())).within("student");
    assert!(inner.ties.is_empty());
    let outer: Vec<PlannedVar> =
        net.planned_vars().into_iter().map(|var| var.within("student")).collect();
    let mut opt = Sgd::with_names(outer, config)?;
    opt.set_groups(ParamGroups::new().lr_scale("student.1.weight", 2.0)?)?;
    assert!(opt.set_groups(ParamGroups::new().lr_scale("1.weight", 2.0)?).is_err());
    Ok(())
}

/// A leaf that a name alone cannot tell: the groups that were set by the guess hold on under a plan.
#[test]
fn groups_that_were_accepted_are_not_refused_by_a_plan() -> Result<()> {
    #[derive(Freezable)]
    struct Bare {
        #[freeze(param)]
        class: Tensor,
        #[freeze(param)]
        place: Tensor,
    }
    #[derive(Freezable)]
    struct Outer {
        embed: Bare,
        #[freeze(unit)]
        adapter: Vec<Linear>,
    }
    let ones = || Ok::<_, Error>(Var::ones((2, 2), DType::F64, &CPU)?.into_inner());
    let embed = Bare { class: ones()?, place: ones()? };
    let adapter = vec![Linear::new(ones()?, None), Linear::new(ones()?, None)];
    let mut net = Freezer::new(Outer { embed, adapter })?;
    let config = ParamsSgd { lr: 0.1, weight_decay: 1.0, ..ParamsSgd::default() };
    let mut opt = Sgd::with_names(net.named_vars(), config)?;
    opt.set_groups(ParamGroups::new().lr_scale("embed", 2.0)?.lr_scale("adapter.1", 3.0)?)?;
    for planned in [false, true, true] {
        if planned {
            net.thaw(&mut [&mut opt])?;
        }
        for var in net.vars() {
            var.set(&var.ones_like()?)?;
        }
        let ones = net.vars().into_iter().map(|var| Ok((var.clone(), var.ones_like()?)));
        let ones = ones.collect::<candle_core::Result<Vec<(Var, Tensor)>>>()?;
        opt.step(&store(ones.iter().map(|(var, one)| (var, one.clone()))))?;
        let moves = net.vars().iter().map(first_move).collect::<candle_core::Result<Vec<_>>>()?;
        assert_eq!(moves, [4.0, 4.0, 2.0, 6.0], "{planned}");
    }
    // What the plan says of leaves holds, too.
    opt.set_groups(ParamGroups::new().lr_scale("embed.class", 2.0)?.lr_scale("adapter", 3.0)?)
}
