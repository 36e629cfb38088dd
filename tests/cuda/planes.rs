//! Normalisation of planes and pooling on the card: the numbers must be those of the CPU's kernels.

use candle_core::{DType, Device, ModuleT, Result, Tensor, Var};
use freeze_core::nn::{BatchNorm, ops};

use crate::battery::{Row, check, row};
use crate::card;
use crate::support::{flat, random};

/// Shapes with planes of one element, odd and even ones, ones beyond a block, and few channels of many elements.
const SHAPES: [&[usize]; 9] = [
    &[4, 5, 3, 2],
    &[2, 3, 1, 1],
    &[1, 1, 1, 3],
    &[3, 2, 7, 7],
    &[2, 6, 14, 14],
    &[2, 3, 8, 8],
    &[2, 2, 1025],
    &[1, 4, 4099],
    &[3, 2, 80, 96],
];

fn batch(t: &[Tensor]) -> Result<(Tensor, ops::BatchStatistics)> {
    ops::batch_norm(&t[0], t.get(1).zip(t.get(2)), 1e-5)
}

#[test]
fn batch_norms() {
    let mut rows: Vec<Row> = Vec::new();
    for shape in SHAPES {
        let (channels, scale) = (shape[1], [shape[1]]);
        rows.push(row(format!("batch norm {shape:?}"), &[shape, &scale, &scale], true, |t| {
            Ok(batch(t)?.0)
        }));
        rows.push(row(format!("batch norm {shape:?} alone"), &[shape], true, |t| Ok(batch(t)?.0)));
        rows.push(row(format!("means of {shape:?}"), &[shape], false, |t| Ok(batch(t)?.1.mean)));
        rows.push(row(format!("variances of {shape:?}"), &[shape], false, |t| {
            Ok(batch(t)?.1.variance)
        }));
        let by = |t: &[Tensor]| {
            let variance = (t[2].sqr()? + 0.5)?;
            ops::batch_norm_inference(&t[0], &t[1], &variance, t.get(3).zip(t.get(4)), 1e-5)
        };
        // Mean and variance are not tracked: no gradient passes through them.
        rows.push(row(
            format!("by constants {shape:?}"),
            &[shape, &scale, &scale],
            true,
            move |t| {
                let mean = t[1].detach();
                by(&[t[0].clone(), mean.clone(), mean, t[1].clone(), t[2].clone()])
            },
        ));
        rows.push(row(format!("by constants {shape:?} alone"), &[shape], true, move |t| {
            let mean = Tensor::arange(0f32, channels as f32, t[0].device())?;
            let mean = (mean / channels as f64)?.to_dtype(t[0].dtype())?;
            by(&[t[0].clone(), mean.clone(), mean])
        }));
    }
    for shape in [&[9, 5][..], &[2, 1], &[1025, 3], &[4099, 2]] {
        let scale = [shape[1]];
        rows.push(row(format!("batch norm {shape:?}"), &[shape, &scale, &scale], true, |t| {
            Ok(batch(t)?.0)
        }));
        rows.push(row(format!("variances of {shape:?}"), &[shape], false, |t| {
            Ok(batch(t)?.1.variance)
        }));
    }
    check(&rows);
}

#[test]
fn group_norms() {
    let mut rows: Vec<Row> = Vec::new();
    for (shape, groups) in [
        (&[2, 6, 5, 3][..], 3),
        (&[2, 6, 5, 3], 1),
        (&[2, 6, 5, 3], 6),
        (&[3, 4, 1, 1], 2),
        (&[2, 8, 14, 14], 4),
        (&[1, 4, 1025], 2),
        (&[2, 2, 80, 96], 1),
        (&[1, 1, 1, 3], 1),
    ] {
        let scale = [shape[1]];
        let name = format!("group norm {shape:?} in {groups}");
        rows.push(row(name, &[shape, &scale, &scale], true, move |t| {
            ops::group_norm(&t[0], groups, &t[1], &t[2], 1e-5)
        }));
    }
    check(&rows);
}

/// A layer over the operands behind the first `inputs`, a weight and a bias, or one without.
fn layer(t: &[Tensor], inputs: usize) -> Result<BatchNorm> {
    let (x, channels) = (&t[0], t[0].dim(1)?);
    let running = Tensor::ones(channels, x.dtype(), x.device())?;
    let means = (&running * 0.25)?;
    match t.get(inputs).zip(t.get(inputs + 1)) {
        None => BatchNorm::new_no_bias(channels, means, running, 1e-5),
        Some((weight, bias)) => {
            BatchNorm::new(channels, means, running, weight.clone(), bias.clone(), 1e-5)
        }
    }
}

#[test]
fn rectified_and_with_residuals() {
    let mut rows: Vec<Row> = Vec::new();
    for shape in SHAPES.into_iter().chain([&[9, 5][..]]) {
        let scale = [shape[1]];
        for train in [false, true] {
            let relu = move |t: &[Tensor]| layer(t, 1)?.forward_relu(&t[0], train);
            let sum = move |t: &[Tensor]| layer(t, 2)?.forward_add_relu(&t[0], &t[1], train);
            let name = |what: &str| format!("{what} {shape:?} train {train}");
            rows.push(row(name("batch norm and relu"), &[shape, &scale, &scale], true, relu));
            rows.push(row(name("batch norm and relu alone"), &[shape], true, relu));
            let shapes = [shape, shape, &scale, &scale];
            rows.push(row(name("batch norm, sum and relu"), &shapes, true, sum));
            rows.push(row(name("batch norm, sum and relu alone"), &[shape, shape], true, sum));
        }
    }
    rows.push(row("evaluation", &[&[4, 5, 3, 2], &[5], &[5]], true, |t| {
        layer(t, 1)?.forward_t(&t[0], false)
    }));
    check(&rows);
}

#[test]
fn pools() {
    let mut rows: Vec<Row> = Vec::new();
    for (shape, kernel, stride) in [
        ([2, 3, 7, 6], (2, 2), (2, 2)),
        ([2, 3, 7, 6], (2, 3), (2, 3)),
        ([2, 3, 7, 6], (3, 2), (1, 1)),
        ([2, 3, 7, 6], (1, 2), (3, 3)),
        ([1, 1, 3, 3], (1, 1), (1, 1)),
        ([3, 5, 7, 7], (7, 7), (1, 1)),
        ([1, 2, 41, 43], (3, 3), (2, 2)),
        ([1, 2, 41, 43], (7, 5), (2, 3)),
        ([1, 2, 40, 44], (36, 37), (2, 3)),
        ([65, 33, 4, 3], (2, 2), (2, 1)),
    ] {
        let name = |what: &str| format!("{what} pool {shape:?} {kernel:?} {stride:?}");
        rows.push(row(name("max"), &[&shape], true, move |t| {
            ops::max_pool2d_with_stride(&t[0], kernel, stride)
        }));
        rows.push(row(name("mean"), &[&shape], true, move |t| {
            ops::avg_pool2d_with_stride(&t[0], kernel, stride)
        }));
    }
    check(&rows);
}

#[test]
fn first_maxima() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for (kernel, stride) in [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 1))] {
            for odd in [0.0, f64::NAN] {
                // Few distinct values, so that windows have several maxima, or several NaNs.
                let x = (random(1, (2, 3, 9, 8), DType::F64) * 2.0)?.round()?;
                let other = (x.ones_like()? * odd)?;
                let x = x.eq(1.0)?.where_cond(&other, &x)?.to_dtype(dtype)?;
                let run = |device: &Device| -> Result<[Vec<f64>; 2]> {
                    let x = Var::from_tensor(&x.to_device(device)?)?;
                    let y = ops::max_pool2d_with_stride(&x, kernel, stride)?;
                    let grads = y.sum_all()?.backward()?;
                    Ok([flat(&y), flat(grads.get(&x).expect("a gradient"))])
                };
                let [found, expected] = [run(&card)?, run(&Device::Cpu)?].map(|found| {
                    found.map(|values| values.into_iter().map(f64::to_bits).collect::<Vec<_>>())
                });
                assert_eq!(found[1], expected[1], "{dtype:?} {kernel:?} {stride:?} {odd}");
                let same = |(a, b): (&u64, &u64)| {
                    a == b || f64::from_bits(*a).is_nan() && f64::from_bits(*b).is_nan()
                };
                assert!(found[0].iter().zip(&expected[0]).all(same), "{dtype:?} {kernel:?} {odd}");
            }
        }
    }
    Ok(())
}
