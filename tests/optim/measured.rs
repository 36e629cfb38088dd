//! Norms that an update measures, against the same numbers computed from copies.

use candle_core::{DType, Result, Tensor, TensorId, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{
    Adam, AdamW, Fused, GradClip, MasterWeights, Momentum, NonFinite, ParamsAdam, ParamsSgd,
    PerParam, Sgd, UpdateRule,
};
use freeze_core::{LeafState, Measured, Measures, Norms, PlanOptimizer, PlannedVar};

use super::{CPU, store, twins};

const DTYPES: [DType; 4] = [DType::F16, DType::BF16, DType::F32, DType::F64];
const ALL: Measures =
    Measures { gradient: true, update: true, weight: true, relative_update: true };
/// Nothing, one, and around a block.
const SMALL: [usize; 4] = [0, 1, 511, 513];
/// Around the size from which several threads update.
const LARGE: [usize; 2] = [65_535, 65_537];

fn random(len: usize, dtype: DType) -> Result<Tensor> {
    Tensor::randn(0f64, 1., len, &CPU)?.to_dtype(dtype)
}

fn sum(tensor: &Tensor) -> Result<f64> {
    tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar()
}

fn norms(tensor: &Tensor) -> Result<Norms> {
    let tensor = tensor.to_dtype(DType::F64)?;
    Ok(Norms { l1: sum(&tensor.abs()?)?, l2: sum(&tensor.sqr()?)?.sqrt() })
}

/// What the update from `before` to `after` by `grad`, both of some type, should have measured.
fn expected(before: &Tensor, after: &Tensor, grad: &Tensor) -> Result<Measured> {
    let (before, after) = (before.to_dtype(DType::F64)?, after.to_dtype(DType::F64)?);
    let update = (&after - &before)?;
    let share = before.ne(0f64)?.where_cond(&(&update / &before)?, &before.zeros_like()?)?;
    let mean = sum(&share.abs()?)? / before.elem_count().max(1) as f64;
    Ok(Measured {
        gradient: Some(norms(grad)?),
        update: Some(norms(&update)?),
        weight: Some(norms(&after)?),
        relative_update: Some(mean),
    })
}

/// Gradient, update, weight, each as L1 and L2, and the relative update.
fn numbers(measured: &Measured) -> Vec<f64> {
    let norms = [measured.gradient, measured.update, measured.weight].into_iter().flatten();
    norms.flat_map(|norms| [norms.l1, norms.l2]).chain(measured.relative_update).collect()
}

fn agree(found: &Measured, expected: &Measured, tolerance: f64, what: &str) {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!((found.len(), expected.len()), (7, 7), "{what}");
    for (found, expected) in found.into_iter().zip(expected) {
        let apart = (found - expected).abs();
        assert!(apart <= tolerance * expected.abs(), "{what}: {found} is not {expected}");
    }
}

fn clipped(grad: &Tensor, clip: GradClip) -> Result<Tensor> {
    let grad = grad.to_dtype(DType::F64)?;
    match clip {
        GradClip::None => Ok(grad),
        GradClip::Value(bound) => grad.clamp(-bound, bound),
        GradClip::Norm(bound) => {
            let norm = norms(&grad)?.l2;
            if norm > bound { grad * (bound / norm) } else { Ok(grad) }
        }
    }
}

fn one_measured(opt: &mut impl PlanOptimizer, var: &Var) -> Measured {
    match opt.take_measured()[..] {
        [(id, measured)] if id == var.id() => measured,
        ref other => panic!("expected one variable, found {other:?}"),
    }
}

fn bits(tensor: &Tensor) -> Result<Vec<u64>> {
    let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(numbers.into_iter().map(f64::to_bits).collect())
}

fn check<R: UpdateRule>(rule: R) -> Result<()> {
    let clips = [GradClip::None, GradClip::Value(0.5), GradClip::Norm(2.0)];
    let small = clips.into_iter().flat_map(|clip| SMALL.map(|len| (clip, len)));
    let cases: Vec<_> = small.chain(LARGE.map(|len| (GradClip::None, len))).collect();
    let halves = [DType::F16, DType::BF16].map(|dtype| (dtype, MasterWeights::None));
    for (dtype, masters) in
        DTYPES.map(|dtype| (dtype, MasterWeights::F32)).into_iter().chain(halves)
    {
        for &(clip, len) in &cases {
            check_one(rule.clone(), dtype, masters, clip, len)?;
        }
    }
    Ok(())
}

fn check_one<R: UpdateRule>(
    rule: R,
    dtype: DType,
    masters: MasterWeights,
    clip: GradClip,
    len: usize,
) -> Result<()> {
    let what = format!("{rule:?} {dtype:?} {masters:?} {clip:?} {len}");
    let (ours, plain) = twins(&[len], dtype)?;
    let build = |var: &Var| -> Result<Fused<R>> {
        let mut opt = Fused::new(vec![var.clone()], rule.clone())?;
        opt.set_master_weights(masters);
        opt.set_clip(clip)?;
        Ok(opt)
    };
    let (mut measuring, mut other) = (build(&ours)?, build(&plain)?);
    assert!(measuring.measure_within_step(ALL));
    // Conversions and clipping are of the type of arithmetic.
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-6 };
    for _ in 0..2 {
        let (before, grad) = (ours.as_detached_tensor().copy()?, random(len, dtype)?);
        measuring.step(&store([(&ours, grad.clone())]))?;
        other.step(&store([(&plain, grad.clone())]))?;
        assert_eq!(bits(&ours)?, bits(&plain)?, "{what}");
        let found = one_measured(&mut measuring, &ours);
        agree(&found, &expected(&before, &ours, &clipped(&grad, clip)?)?, tolerance, &what);
        assert!(other.take_measured().is_empty(), "{what}");
    }
    assert_eq!(measuring.state_bytes(), other.state_bytes(), "{what}");
    Ok(())
}

#[test]
fn by_adam() -> Result<()> {
    check(ParamsAdamW::default())?;
    check(ParamsAdam { weight_decay: 0.1, ..ParamsAdam::default() })
}

#[test]
fn by_sgd() -> Result<()> {
    for momentum in [Momentum::None, Momentum::Heavy(0.9), Momentum::Nesterov(0.9)] {
        check(ParamsSgd { momentum, weight_decay: 0.1, ..ParamsSgd::default() })?;
    }
    Ok(())
}

fn sgd(vars: &[&Var], lr: f64) -> Result<Sgd> {
    let config = ParamsSgd { lr, ..ParamsSgd::default() };
    Sgd::new(vars.iter().map(|&var| var.clone()).collect(), config)
}

#[test]
fn what_is_asked_for_and_nothing_else() -> Result<()> {
    let var = Var::new(&[1f32, -2.0], &CPU)?;
    let grad = Tensor::new(&[4f32, 3.0], &CPU)?;
    let mut opt = sgd(&[&var], 0.5)?;
    for wish in 0..16 {
        let [gradient, update, weight, relative_update] = [1, 2, 4, 8].map(|bit| wish & bit != 0);
        let measures = Measures { gradient, update, weight, relative_update };
        assert_eq!(measures.is_empty(), wish == 0);
        assert_eq!(measures | Measures::NONE, measures);
        assert_eq!(measures | ALL, ALL);
        assert!(opt.measure_within_step(measures));
        var.set(&Tensor::new(&[1f32, -2.0], &CPU)?)?;
        opt.step(&store([(&var, grad.clone())]))?;
        if wish == 0 {
            assert!(opt.take_measured().is_empty());
            continue;
        }
        // By hand: 1 - 2 = -1 and -2 - 1.5 = -3.5.
        let of =
            |wanted: bool, l1: f64, squares: f64| wanted.then(|| Norms { l1, l2: squares.sqrt() });
        let expected = Measured {
            gradient: of(gradient, 7.0, 25.0),
            update: of(update, 3.5, 6.25),
            weight: of(weight, 4.5, 13.25),
            relative_update: relative_update.then_some((2.0 + 0.75) / 2.0),
        };
        assert_eq!(one_measured(&mut opt, &var), expected);
        assert!(opt.take_measured().is_empty(), "taken once");
    }
    Ok(())
}

#[test]
fn what_else_is_asked_for_changes_no_bit() -> Result<()> {
    for dtype in DTYPES {
        let (start, grad) = (random(1_000, dtype)?, random(1_000, dtype)?);
        let found = |measures: Measures| -> Result<Measured> {
            let var = Var::from_tensor(&start)?;
            let mut opt = sgd(&[&var], 0.1)?;
            assert!(opt.measure_within_step(measures));
            opt.step(&store([(&var, grad.clone())]))?;
            Ok(one_measured(&mut opt, &var))
        };
        let all = found(ALL)?;
        let none = Measured::default();
        for (wish, alone) in [
            (
                Measures { gradient: true, ..Measures::NONE },
                Measured { gradient: all.gradient, ..none },
            ),
            (Measures { update: true, ..Measures::NONE }, Measured { update: all.update, ..none }),
            (Measures { weight: true, ..Measures::NONE }, Measured { weight: all.weight, ..none }),
            (
                Measures { relative_update: true, ..Measures::NONE },
                Measured { relative_update: all.relative_update, ..none },
            ),
        ] {
            assert_eq!(found(wish)?, alone, "{dtype:?}");
        }
    }
    Ok(())
}

#[test]
fn an_element_that_was_zero_has_no_share() -> Result<()> {
    for dtype in DTYPES {
        for (start, after, share) in
            [([0.0, -0.0], [-1.0, -1.0], 0.0), ([0.0, 2.0], [-1.0, 1.0], 0.25)]
        {
            let var = Var::from_tensor(&Tensor::new(&start, &CPU)?.to_dtype(dtype)?)?;
            let mut opt = sgd(&[&var], 1.0)?;
            assert!(opt.measure_within_step(ALL));
            opt.step(&store([(&var, var.ones_like()?)]))?;
            assert_eq!(bits(&var)?, after.map(f64::to_bits));
            let found = one_measured(&mut opt, &var);
            let two = Norms { l1: 2.0, l2: 2f64.sqrt() };
            let norms = Some(two);
            let relative_update = Some(share);
            let expected =
                Measured { gradient: norms, update: norms, weight: norms, relative_update };
            assert_eq!(found, expected, "{dtype:?}");
        }
    }
    Ok(())
}

/// Their squares overflow or vanish in the type of arithmetic, and so does the difference.
#[test]
fn huge_and_tiny_numbers_have_norms() -> Result<()> {
    const MAX: f32 = f32::MAX;
    // Weights before, gradients, the learning rate.
    let rows: [(&[f32], &[f32], f64); 6] = [
        (&[1.0, -1.0], &[MAX, -MAX], 0.0),
        (&[MAX, -MAX, 1e-30], &[MAX, -MAX, 1e-30], 0.5),
        (&[1e-30, -2e-30], &[1e-30, 4e-30], 0.25),
        (&[1e-44, -3e-44], &[1e-44, 3e-44], 1.0),
        (&[1e-40, 1.0], &[1.0, 1.0], 1.0),
        (&[1e-40, 0.0], &[1.0, 1.0], 1.0),
    ];
    for (start, grad, lr) in rows {
        // Alone, and within a block of ordinary numbers.
        for others in [0, 700] {
            let with = |numbers: &[f32]| {
                let numbers = numbers.iter().copied().chain((0..others).map(|i| i as f32 - 0.5));
                Tensor::from_iter(numbers, &CPU)
            };
            let (start, grad) = (with(start)?, with(grad)?);
            let var = Var::from_tensor(&start)?;
            let mut opt = sgd(&[&var], lr)?;
            assert!(opt.measure_within_step(ALL));
            opt.step(&store([(&var, grad.clone())]))?;
            let found = one_measured(&mut opt, &var);
            assert!(numbers(&found).into_iter().all(f64::is_finite), "{found:?}");
            agree(&found, &expected(&start, &var, &grad)?, 1e-6, &format!("{start} {grad}"));
        }
    }
    Ok(())
}

#[test]
fn infinite_and_nan_weights_stay_visible() -> Result<()> {
    for dtype in DTYPES {
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for len in [2, 70_000] {
                let start = (0..len).map(|i| if i + 1 == len { odd } else { 1.0 });
                let var = Var::from_tensor(&Tensor::from_iter(start, &CPU)?.to_dtype(dtype)?)?;
                let mut opt = AdamW::new(vec![var.clone()], ParamsAdamW::default())?;
                assert!(opt.measure_within_step(ALL));
                opt.step(&store([(&var, var.ones_like()?)]))?;
                let found = one_measured(&mut opt, &var);
                assert_eq!(found.gradient.map(|norms| norms.l1), Some(len as f64));
                let as_odd = |x: f64| x == odd.abs() || (x.is_nan() && odd.is_nan());
                let weight = found.weight.map(|norms| as_odd(norms.l1) && as_odd(norms.l2));
                assert_eq!(weight, Some(true), "{odd} of {dtype:?}");
                // An infinity less itself is NaN.
                let update = found.update.map(|norms| norms.l1.is_nan() && norms.l2.is_nan());
                let relative = found.relative_update.map(f64::is_nan);
                assert_eq!((update, relative), (Some(true), Some(true)), "{odd} of {dtype:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_step_that_is_not_made_measures_nothing() -> Result<()> {
    for policy in [NonFinite::SkipStep, NonFinite::Error] {
        let var = Var::ones(3, DType::F32, &CPU)?;
        let mut opt = AdamW::new(vec![var.clone()], ParamsAdamW::default())?;
        opt.set_non_finite(policy);
        assert!(opt.measure_within_step(ALL));
        let broken = Tensor::new(&[0.0, f32::NAN, 0.0], &CPU)?;
        assert_eq!(
            opt.step(&store([(&var, broken.clone())])).is_ok(),
            policy == NonFinite::SkipStep
        );
        assert!(opt.take_measured().is_empty());
        // What an earlier step measured is still there.
        opt.step(&store([(&var, var.ones_like()?)]))?;
        let _ = opt.step(&store([(&var, broken)]));
        assert!(one_measured(&mut opt, &var).gradient.is_some_and(|norms| norms.l1 == 3.0));
    }
    Ok(())
}

#[test]
fn steps_in_parts_are_gathered_and_the_last_update_counts() -> Result<()> {
    let vars: Vec<Var> = (0..4).map(|_| Var::ones(3, DType::F32, &CPU)).collect::<Result<_>>()?;
    let [a, b, frozen, without] = &vars[..] else { panic!("four variables") };
    let planned = ["a", "b", "frozen", "without"].into_iter().zip(&vars).map(|(name, var)| {
        let mut planned = PlannedVar::from((name, var.clone()));
        if name == "frozen" {
            planned.state = LeafState::Frozen;
        }
        planned
    });
    let mut opt = Adam::with_names(planned, ParamsAdam::default())?;
    assert!(opt.steps_in_parts() && opt.measure_within_step(ALL));
    let grad = |var: &Var, by: f64| var.ones_like()? * by;
    opt.step(&store([(b, grad(b, 1.0)?), (frozen, grad(frozen, 1.0)?)]))?;
    opt.step(&store([(a, grad(a, 2.0)?)]))?;
    opt.step(&store([(b, grad(b, 3.0)?)]))?;
    let l1 = |(id, measured): (TensorId, Measured)| (id, measured.gradient.map(|norms| norms.l1));
    let found: Vec<_> = opt.take_measured().into_iter().map(l1).collect();
    assert_eq!(found, [(a.id(), Some(6.0)), (b.id(), Some(9.0))]);
    assert_eq!(bits(without)?, [1f64.to_bits(); 3]);
    // No longer asked: what is there can still be taken.
    opt.step(&store([(a, grad(a, 1.0)?)]))?;
    assert!(opt.measure_within_step(Measures::NONE));
    opt.step(&store([(a, grad(a, 5.0)?)]))?;
    assert!(one_measured(&mut opt, a).gradient.is_some_and(|norms| norms.l1 == 3.0));
    Ok(())
}

/// Many small variables, which threads share among them, and large ones, which are cut in pieces.
#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    let starts: Vec<Tensor> = [200_003, 65_536]
        .into_iter()
        .chain((0..40).map(|i| 3_000 + i))
        .flat_map(|len| DTYPES.map(|dtype| random(len, dtype)))
        .collect::<Result<_>>()?;
    let run = || -> Result<Vec<u64>> {
        let vars: Vec<Var> = starts.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let mut opt = AdamW::new(vars.clone(), ParamsAdamW::default())?;
        assert!(opt.measure_within_step(ALL));
        opt.step(&store(vars.iter().zip(starts.iter().map(|start| start.copy().expect("room")))))?;
        let measured = opt.take_measured();
        let ids: Vec<TensorId> = measured.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, vars.iter().map(|var| var.id()).collect::<Vec<_>>());
        Ok(measured.iter().flat_map(|(_, found)| numbers(found)).map(f64::to_bits).collect())
    };
    let several = run()?;
    assert_eq!(several.len(), 7 * starts.len());
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for _ in 0..3 {
        assert_eq!(run()?, several);
        assert_eq!(one.install(run)?, several);
    }
    Ok(())
}

#[test]
fn others_say_that_they_cannot() -> Result<()> {
    let var = Var::ones(3, DType::F32, &CPU)?;
    let mut by_param = PerParam::<candle_nn::SGD>::with_names([("w", var.clone())], 0.1)?;
    let mut of_candle = candle_nn::SGD::new(vec![var.clone()], 0.1)?;
    for opt in [&mut by_param as &mut dyn PlanOptimizer, &mut of_candle] {
        assert!(!opt.measure_within_step(ALL) && opt.measure_within_step(Measures::NONE));
    }
    by_param.step(&store([(&var, var.ones_like()?)]))?;
    of_candle.step(&store([(&var, var.ones_like()?)]))?;
    assert!(by_param.take_measured().is_empty() && of_candle.take_measured().is_empty());
    Ok(())
}
