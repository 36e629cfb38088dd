//! Saving state by name and taking it up again.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::PlanOptimizer;
use freeze_core::Result;
use freeze_core::optim::{AdamW, Momentum, ParamsSgd, Sgd};

use super::{CPU, bits, store};

fn adamw(vars: &[Var]) -> Result<AdamW> {
    let named = ["a", "b.weight"].into_iter().map(String::from).zip(vars.iter().cloned());
    AdamW::with_names(named, ParamsAdamW::default())
}

fn vars() -> Result<[Var; 2]> {
    let ones = |dims: &[usize]| Var::ones(dims, DType::F32, &CPU);
    Ok([ones(&[3])?, ones(&[2, 2])?])
}

fn step(opt: &mut AdamW, vars: &[Var], i: f64) -> Result<()> {
    let grads = vars.iter().map(|var| Ok((var, (var.as_detached_tensor() * i)?.sin()?)));
    Ok(opt.step(&store(grads.collect::<candle_core::Result<Vec<_>>>()?))?)
}

#[test]
fn training_goes_on_bit_for_bit() -> Result<()> {
    let straight = vars()?;
    let mut opt = adamw(&straight)?;
    for i in 0..6 {
        step(&mut opt, &straight, f64::from(i))?;
    }
    for by_tensors in [true, false] {
        let first = vars()?;
        let mut opt = adamw(&first)?;
        for i in 0..3 {
            step(&mut opt, &first, f64::from(i))?;
        }
        opt.set_learning_rate(0.001);
        let (tensors, state) = (opt.state_tensors()?, opt.save_state()?);
        let second = vars()?;
        for (a, b) in first.iter().zip(&second) {
            b.set(&a.as_detached_tensor())?;
        }
        // What was saved is a copy: further steps of the first optimizer leave it alone.
        step(&mut opt, &first, 9.0)?;
        let mut opt = adamw(&second)?;
        if by_tensors {
            opt.load_state_tensors(&tensors)?;
        } else {
            opt.set_learning_rate(0.5);
            drop(opt.prepare_state(&state, &[])?);
            assert_eq!(opt.learning_rate(), 0.5, "preparing changes nothing");
            opt.prepare_state(&state, &[])?.commit();
            assert_eq!(opt.learning_rate(), 0.001);
        }
        for i in 3..6 {
            step(&mut opt, &second, f64::from(i))?;
        }
        for (a, b) in straight.iter().zip(&second) {
            assert_eq!(bits(a)?, bits(b)?);
        }
        // Nor do its own steps write to what it was loaded from.
        let again = tensors["first_moment/a"].to_vec1::<f32>()?;
        assert_eq!(again, state.tensors["first_moment/a"].to_vec1::<f32>()?);
    }
    Ok(())
}

#[test]
fn names_and_shapes() -> Result<()> {
    let vars = vars()?;
    let mut opt = adamw(&vars)?;
    let empty: Vec<String> = opt.state_tensors()?.into_keys().collect();
    assert_eq!(empty, ["step/a", "step/b.weight"]);
    step(&mut opt, &vars, 1.0)?;
    let tensors = opt.state_tensors()?;
    let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "first_moment/a",
            "first_moment/b.weight",
            "second_moment/a",
            "second_moment/b.weight",
            "step/a",
            "step/b.weight",
        ]
    );
    assert_eq!(tensors["second_moment/b.weight"].dims(), [2, 2]);
    assert_eq!(tensors["step/a"].to_scalar::<i64>()?, 1);
    Ok(())
}

#[test]
fn a_parameter_without_elements_has_a_state_that_comes_back() -> Result<()> {
    let ones = |dims| Var::ones(dims, DType::F32, &CPU);
    let vars = || Ok::<_, candle_core::Error>([ones((0, 3))?, ones((2, 2))?]);
    let (first, second) = (vars()?, vars()?);
    let mut opt = adamw(&first)?;
    step(&mut opt, &first, 1.0)?;
    let saved = opt.state_tensors()?;
    assert_eq!(saved["first_moment/a"].dims(), [0, 3]);
    let mut opt = adamw(&second)?;
    opt.load_state_tensors(&saved)?;
    assert_eq!(opt.updates(&second[0]), Some(1));
    assert_eq!(opt.state_tensors()?["first_moment/a"].dims(), [0, 3]);
    step(&mut opt, &second, 2.0)
}

#[test]
fn what_does_not_fit_is_listed_and_changes_nothing() -> Result<()> {
    let vars = vars()?;
    let mut opt = adamw(&vars)?;
    step(&mut opt, &vars, 1.0)?;
    let good = opt.state_tensors()?;
    let edit = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        tensors
    };
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &CPU);
    let (misshaped, mistyped) = (zeros(&[4], DType::F32)?, zeros(&[3], DType::F64)?);
    let negative = Tensor::new(-1i64, &CPU)?;
    let cases: [(BTreeMap<String, Tensor>, &[&str]); 6] = [
        (
            edit(&|t| {
                t.remove("first_moment/a");
                t.remove("step/b.weight");
            }),
            &["`first_moment/a` is missing", "`step/b.weight` is missing"],
        ),
        (
            edit(&|t| drop(t.insert("momentum/a".into(), misshaped.clone()))),
            &["`momentum/a` is unknown"],
        ),
        (
            edit(&|t| drop(t.insert("first_moment/a".into(), misshaped.clone()))),
            &["`first_moment/a` is ([4], F32), expected ([3], F32)"],
        ),
        (
            edit(&|t| drop(t.insert("second_moment/a".into(), mistyped.clone()))),
            &["`second_moment/a` is ([3], F64)"],
        ),
        (edit(&|t| drop(t.insert("step/a".into(), negative.clone()))), &["`step/a` is not"]),
        (BTreeMap::new(), &["`step/a` is missing", "`step/b.weight` is missing"]),
    ];
    for (tensors, said) in cases {
        let error = opt.load_state_tensors(&tensors).unwrap_err().to_string();
        for said in said {
            assert!(error.contains(said), "{error}");
        }
        let now = opt.state_tensors()?;
        assert_eq!(
            now["first_moment/a"].to_vec1::<f32>()?,
            good["first_moment/a"].to_vec1::<f32>()?
        );
        assert_eq!(opt.updates(&vars[0]), Some(1));
    }
    opt.load_state_tensors(&good)
}

#[test]
fn another_optimizers_state_and_missing_names_are_refused() -> Result<()> {
    let vars = vars()?;
    let config = ParamsSgd { momentum: Momentum::Heavy(0.9), ..ParamsSgd::default() };
    let named = vec![("a", vars[0].clone()), ("b.weight", vars[1].clone())];
    let mut sgd = Sgd::with_names(named.clone(), config.clone())?;
    let error = adamw(&vars)?.prepare_state(&sgd.save_state()?, &[]).unwrap_err().to_string();
    assert!(error.contains("saved by Sgd"), "{error}");

    let mut unnamed = Sgd::new(vars.to_vec(), config.clone())?;
    assert!(unnamed.save_state().unwrap_err().to_string().contains("without a name"));
    assert!(unnamed.prepare_state(&sgd.save_state()?, &[]).is_err());

    let twice = vec![named[0].clone(), ("a", vars[1].clone())];
    assert!(
        Sgd::with_names(twice, config)
            .unwrap_err()
            .to_string()
            .contains("`a` as planned: the name occurs twice")
    );
    Ok(())
}

/// A single moment could pass from hand to hand without a copy on the way.
#[test]
fn a_loaded_state_is_the_optimizers_own() -> Result<()> {
    let var = Var::ones(2, DType::F32, &CPU)?;
    let config = ParamsSgd { momentum: Momentum::Heavy(0.9), ..ParamsSgd::default() };
    let mut opt = Sgd::with_names(vec![("a", var.clone())], config)?;
    opt.backward_step(&var.sum_all()?)?;
    let saved = opt.state_tensors()?;
    opt.load_state_tensors(&saved)?;
    opt.backward_step(&var.sum_all()?)?;
    assert_eq!(saved["momentum/a"].to_vec1::<f32>()?, [1.0, 1.0]);
    assert_eq!(opt.state_tensors()?["momentum/a"].to_vec1::<f32>()?, [1.9, 1.9]);
    Ok(())
}

/// The moments of large parameters do not begin where their storage does.
#[test]
fn large_parameters_are_saved_and_loaded_alike() -> Result<()> {
    let (first, second) = super::twins(&[300, 301], DType::F32)?;
    let adamw = |var: &Var| AdamW::with_names(vec![("a", var.clone())], Default::default());
    let (mut one, mut other) = (adamw(&first)?, adamw(&second)?);
    one.backward_step(&first.sqr()?.sum_all()?)?;
    other.load_state_tensors(&one.state_tensors()?)?;
    second.set(&first.as_detached_tensor())?;
    one.backward_step(&first.sqr()?.sum_all()?)?;
    other.backward_step(&second.sqr()?.sum_all()?)?;
    assert_eq!(bits(&first)?, bits(&second)?);
    for (name, tensor) in one.state_tensors()? {
        let theirs = &other.state_tensors()?[&name];
        assert_eq!(super::largest_gap(&tensor, theirs)?, 0.0, "{name}");
    }
    Ok(())
}

/// Momentum has no buffer before its first update; what is saved begins where that update would.
#[test]
fn momentum_can_be_switched_on_and_saved_at_once() -> Result<()> {
    let heavy = ParamsSgd { momentum: Momentum::Heavy(0.9), ..ParamsSgd::default() };
    let sgd = |var: &Var, config| Sgd::with_names([("a", var.clone())], config);
    let (first, second) = super::twins(&[3], DType::F32)?;
    let mut one = sgd(&first, ParamsSgd::default())?;
    one.backward_step(&first.sqr()?.sum_all()?)?;
    one.set_params(heavy.clone());
    let mut other = sgd(&second, heavy)?;
    other.load_state_tensors(&one.state_tensors()?)?;
    second.set(&first.as_detached_tensor())?;
    for _ in 0..2 {
        one.backward_step(&first.sqr()?.sum_all()?)?;
        other.backward_step(&second.sqr()?.sum_all()?)?;
    }
    assert_eq!(bits(&first)?, bits(&second)?);
    assert_eq!(other.state_bytes(), 3 * 4);
    // And off again.
    one.set_params(ParamsSgd::default());
    assert_eq!(one.state_bytes(), 0);
    one.backward_step(&first.sqr()?.sum_all()?)?;
    let mut other = sgd(&second, ParamsSgd::default())?;
    other.load_state_tensors(&one.state_tensors()?)
}
