//! The normalisations of `freeze_core::nn`: values and gradients against finite differences, against
//! candle's own backward of the same formula, and what freezing leaves of the work.

mod batch_norm;
mod fused;
mod planes;
mod rows;
mod softmax;

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Reproducible values in `mean - 1 .. mean + 1`.
fn values(seed: u64, len: usize, mean: f64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| mean + rng.random_range(-1.0..1.0)).collect()
}

/// A variable of reproducible values.
fn var(seed: u64, shape: &[usize], dtype: DType) -> Var {
    shifted(seed, shape, dtype, 0.0)
}

fn shifted(seed: u64, shape: &[usize], dtype: DType, mean: f64) -> Var {
    let values = values(seed, shape.iter().product(), mean);
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    Var::from_tensor(&tensor).unwrap()
}

/// A scalar whose gradient with respect to `y` differs from element to element.
fn loss(y: &Tensor) -> Result<Tensor> {
    let y = y.to_dtype(DType::F64)?;
    let weights = values(99, y.elem_count(), 0.5);
    (y.contiguous()? * Tensor::from_vec(weights, y.shape(), y.device())?)?.sum_all()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, in units of the larger one of 1 and the largest expected value.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (flat(found), flat(expected));
    let scale = expected.iter().fold(1.0f64, |max, e| max.max(e.abs()));
    let off = found.iter().zip(&expected).map(|(f, e)| (f - e).abs() / scale);
    off.fold(0.0, |max, d| if d > max || d.is_nan() { d } else { max })
}

/// Checks the gradients of `run` (one element type: f64) against central differences.
fn assert_matches_differences(vars: &[&Var], run: impl Fn() -> Result<Tensor>) {
    const STEP: f64 = 1e-5;
    let grads = loss(&run().unwrap()).unwrap().backward().unwrap();
    for (index, var) in vars.iter().enumerate() {
        let start = flat(var);
        let at = |values: Vec<f64>| {
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
            loss(&run().unwrap()).unwrap().to_scalar::<f64>().unwrap()
        };
        let slopes = (0..start.len()).map(|i| {
            let moved = |by: f64| {
                let mut values = start.clone();
                values[i] += by;
                at(values)
            };
            (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
        });
        let slopes: Vec<f64> = slopes.collect();
        at(start);
        let expected = Tensor::from_vec(slopes, var.shape(), &Device::Cpu).unwrap();
        let off = distance(grads.get(var).expect("a gradient"), &expected);
        assert!(off < 1e-7, "operand {index}: off by {off:e}");
    }
}

/// Checks the values of `run` and its gradients for `vars` against those of `reference`.
fn assert_matches_reference(
    vars: &[&Var],
    tolerance: f64,
    run: impl Fn() -> Result<Tensor>,
    reference: impl Fn() -> Result<Tensor>,
) {
    let (found, expected) = (run().unwrap(), reference().unwrap());
    let off = distance(&found, &expected);
    assert!(off < tolerance, "values are off by {off:e}");
    let found = loss(&found).unwrap().backward().unwrap();
    let expected = loss(&expected).unwrap().backward().unwrap();
    for (index, var) in vars.iter().enumerate() {
        let off = distance(found.get(var).expect("a gradient"), expected.get(var).unwrap());
        assert!(off < tolerance, "operand {index}: off by {off:e}");
    }
}
