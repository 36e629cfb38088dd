//! Sums over many elements: in `f32` one by one they stop at 2^24, where adding 1 changes nothing.

use candle_core::{Device, Result, Tensor, Var};
use freeze_core::nn::{Conv1dConfig, Conv2dConfig, ops};

use crate::support::flat;

/// Once they have been added up one by one, the ones that follow are lost.
const LARGE: usize = 1 << 12;
const ONES: usize = 1 << 16;
const COUNT: usize = LARGE + ONES;
const SUM: f64 = (LARGE * LARGE + ONES) as f64;

/// `[rows, columns]`, every column with the sum.
fn weights(columns: usize) -> Tensor {
    let value = |row| if row < LARGE { LARGE as f32 } else { 1. };
    let values: Vec<f32> = (0..COUNT * columns).map(|i| value(i / columns)).collect();
    Tensor::from_vec(values, (COUNT, columns), &Device::Cpu).unwrap()
}

/// The gradient of `parameter` for the sum of the results, each as often as [`weights`] says, in the
/// order of rows.
fn gradient(
    parameter: &Tensor,
    columns: usize,
    run: impl Fn(&Tensor) -> Result<Tensor>,
) -> Vec<f64> {
    let parameter = Var::from_tensor(parameter).unwrap();
    let y = run(&parameter).unwrap().reshape((COUNT, columns)).unwrap();
    let loss = (y * weights(columns)).unwrap().sum_all().unwrap();
    flat(loss.backward().unwrap().get(&parameter).unwrap())
}

fn filled(value: f32, shape: &[usize]) -> Tensor {
    Tensor::full(value, shape, &Device::Cpu).unwrap()
}

#[test]
fn gradients_of_biases() {
    for n in [1, 3, 16, 300] {
        let (x, w) = (filled(1., &[COUNT, n]), filled(0., &[n, n]));
        let bias = filled(0., &[n]);
        assert_eq!(gradient(&bias, n, |b| ops::add_bias(&x, b)), vec![SUM; n], "add, {n}");
        if n < 20 {
            assert_eq!(gradient(&bias, n, |b| ops::linear(&x, &w, Some(b))), vec![SUM; n], "{n}");
        }
    }
    let (one, two) = (Conv1dConfig::default(), Conv2dConfig::default());
    let bias = filled(0., &[1]);
    for samples in [1, LARGE] {
        let (x, w) = (filled(1., &[samples, 1, COUNT / samples]), filled(0., &[1, 1, 1]));
        assert_eq!(gradient(&bias, 1, |b| ops::conv1d(&x, &w, Some(b), &one)), [SUM]);
        let (x, w) = (x.unsqueeze(2).unwrap(), w.unsqueeze(2).unwrap());
        assert_eq!(gradient(&bias, 1, |b| ops::conv2d(&x, &w, Some(b), &two)), [SUM]);
    }
}

#[test]
fn gradients_of_weights() {
    for (inner, out) in [(1, 1), (1, 5), (5, 1), (2, 3), (40, 1), (1, 40)] {
        let (x, w) = (filled(1., &[COUNT, inner]), filled(0., &[out, inner]));
        let found = gradient(&w, out, |w| ops::linear(&x, w, None));
        assert_eq!(found, vec![SUM; out * inner], "{inner} to {out}");
    }
    let (x, w) = (filled(1., &[1, 1, COUNT]), filled(0., &[1, 1, 1]));
    assert_eq!(gradient(&w, 1, |w| ops::conv1d(&x, w, None, &Conv1dConfig::default())), [SUM]);
}

/// All queries see one key.
#[test]
fn gradients_of_values() {
    let (q, k) = (filled(1., &[1, 1, COUNT, 1]), filled(1., &[1, 1, 1, 1]));
    for width in [1, 3] {
        let v = filled(1., &[1, 1, 1, width]);
        let mask = ops::AttentionMask::None;
        let attend = |v: &Tensor| ops::scaled_dot_product_attention(&q, &k, v, mask, None);
        assert_eq!(gradient(&v, width, attend), vec![SUM; width], "{width}");
    }
}

#[test]
fn gradients_of_slopes() {
    for (shape, slopes) in [(&[COUNT][..], 1), (&[COUNT, 3], 3), (&[1, 1, COUNT], 1)] {
        let (x, w) = (filled(-1., shape), filled(0.5, &[slopes]));
        let found = gradient(&w, slopes, |w| ops::prelu(&x, w));
        assert_eq!(found, vec![-SUM; slopes], "{shape:?}");
    }
}

#[test]
fn gradients_of_norms() {
    // Normalised over one element, the input is its bias alone.
    let (x, w, b) = (filled(1., &[COUNT, 1]), filled(1., &[1]), filled(0., &[1]));
    assert_eq!(gradient(&b, 1, |b| ops::layer_norm(&x, &w, Some(b), 1e-5)), [SUM]);
    let (mean, variance) = (filled(0., &[1]), filled(1., &[1]));
    for shape in [&[COUNT, 1][..], &[COUNT, 1, 1], &[1, 1, COUNT]] {
        let x = filled(1., shape);
        let norm = |b: &Tensor| ops::batch_norm(&x, Some((&w, b)), 1e-5);
        assert_eq!(gradient(&b, 1, |b| Ok(norm(b)?.0)), [SUM]);
        let norm = |b: &Tensor| ops::batch_norm_inference(&x, &mean, &variance, Some((&w, b)), 0.);
        assert_eq!(gradient(&b, 1, norm), [SUM]);
    }
    let x = filled(1., &[COUNT, 1, 1]);
    assert_eq!(gradient(&b, 1, |b| ops::group_norm(&x, 1, &w, b, 1e-5)), [SUM]);
}

#[test]
fn means() {
    let mean = f64::from((SUM / COUNT as f64) as f32);
    let x = weights(1);
    let image = x.reshape((1, 1, COUNT / 256, 256)).unwrap();
    assert_eq!(flat(&ops::avg_pool2d(&image, (COUNT / 256, 256)).unwrap()), [mean]);
    // Two rows of three large windows, each full of its own number, in each of two planes.
    let numbers = Tensor::arange(0f32, 12., &Device::Cpu).unwrap().reshape((1, 2, 2, 1, 3, 1));
    let windows = numbers.and_then(|n| n.broadcast_as((1, 2, 2, 96, 3, 64))).unwrap();
    let image_of_windows = windows.reshape((1, 2, 2 * 96, 3 * 64)).unwrap();
    let means = ops::avg_pool2d(&image_of_windows, (96, 64)).unwrap();
    assert_eq!(flat(&means), (0..12).map(f64::from).collect::<Vec<_>>());
    let (_, batch) = ops::batch_norm(&x, None, 1e-5).unwrap();
    assert_eq!(flat(&batch.mean), [mean]);
    let (_, batch) = ops::batch_norm(&image, None, 1e-5).unwrap();
    assert_eq!(flat(&batch.mean), [mean]);
}
