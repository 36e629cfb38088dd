//! `freeze_core::backward` gives what `loss.backward()` does.

use candle_core::{DType, Result, Tensor, Var, bail};
use freeze_core::backward;
use freeze_core::nn::ops::{add_bias, layer_norm, linear, relu};

use crate::support::{assert_close, flat, random};

fn var(seed: u64, shape: &[usize]) -> Var {
    Var::from_tensor(&random(seed, shape, DType::F64)).unwrap()
}

/// The variables of a case, and its loss.
type Case = (&'static str, Vec<Var>, fn(&[Var]) -> Result<Tensor>);

fn cases() -> Vec<Case> {
    let [x, w, b] = [var(1, &[3, 4]), var(2, &[4, 4]), var(3, &[4])];
    vec![
        ("once", vec![x.clone(), w.clone(), b.clone()], |v| {
            relu(&linear(&v[0], &v[1], Some(&v[2]))?)?.sqr()?.sum_all()
        }),
        ("twice by ours", vec![w.clone(), x.clone()], |v| {
            linear(&linear(&v[1], &v[0], None)?, &v[0], None)?.sqr()?.sum_all()
        }),
        ("by ours and by candle's", vec![w.clone(), x.clone()], |v| {
            let y = linear(&v[1], &v[0], None)?;
            (v[0].sqr()?.sum_all()? + y.matmul(&v[0])?.sum_all()?)?.sqr()
        }),
        ("by candle's alone", vec![w.clone()], |v| v[0].sqr()?.sum_all()),
        ("in two places of one operation", vec![w.clone()], |v| {
            linear(&v[0], &v[0], None)?.sqr()?.sum_all()
        }),
        ("one gradient for two variables", vec![x.clone(), b.clone()], |v| {
            layer_norm(&add_bias(&v[0], &v[1])?, &v[1], Some(&v[1]), 1e-5)?.sum_all()
        }),
        ("a view of a variable", vec![w.clone(), x.clone()], |v| {
            linear(&v[1], &v[0].t()?.contiguous()?, None)?.sqr()?.sum_all()
        }),
        ("nothing tracked", vec![], |_| random(4, 3, DType::F64).sqr()?.sum_all()),
        ("no elements", vec![var(5, &[0, 4]), w.clone(), x], |v| {
            linear(&v[0], &v[1], None)?.sum_all()? + linear(&v[2], &v[1], None)?.sum_all()?
        }),
    ]
}

#[test]
fn gradients_are_those_of_candles_backward() {
    for (name, vars, loss) in cases() {
        let loss = loss(&vars).unwrap();
        let (found, expected) = (backward(&loss).unwrap(), loss.backward().unwrap());
        for (place, var) in vars.iter().enumerate() {
            let (found, expected) = (found.get(var).unwrap(), expected.get(var).unwrap());
            assert_close(found, expected, 1e-14, &format!("{name}, {place}"));
            // Some of candle's own do.
            let graph = found.track_op() && !name.contains("candle");
            assert!(!graph, "{name}: a gradient holds a graph");
        }
        assert_eq!(found.get_ids().count(), expected.get_ids().count(), "{name}");
    }
}

/// Runs another backward within its own, as recomputation does, or fails.
struct Inner {
    weight: Var,
    fails: bool,
}

impl candle_core::CustomOp1 for Inner {
    fn name(&self) -> &'static str {
        "inner"
    }

    fn cpu_fwd(
        &self,
        x: &candle_core::CpuStorage,
        layout: &candle_core::Layout,
    ) -> Result<(candle_core::CpuStorage, candle_core::Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((x.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if self.fails {
            bail!("on purpose")
        }
        let y = linear(&x.detach(), &self.weight, None)?;
        let inner = backward(&y.sum_all()?)?;
        assert_eq!(flat(inner.get(&self.weight).unwrap()).len(), 16);
        Ok(Some(grad.clone()))
    }
}

#[test]
fn a_backward_runs_within_another_and_leaves_nothing_where_it_fails() {
    let (x, w) = (random(1, (3, 4), DType::F64), var(2, &[4, 4]));
    let loss = |fails: bool| {
        let inner = Inner { weight: w.clone(), fails };
        let y = linear(&x, &w, None)?.apply_op1(inner)?;
        linear(&y, &w, None)?.sum_all()
    };
    let expected = loss(false).unwrap().backward().unwrap();
    for _ in 0..2 {
        assert!(backward(&loss(true).unwrap()).is_err());
        let found = backward(&loss(false).unwrap()).unwrap();
        assert_close(found.get(&w).unwrap(), expected.get(&w).unwrap(), 1e-14, "after a failure");
    }
    // Nothing is kept from candle's own backward afterwards.
    let after = loss(false).unwrap().backward().unwrap();
    assert_eq!(flat(after.get(&w).unwrap()), flat(expected.get(&w).unwrap()));
}

#[test]
fn threads_do_not_see_each_others_gradients() {
    let gradient = |seed: u64| {
        let (x, w) = (random(seed, (3, 4), DType::F64), var(2, &[4, 4]));
        let loss = linear(&x, &w, None).unwrap().sqr().unwrap().sum_all().unwrap();
        flat(backward(&loss).unwrap().get(&w).unwrap())
    };
    let alone: Vec<Vec<f64>> = (0..8).map(gradient).collect();
    let together: Vec<_> = (0..8).map(|seed| std::thread::spawn(move || gradient(seed))).collect();
    let together: Vec<Vec<f64>> = together.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(alone, together);
}

#[test]
fn the_same_loss_twice_on_another_thread_and_a_loss_that_is_a_variable() {
    let (x, w) = (random(1, (3, 4), DType::F64), var(2, &[4, 4]));
    let loss = linear(&x, &w, None).unwrap().sqr().unwrap().sum_all().unwrap();
    let once = flat(backward(&loss).unwrap().get(&w).unwrap());
    assert_eq!(flat(backward(&loss).unwrap().get(&w).unwrap()), once, "twice");
    let (loss, var_of_thread) = (loss.clone(), w.clone());
    let elsewhere =
        std::thread::spawn(move || flat(backward(&loss).unwrap().get(&var_of_thread).unwrap()));
    assert_eq!(elsewhere.join().unwrap(), once, "on another thread");
    let scalar = var(3, &[]);
    let grads = backward(&scalar).unwrap();
    assert_eq!(flat(grads.get(&scalar).unwrap()), [1.0], "a variable");
    assert!(grads.get(&w).is_none(), "what an earlier call kept");
}
