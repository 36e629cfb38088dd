//! Each number of a rule on its own: against written-out formulas, and in the arguments of
//! `update.cu`.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::ParamsAdamW;

use crate::kernel::update::{
    Arguments, ElementRule, GradMap, Rows, State, update, update_by_tensors,
};
use crate::optim::rule::{Update, sealed::Rule};
use crate::optim::{Momentum, ParamsAdam, ParamsSgd};

const BETAS: [f64; 2] = [0.7, 0.95];
const EPS: f64 = 0.2;
const LR: f64 = 0.01;
const DECAY: f64 = 0.1;

fn adam() -> ParamsAdam {
    ParamsAdam { beta1: BETAS[0], beta2: BETAS[1], eps: EPS, ..ParamsAdam::default() }
}

fn adamw() -> ParamsAdamW {
    ParamsAdamW { beta1: BETAS[0], beta2: BETAS[1], eps: EPS, ..ParamsAdamW::default() }
}

/// The two forms of an update would also agree if both used the same wrong number; here each is
/// compared with the written-out formula.
#[test]
fn every_number_goes_where_the_formula_has_it() -> Result<()> {
    const GRADS: [f64; 3] = [0.5, -1.5, 0.25];
    fn run<R: Rule>(rule: &R, fused: bool) -> Result<f64> {
        let (map, var) = (GradMap::Identity, Var::new(&[1f64], &Device::Cpu)?);
        let rows = Rows { moments: rule.moments().len(), master: false };
        let tensor = Tensor::zeros((rows.count(), 1), DType::F64, &Device::Cpu)?;
        let state = (rows.count() > 0).then_some(State { tensor, rows });
        for (step, grad) in (1..).zip(GRADS) {
            let kernel = rule.kernel(Update { lr: LR, weight_decay: DECAY, step });
            let grad = Tensor::new(&[grad], &Device::Cpu)?;
            match fused {
                true => update(&kernel, map, &var, &grad, state.as_ref(), None)?,
                false => update_by_tensors(&kernel, map, &var, &grad, state.as_ref())?,
            }
        }
        var.get(0)?.to_scalar()
    }
    let by_adam = |decoupled: bool| {
        let (mut p, mut m, mut v) = (1.0, 0.0, 0.0);
        for (step, grad) in (1..).zip(GRADS) {
            let grad = if decoupled { grad } else { grad + DECAY * p };
            m = BETAS[0] * m + (1.0 - BETAS[0]) * grad;
            v = BETAS[1] * v + (1.0 - BETAS[1]) * grad * grad;
            let (m, v) = (m / (1.0 - BETAS[0].powi(step)), v / (1.0 - BETAS[1].powi(step)));
            let kept = if decoupled { p - LR * DECAY * p } else { p };
            p = kept - LR * m / (f64::sqrt(v) + EPS);
        }
        p
    };
    let by_sgd = |factor: f64, nesterov: bool| {
        let (mut p, mut b) = (1.0, 0.0);
        for grad in GRADS {
            let grad = grad + DECAY * p;
            b = factor * b + grad;
            p -= LR * if nesterov { grad + factor * b } else { b };
        }
        p
    };
    let sgd = |momentum| ParamsSgd { momentum, ..ParamsSgd::default() };
    for fused in [true, false] {
        for (found, expected) in [
            (run(&adamw(), fused)?, by_adam(true)),
            (run(&adam(), fused)?, by_adam(false)),
            (run(&sgd(Momentum::None), fused)?, by_sgd(0.0, false)),
            (run(&sgd(Momentum::Heavy(0.7)), fused)?, by_sgd(0.7, false)),
            (run(&sgd(Momentum::Nesterov(0.7)), fused)?, by_sgd(0.7, true)),
        ] {
            assert!((found - expected).abs() < 1e-14, "{found} instead of {expected}, {fused}");
        }
    }
    Ok(())
}

/// The names of the numbers that a kernel for CUDA reads, which a test of [`Arguments`] compares with its source.
fn names<A: Arguments>(_: &A) -> Vec<&'static str> {
    A::NAMES.to_vec()
}

#[test]
fn the_numbers_for_cuda_stand_in_the_order_of_the_kernels_arguments() {
    fn check(rule: &impl Rule, expected: &[(&str, f64)]) {
        let update = rule.kernel(Update { lr: LR, weight_decay: DECAY, step: 2 }).arguments();
        let names = names(&update);
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for ((name, expected), found) in expected.iter().zip(update.numbers()) {
            assert!((found - expected).abs() < 1e-14, "{name} is {found} instead of {expected}");
        }
    }
    let shared = |keep: f64, penalty: f64| {
        let [b1, b2] = BETAS;
        let scales = [("scale_m", 1.0 / (1.0 - b1 * b1)), ("scale_v", 1.0 / (1.0 - b2 * b2))];
        let betas = [("b1", b1), ("c1", 1.0 - b1), ("b2", b2), ("c2", 1.0 - b2)];
        let rest = [("eps", EPS), ("lr", LR), ("keep", keep), ("penalty", penalty)];
        [&betas[..], &scales, &rest].concat()
    };
    check(&adamw(), &shared(1.0 - LR * DECAY, 0.0));
    check(&adam(), &shared(1.0, DECAY));
    for (momentum, factor, direct, carried) in [
        (Momentum::None, 0.0, 1.0, 0.0),
        (Momentum::Heavy(0.7), 0.7, 0.0, 1.0),
        (Momentum::Nesterov(0.7), 0.7, 1.0, 0.7),
    ] {
        let own = [("factor", factor), ("direct", direct), ("carried", carried)];
        let expected = [&own[..], &[("lr", LR), ("penalty", DECAY)]].concat();
        check(&ParamsSgd { momentum, ..ParamsSgd::default() }, &expected);
    }
}
