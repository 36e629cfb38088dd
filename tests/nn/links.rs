//! Gradients between two operations of `nn` go past candle's store, whatever the graph looks like.

use std::thread;

use candle_core::{DType, Result, Tensor, Var};
use freeze_core::backward;
use freeze_core::nn::ops::{add, linear, mul, relu, tanh};

use crate::support::{assert_close, flat, random};

fn var(seed: u64, shape: &[usize]) -> Var {
    Var::from_tensor(&random(seed, shape, DType::F64)).unwrap()
}

/// A result that is used again and again: by operations of ours, twice by one of them, and by candle's.
fn tangled(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let y = tanh(&linear(x, w, None)?)?;
    let squared = mul(&y, &y)?;
    let turned = linear(&y.t()?, &y.t()?, None)?;
    let sum = add(&add(&squared, &y)?, &(y.sin()? + relu(&y)?)?)?;
    sum.sum_all()? + turned.sqr()?.sum_all()?
}

/// The same by candle's operations.
fn stock(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let y = x.matmul(&w.t()?)?.tanh()?;
    let turned = y.t()?.matmul(&y)?;
    let sum = ((((&y * &y)? + &y)? + y.sin()?)? + y.relu()?)?;
    sum.sum_all()? + turned.sqr()?.sum_all()?
}

fn gradients(loss: &Tensor, vars: [&Var; 2]) -> Vec<Tensor> {
    let grads = loss.backward().unwrap();
    vars.map(|var| grads.get(var).unwrap().clone()).to_vec()
}

#[test]
fn results_that_are_used_again_and_again() {
    let (x, w) = (var(1, &[3, 4]), var(2, &[4, 4]));
    let expected = gradients(&stock(&x, &w).unwrap(), [&x, &w]);
    let loss = tangled(&x, &w).unwrap();
    // Each backward of one graph gives the same.
    for _ in 0..3 {
        for (found, expected) in gradients(&loss, [&x, &w]).iter().zip(&expected) {
            assert_close(found, expected, 1e-12, "gradient");
        }
        let kept = backward(&loss).unwrap();
        assert_close(kept.get(&x).unwrap(), &expected[0], 1e-12, "kept");
    }
}

#[test]
fn backwards_of_one_graph_on_several_threads_at_a_time() {
    let (x, w) = (var(1, &[30, 40]), var(2, &[40, 40]));
    let loss = tangled(&x, &w).unwrap();
    let expected = gradients(&loss, [&x, &w]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    for (found, expected) in gradients(&loss, [&x, &w]).iter().zip(&expected) {
                        assert_eq!(flat(found), flat(expected));
                    }
                }
            });
        }
    });
}

/// Fails backward, on the gradient's way to what lies below it.
struct Fails;

impl candle_core::CustomOp1 for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    fn cpu_fwd(
        &self,
        storage: &candle_core::CpuStorage,
        layout: &candle_core::Layout,
    ) -> Result<(candle_core::CpuStorage, candle_core::Shape)> {
        Ok((storage.clone(), layout.shape().clone()))
    }
}

#[test]
fn a_backward_that_failed_leaves_nothing_for_the_next() {
    let x = var(1, &[3, 4]);
    let y = tanh(&x).unwrap();
    let below = mul(&y, &y).unwrap();
    let fails = add(&below, &y.apply_op1(Fails).unwrap()).unwrap().sum_all().unwrap();
    assert!(fails.backward().is_err());
    assert!(backward(&fails).is_err());
    let loss = mul(&below, &y).unwrap().sum_all().unwrap();
    let expected = x.tanh().unwrap().powf(3.).unwrap().sum_all().unwrap().backward().unwrap();
    let found = loss.backward().unwrap();
    assert_close(found.get(&x).unwrap(), expected.get(&x).unwrap(), 1e-12, "gradient");
}

#[test]
fn candles_graph_holds_numbers_between_operations() {
    let (x, w) = (var(1, &[3, 4]), var(2, &[4, 4]));
    let y = relu(&linear(&relu(&linear(&x, &w, None).unwrap()).unwrap(), &w, None).unwrap());
    let sizes: Vec<usize> = y.unwrap().sorted_nodes().into_iter().map(Tensor::elem_count).collect();
    // The result, four operations, and the two variables.
    let mut sorted = sizes.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 1, 1, 1, 12, 12, 16], "{sizes:?}");
}

#[test]
fn a_long_graph_is_made_passed_and_given_back() {
    let x = var(1, &[2]);
    let mut y = x.as_tensor().clone();
    for _ in 0..2000 {
        y = add(&y, &x).unwrap();
    }
    let grads = backward(&y.sum_all().unwrap()).unwrap();
    assert_eq!(flat(grads.get(&x).unwrap()), [2001.; 2]);
}
