//! Master weights: what half precision would lose is kept, and what is stored has the last word.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{
    Adam, AdamW, Fused, MasterWeights, Momentum, ParamsAdam, ParamsSgd, Sgd, StatePolicy,
    UpdateRule,
};
use freeze_core::{Freezable, Freezer, PlanOptimizer, Result};

use super::{CPU, store};

const HALVES: [DType; 2] = [DType::F16, DType::BF16];
const BOTH: [MasterWeights; 2] = [MasterWeights::F32, MasterWeights::None];

fn ones(len: usize, dtype: DType) -> Result<Var> {
    Ok(Var::ones(len, dtype, &CPU)?)
}

fn steps<R: UpdateRule>(opt: &mut Fused<R>, var: &Var, count: usize) -> Result<()> {
    for _ in 0..count {
        opt.step(&store([(var, var.ones_like()?)]))?;
    }
    Ok(())
}

fn numbers(var: &Tensor) -> Result<Vec<f32>> {
    Ok(var.to_dtype(DType::F32)?.to_vec1()?)
}

#[test]
fn many_small_steps_add_up() -> Result<()> {
    fn moved<R: UpdateRule>(rule: R, dtype: DType, masters: MasterWeights) -> Result<f32> {
        let var = ones(3, dtype)?;
        let mut opt = Fused::with_names([("w", var.clone())], rule)?;
        opt.set_master_weights(masters);
        steps(&mut opt, &var, 200)?;
        let after = numbers(&var)?;
        assert!(after.iter().all(|x| *x == after[0]));
        Ok(1.0 - after[0])
    }
    for (dtype, step) in [(DType::BF16, 1e-4), (DType::F16, 1e-4)] {
        let adamw = ParamsAdamW { lr: step, weight_decay: 0.0, ..Default::default() };
        let adam = ParamsAdam { lr: step, ..Default::default() };
        let sgd = ParamsSgd { lr: step, ..Default::default() };
        for (moved, masters) in BOTH.map(|masters| {
            let all = [
                moved(adamw.clone(), dtype, masters),
                moved(adam.clone(), dtype, masters),
                moved(sgd.clone(), dtype, masters),
            ];
            (all.map(|moved| moved.expect("it steps")), masters)
        }) {
            for moved in moved {
                match masters {
                    // A neighbour of 1 is 0.004 away in bf16, 0.0005 in f16.
                    MasterWeights::F32 => assert!((moved - 0.02).abs() < 0.003, "{moved}"),
                    MasterWeights::None => assert_eq!(moved, 0.0, "{dtype:?}"),
                }
            }
        }
    }
    Ok(())
}

/// What is stored was changed by somebody else in one element: it counts there, and only there.
#[test]
fn an_element_that_was_written_to_counts_as_it_is_stored() -> Result<()> {
    for dtype in HALVES {
        let sgd = ParamsSgd { lr: 1e-4, ..Default::default() };
        let var = ones(600, dtype)?;
        let mut opt = Sgd::new(vec![var.clone()], sgd)?;
        steps(&mut opt, &var, 100)?;
        let mut changed = numbers(&var)?;
        changed[300] = 2.0;
        changed[301] = -0.0;
        var.set(&Tensor::new(changed, &CPU)?.to_dtype(dtype)?)?;
        steps(&mut opt, &var, 100)?;
        let after = numbers(&var)?;
        assert!((after[299] - 0.98).abs() < 0.003 && after[299] == after[302], "{}", after[299]);
        assert!((after[300] - 1.99).abs() < 0.009, "{}", after[300]);
        assert!((after[301] + 0.01).abs() < 1e-4, "{}", after[301]);
    }
    Ok(())
}

#[test]
fn they_are_counted_saved_and_taken_up_bit_for_bit() -> Result<()> {
    fn check<R: UpdateRule>(rule: R, dtype: DType, saved_names: &[&str]) -> Result<()> {
        for len in [5, 70_001] {
            let build = |var: &Var| Fused::with_names([("w", var.clone())], rule.clone());
            let (first, second) = (ones(len, dtype)?, ones(len, dtype)?);
            let mut one = build(&first)?;
            assert_eq!(one.state_bytes(), 0, "building costs nothing");
            steps(&mut one, &first, 50)?;
            assert_eq!(one.state_bytes(), saved_names.len() * 4 * len);
            let state = one.save_state()?;
            let names: Vec<&str> = state.tensors.keys().map(String::as_str).collect();
            assert_eq!(names, saved_names);
            let mut other = build(&second)?;
            other.prepare_state(&state, &[])?.commit();
            second.set(&first.as_detached_tensor())?;
            steps(&mut one, &first, 50)?;
            steps(&mut other, &second, 50)?;
            assert_eq!(numbers(&first)?, numbers(&second)?);
            let (one, other) = (one.state_tensors()?, other.state_tensors()?);
            assert_eq!(numbers(&one["master/w"])?, numbers(&other["master/w"])?);
        }
        Ok(())
    }
    for dtype in HALVES {
        let moments = ["first_moment/w", "master/w", "second_moment/w"];
        check(ParamsAdamW { lr: 1e-4, ..Default::default() }, dtype, &moments)?;
        check(ParamsAdam { lr: 1e-4, ..Default::default() }, dtype, &moments)?;
        check(ParamsSgd { lr: 1e-4, ..Default::default() }, dtype, &["master/w"])?;
        let momentum = Momentum::Nesterov(0.9);
        let sgd = ParamsSgd { lr: 1e-5, momentum, ..Default::default() };
        check(sgd, dtype, &["master/w", "momentum/w"])?;
    }
    // Full precision needs none.
    for dtype in [DType::F32, DType::F64] {
        let var = ones(5, dtype)?;
        let mut opt = Sgd::new(vec![var.clone()], ParamsSgd::default())?;
        steps(&mut opt, &var, 1)?;
        assert_eq!(opt.state_bytes(), 0);
    }
    Ok(())
}

#[derive(Freezable)]
struct Net {
    #[freeze(param)]
    body: Tensor,
    #[freeze(param)]
    head: Tensor,
}

#[test]
fn they_go_with_the_leaf() -> Result<()> {
    for (policy, given_back) in
        [(StatePolicy::Drop, 12 * 8), (StatePolicy::Keep, 0), (StatePolicy::Offload, 0)]
    {
        let (body, head) = (ones(8, DType::BF16)?, ones(8, DType::BF16)?);
        let net = Net { body: body.as_tensor().clone(), head: head.as_tensor().clone() };
        let mut net = Freezer::new(net)?;
        let config = ParamsAdamW { lr: 1e-4, weight_decay: 0.0, ..Default::default() };
        let mut opt = AdamW::with_names(net.planned_vars(), config)?;
        opt.set_state_policy(policy);
        // Half the way to the neighbour of 1.
        steps(&mut opt, &body, 15)?;
        steps(&mut opt, &head, 15)?;
        let change = net.freeze_front(1, &mut [&mut opt])?;
        assert_eq!(change.state_bytes_released, Some(given_back), "{policy:?}");
        net.thaw(&mut [&mut opt])?;
        assert_eq!(numbers(&body)?, [1.0; 8]);
        // What was kept is one step short of the neighbour; what was dropped begins at 1 again.
        steps(&mut opt, &body, 10)?;
        let moved = numbers(&body)? != [1.0; 8];
        assert_eq!(moved, policy != StatePolicy::Drop, "{policy:?}");
    }
    Ok(())
}

#[test]
fn they_can_be_switched_on_and_off_between_steps() -> Result<()> {
    let momentum = Momentum::Heavy(0.9);
    for rule in [ParamsSgd::default(), ParamsSgd { momentum, ..ParamsSgd::default() }] {
        let rows = if rule.momentum == momentum { 1 } else { 0 };
        let var = ones(4, DType::BF16)?;
        let mut opt = Sgd::with_names([("w", var.clone())], rule.clone())?;
        for (masters, kept) in [
            (MasterWeights::None, rows),
            (MasterWeights::F32, rows + 1),
            (MasterWeights::None, rows),
        ] {
            opt.set_master_weights(masters);
            // Saved before the next step as that step would begin.
            let state = opt.save_state()?;
            assert_eq!(state.tensors.len(), if opt.updates(&var) == Some(0) { 0 } else { kept });
            steps(&mut opt, &var, 2)?;
            assert_eq!(opt.state_bytes(), kept * 4 * 4);
        }
        // Momentum survived both turns.
        let reference = ones(4, DType::BF16)?;
        let mut straight = Sgd::with_names([("w", reference.clone())], rule)?;
        straight.set_master_weights(MasterWeights::None);
        steps(&mut straight, &reference, 6)?;
        assert!(super::largest_gap(&var, &reference)? <= 2.0 / 256.0);
        let (ours, theirs) = (opt.save_state()?.tensors, straight.save_state()?.tensors);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, tensor) in ours {
            assert_eq!(super::bits(&tensor)?, super::bits(&theirs[&name])?, "{name}");
        }
        // A state with masters does not fit an optimizer without them, which says what to do.
        straight.set_master_weights(MasterWeights::F32);
        let with = straight.save_state()?;
        let error = opt.prepare_state(&with, &[]).unwrap_err().to_string();
        assert!(error.contains("`master/w` is unknown") && error.contains("set_master"), "{error}");
    }
    Ok(())
}

/// Adam's own formula in `f64` beside the parameter that is shown in `bf16`.
#[test]
fn a_long_run_ends_where_exact_arithmetic_does() -> Result<()> {
    let (half, exact) = (ones(1, DType::BF16)?, ones(1, DType::F64)?);
    let config = ParamsAdam { lr: 3e-5, ..Default::default() };
    let mut ours = Adam::new(vec![half.clone()], config.clone())?;
    let mut theirs = Adam::new(vec![exact.clone()], config)?;
    for i in 0..2000 {
        let grad = (f64::from(i) * 0.01).sin() + 0.5;
        let of = |var: &Var| Tensor::new(&[grad], &CPU)?.to_dtype(var.dtype());
        ours.step(&store([(&half, of(&half)?)]))?;
        theirs.step(&store([(&exact, of(&exact)?)]))?;
    }
    let exact = exact.get(0)?.to_scalar::<f64>()?;
    assert!((f64::from(numbers(&half)?[0]) - exact).abs() < 0.004, "{exact}");
    assert!((exact - 1.0).abs() > 0.02, "{exact}");
    Ok(())
}
