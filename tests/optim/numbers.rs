//! Every number that a user can give is refused, and nothing moves, or it works.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{
    Adam, AdamW, Fused, GradAccumulator, GradClip, Momentum, ParamGroups, ParamsAdam, ParamsSgd,
    PerParam, Sgd, UpdateRule, clip_grad_norm, clip_grad_value, lr,
};
use freeze_core::{LeafState, OptimizerState, PlanOptimizer, PlannedVar, Result};

use super::{CPU, store};

const NUMBERS: [f64; 16] = [
    0.0,
    -0.0,
    -1.0,
    -1e-310,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1e-310,
    1e-39,
    1e-8,
    0.5,
    1.0,
    1e3,
    1e30,
    1e39,
    1e308,
];

type Case = (&'static str, fn(f64, &Var) -> Result<()>);

/// A gradient of one, of nothing, and of so little that its square is nothing.
fn grads(var: &Var) -> Result<candle_core::backprop::GradStore> {
    Ok(store([(var, Tensor::new(&[1.0, 0.0, 1e-30], &CPU)?.to_dtype(var.dtype())?)]))
}

fn stepped(mut opt: impl Optimizer, var: &Var) -> Result<()> {
    Ok(opt.step(&grads(var)?)?)
}

fn fused<R: UpdateRule>(rule: R, var: &Var) -> Result<Fused<R>> {
    Fused::with_names([("w", var.clone())], rule)
}

fn sgd(var: &Var) -> Result<Sgd> {
    fused(ParamsSgd { lr: 0.1, momentum: Momentum::Heavy(0.9), weight_decay: 0.1 }, var)
}

fn planned(var: &Var, lr_scale: f64) -> PlannedVar {
    let mut planned = PlannedVar::from(("w", var.clone()));
    planned.state = LeafState::Trained { lr_scale };
    planned
}

fn at_rate(mut opt: impl Optimizer, rate: f64, var: &Var) -> Result<()> {
    opt.set_learning_rate(rate);
    stepped(opt, var)
}

fn resumed_at(mut opt: impl Optimizer + PlanOptimizer, rate: f64, var: &Var) -> Result<()> {
    let saved = OptimizerState { learning_rate: rate, ..opt.save_state()? };
    opt.prepare_state(&saved, &[])?.commit();
    stepped(opt, var)
}

fn candle_sgd(var: &Var) -> Result<candle_nn::SGD> {
    Ok(candle_nn::SGD::new(vec![var.clone()], 0.1)?)
}

const OPTIMIZERS: [Case; 30] = [
    ("AdamW lr", |x, w| stepped(fused(ParamsAdamW { lr: x, ..Default::default() }, w)?, w)),
    ("AdamW beta1", |x, w| stepped(fused(ParamsAdamW { beta1: x, ..Default::default() }, w)?, w)),
    ("AdamW beta2", |x, w| stepped(fused(ParamsAdamW { beta2: x, ..Default::default() }, w)?, w)),
    ("AdamW eps", |x, w| stepped(fused(ParamsAdamW { eps: x, ..Default::default() }, w)?, w)),
    ("AdamW weight_decay", |x, w| {
        stepped(fused(ParamsAdamW { weight_decay: x, ..Default::default() }, w)?, w)
    }),
    ("AdamW new_lr", |x, w| stepped(AdamW::new_lr(vec![w.clone()], x)?, w)),
    ("Adam lr", |x, w| stepped(fused(ParamsAdam { lr: x, ..Default::default() }, w)?, w)),
    ("Adam beta1", |x, w| stepped(fused(ParamsAdam { beta1: x, ..Default::default() }, w)?, w)),
    ("Adam beta2", |x, w| stepped(fused(ParamsAdam { beta2: x, ..Default::default() }, w)?, w)),
    ("Adam eps", |x, w| stepped(fused(ParamsAdam { eps: x, ..Default::default() }, w)?, w)),
    ("Adam weight_decay", |x, w| {
        stepped(fused(ParamsAdam { weight_decay: x, ..Default::default() }, w)?, w)
    }),
    ("Sgd lr", |x, w| stepped(fused(ParamsSgd { lr: x, ..Default::default() }, w)?, w)),
    ("Sgd weight_decay", |x, w| {
        stepped(fused(ParamsSgd { weight_decay: x, ..Default::default() }, w)?, w)
    }),
    ("Sgd heavy", |x, w| {
        stepped(fused(ParamsSgd { momentum: Momentum::Heavy(x), ..Default::default() }, w)?, w)
    }),
    ("Sgd nesterov", |x, w| {
        stepped(fused(ParamsSgd { momentum: Momentum::Nesterov(x), ..Default::default() }, w)?, w)
    }),
    ("Sgd set_params", |x, w| {
        let mut opt = sgd(w)?;
        opt.set_params(ParamsSgd { lr: x, ..Default::default() });
        stepped(opt, w)
    }),
    ("AdamW rate", |x, w| at_rate(fused(ParamsAdamW::default(), w)?, x, w)),
    ("Adam rate", |x, w| at_rate(Adam::new(vec![w.clone()], ParamsAdam::default())?, x, w)),
    ("Sgd rate", |x, w| at_rate(sgd(w)?, x, w)),
    ("PerParam rate", |x, w| {
        at_rate(PerParam::<candle_nn::SGD>::with_names([("w", w.clone())], 0.1)?, x, w)
    }),
    ("Sgd resumed", |x, w| resumed_at(sgd(w)?, x, w)),
    ("candle's SGD resumed", |x, w| resumed_at(candle_sgd(w)?, x, w)),
    ("clip norm", |x, w| {
        let mut opt = sgd(w)?;
        opt.set_clip(GradClip::Norm(x))?;
        stepped(opt, w)
    }),
    ("clip value", |x, w| {
        let mut opt = sgd(w)?;
        opt.set_clip(GradClip::Value(x))?;
        stepped(opt, w)
    }),
    ("group lr_scale", |x, w| {
        let mut opt = sgd(w)?;
        opt.set_groups(ParamGroups::new().lr_scale("w", x)?)?;
        stepped(opt, w)
    }),
    ("group weight_decay", |x, w| {
        let mut opt = sgd(w)?;
        opt.set_groups(ParamGroups::new().weight_decay("w", x)?)?;
        stepped(opt, w)
    }),
    ("planned lr_scale", |x, w| {
        stepped(Sgd::with_names([planned(w, x)], ParamsSgd::default())?, w)
    }),
    ("planned lr_scale of PerParam", |x, w| {
        stepped(PerParam::<candle_nn::SGD>::with_names([planned(w, x)], 0.1)?, w)
    }),
    ("clip_grad_norm", |x, w| {
        let mut grads = grads(w)?;
        clip_grad_norm(&mut grads, std::slice::from_ref(w), x)?;
        Ok(candle_sgd(w)?.step(&grads)?)
    }),
    ("accumulated weight", |x, w| {
        let mut sums = GradAccumulator::new(vec![w.clone()]);
        sums.accumulate_grads(grads(w)?, x)?;
        sums.accumulate_grads(grads(w)?, x)?;
        sums.step(&mut candle_sgd(w)?)
    }),
];

#[test]
fn of_optimizers() -> Result<()> {
    let clip_value: Case = ("clip_grad_value", |x, w| {
        let mut grads = grads(w)?;
        clip_grad_value(&mut grads, std::slice::from_ref(w), x)?;
        Ok(candle_sgd(w)?.step(&grads)?)
    });
    for (name, act) in OPTIMIZERS.into_iter().chain([clip_value]) {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for x in NUMBERS {
                let start = Tensor::new(&[1f32, 0.5, -0.25], &CPU)?.to_dtype(dtype)?;
                let var = Var::from_tensor(&start)?;
                let acted = act(x, &var);
                let after = var.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                let told = format!("{name} of {x:e} in {dtype:?}: {acted:?}, {after:?}");
                match acted {
                    Ok(()) => {
                        assert!(x.is_finite() && x >= 0.0, "{told}");
                        assert!(after.iter().all(|x| x.is_finite()), "{told}");
                    }
                    Err(error) => {
                        assert_eq!(after, [1.0, 0.5, -0.25], "{told}");
                        let said = error.to_string();
                        assert!(said.lines().next().is_some_and(|said| said.len() < 200), "{said}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn of_schedules() {
    type Schedule = Box<dyn Fn(f64) -> f64>;
    type Case = (&'static str, fn(f64) -> Result<Schedule>);
    let cases: [Case; 10] = [
        ("warmup", |x| Ok(Box::new(lr::warmup(x, lr::constant())?))),
        ("warmup_from start", |x| Ok(Box::new(lr::warmup_from(x, 0.1, lr::constant())?))),
        ("warmup_from share", |x| Ok(Box::new(lr::warmup_from(0.1, x, lr::linear(0.0)?)?))),
        ("linear", |x| Ok(Box::new(lr::linear(x)?))),
        ("cosine", |x| Ok(Box::new(lr::cosine(x)?))),
        ("one_cycle rise", |x| Ok(Box::new(lr::one_cycle(x, 0.1, 0.0)?))),
        ("one_cycle start", |x| Ok(Box::new(lr::one_cycle(0.3, x, 0.0)?))),
        ("one_cycle end", |x| Ok(Box::new(lr::one_cycle(0.3, 0.1, x)?))),
        ("step milestone", |x| Ok(Box::new(lr::step(&[x], 0.1)?))),
        ("step factor", |x| Ok(Box::new(lr::step(&[0.5], x)?))),
    ];
    for (name, make) in cases {
        for x in NUMBERS {
            let Ok(schedule) = make(x) else { continue };
            assert!((0.0..=1.0).contains(&x), "{name} of {x:e}");
            for progress in NUMBERS {
                let share = schedule(progress);
                let right = match progress.is_nan() {
                    true => share.is_nan(),
                    false => (0.0..=1.0 + 1e-12).contains(&share),
                };
                assert!(right, "{name} of {x:e} at {progress:e} is {share:e}");
            }
        }
        assert!(make(0.5).is_ok(), "{name}");
    }
}
