//! Checks shared by the tests of `freeze_core::nn`: finite differences, subsets of tracked operands,
//! comparison with a reference.

use std::collections::HashSet;

use candle_core::{DType, Device, Result, Shape, Tensor, TensorId, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Values in [-1, 1), the same for the same seed.
pub(crate) fn random(seed: u64, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let shape = shape.into();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.elem_count()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f64> {
    // On the host: candle cannot convert a tensor without elements on CUDA.
    let here = tensor.to_device(&Device::Cpu).unwrap();
    here.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Equal shapes, and elements equal to within `tolerance` of the larger of 1 and the largest element.
#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let (found, expected) = (flat(found), flat(expected));
    let scale = expected.iter().fold(1f64, |scale, value| scale.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = (found - expected).abs() / scale;
        assert!(off <= tolerance, "{what}[{i}]: found {found}, expected {expected}, off {off:e}");
    }
}

/// The sum of squares: a loss whose own backward touches its operand alone.
pub(crate) fn loss(y: &Tensor) -> Result<Tensor> {
    y.sqr()?.sum_all()
}

/// Runs `f` with the operands of `tracked` as variables and the rest detached. Returns the result and
/// each operand's gradient, after checking that no gradient was made for anything else.
#[track_caller]
pub(crate) fn gradients(
    operands: &[Tensor],
    tracked: &[bool],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> (Tensor, Vec<Option<Tensor>>) {
    let inputs: Vec<Tensor> = operands
        .iter()
        .zip(tracked)
        .map(|(operand, &tracked)| match tracked {
            true => Var::from_tensor(operand).unwrap().into_inner(),
            false => operand.detach(),
        })
        .collect();
    let y = f(&inputs).unwrap();
    if !tracked.contains(&true) {
        assert!(!y.track_op(), "a graph was recorded although nothing is tracked");
        return (y, vec![None; operands.len()]);
    }
    assert!(y.track_op(), "no graph was recorded although something is tracked");
    let grads = loss(&y).unwrap().backward().unwrap();
    let found: HashSet<TensorId> = grads.get_ids().copied().collect();
    let wanted: HashSet<TensorId> =
        inputs.iter().filter(|input| input.is_variable()).map(Tensor::id).collect();
    assert_eq!(found, wanted, "gradients must exist for the tracked operands and no others");
    let grads = inputs.iter().map(|input| grads.get(input).cloned()).collect();
    (y, grads)
}

/// Gradients of `f` in f64 against central differences, then every subset of tracked operands: the
/// same result and gradients bit for bit, and nothing for the rest.
#[track_caller]
pub(crate) fn check(operands: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let all = vec![true; operands.len()];
    let (y, grads) = gradients(operands, &all, &f);
    for (i, grad) in grads.iter().enumerate() {
        let grad = grad.as_ref().expect("a gradient for every tracked operand");
        assert_close(grad, &differences(operands, i, &f), 1e-6, &format!("gradient of {i}"));
    }
    for subset in 0..1usize << operands.len() {
        let tracked: Vec<bool> = (0..operands.len()).map(|i| subset >> i & 1 == 1).collect();
        let (some_y, some) = gradients(operands, &tracked, &f);
        assert_eq!(flat(&some_y), flat(&y), "the result must not depend on what is tracked");
        for (i, (some, full)) in some.iter().zip(&grads).enumerate() {
            assert_eq!(some.is_some(), tracked[i], "operand {i} of subset {subset:b}");
            if let (Some(some), Some(full)) = (some, full) {
                assert_eq!(flat(some), flat(full), "operand {i} of subset {subset:b}");
            }
        }
    }
}

/// d loss / d operand by central differences.
fn differences(
    operands: &[Tensor],
    which: usize,
    f: &impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Tensor {
    const STEP: f64 = 1e-5;
    let shape = operands[which].shape();
    let values = flat(&operands[which]);
    let at = |i: usize, step: f64| {
        let mut moved = values.clone();
        moved[i] += step;
        let mut operands: Vec<Tensor> = operands.iter().map(Tensor::detach).collect();
        operands[which] = Tensor::from_vec(moved, shape, &Device::Cpu).unwrap();
        loss(&f(&operands).unwrap()).unwrap().to_scalar::<f64>().unwrap()
    };
    let slopes: Vec<f64> =
        (0..values.len()).map(|i| (at(i, STEP) - at(i, -STEP)) / (2. * STEP)).collect();
    Tensor::from_vec(slopes, shape, &Device::Cpu).unwrap()
}

/// Result and gradients of `f` against those of `reference`, all operands tracked.
#[track_caller]
pub(crate) fn check_against(
    operands: &[Tensor],
    tolerance: f64,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let (y, grads) = gradients(operands, &vec![true; operands.len()], f);
    let inputs: Vec<Tensor> =
        operands.iter().map(|operand| Var::from_tensor(operand).unwrap().into_inner()).collect();
    let expected = reference(&inputs).unwrap();
    assert_close(&y, &expected, tolerance, "result");
    let stock = loss(&expected).unwrap().backward().unwrap();
    for (i, (input, grad)) in inputs.iter().zip(&grads).enumerate() {
        let (grad, stock) = (grad.as_ref().unwrap(), stock.get(input).unwrap());
        assert_close(grad, stock, tolerance, &format!("gradient of {i}"));
    }
}

/// Result and gradients in a half type against the same in f32 on the same rounded operands.
#[track_caller]
pub(crate) fn check_half(
    dtype: DType,
    tolerance: f64,
    operands: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let to = |dtype: DType, operands: &[Tensor]| -> Vec<Tensor> {
        operands.iter().map(|operand| operand.to_dtype(dtype).unwrap()).collect()
    };
    let half = to(dtype, operands);
    let all = vec![true; operands.len()];
    let (y, grads) = gradients(&half, &all, &f);
    assert_eq!(y.dtype(), dtype);
    let (expected, full) = gradients(&to(DType::F32, &half), &all, &f);
    assert_close(&y, &expected, tolerance, "result");
    for (i, (grad, full)) in grads.iter().zip(&full).enumerate() {
        let (grad, full) = (grad.as_ref().unwrap(), full.as_ref().unwrap());
        assert_eq!(grad.dtype(), dtype);
        assert_close(grad, full, tolerance, &format!("gradient of {i}"));
    }
}

/// The text of an error that must occur.
#[track_caller]
pub(crate) fn refusal(result: Result<Tensor>) -> String {
    result.expect_err("this must be refused").to_string()
}
