//! Operations on rows, each of which has kernels of its own: norms, softmax, losses, sums of columns, lookups, and
//! rows in another order.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use freeze_core::nn::{self, ops};

use crate::battery::{Row, check, close, row};
use crate::card;
use crate::support::random;

/// Rows of one element and of many, fewer and more than a block has threads, and many rows.
const SHAPES: [[usize; 2]; 8] =
    [[1, 1], [3, 7], [5, 33], [7, 256], [3, 1025], [2, 4099], [2500, 3], [300, 129]];

fn shaped(name: &str, shape: [usize; 2]) -> String {
    format!("{name} {shape:?}")
}

#[test]
fn norms_of_rows() {
    let mut rows: Vec<Row> = vec![row("layer norm 3d", &[&[3, 2, 7], &[7], &[7]], true, |t| {
        ops::layer_norm(&t[0], &t[1], t.get(2), 1e-5)
    })];
    for shape in SHAPES {
        let weight = [shape[1]];
        // Of one element nothing is left but what rounding makes of it.
        if shape[1] > 1 {
            let shapes: &[&[usize]] = &[&shape, &weight, &weight];
            rows.push(row(shaped("layer norm", shape), shapes, true, |t| {
                ops::layer_norm(&t[0], &t[1], t.get(2), 1e-5)
            }));
            rows.push(row(shaped("layer norm, no bias", shape), &shapes[..2], true, |t| {
                ops::layer_norm(&t[0], &t[1], None, 1e-5)
            }));
        }
        rows.push(row(shaped("rms norm", shape), &[&shape, &weight], true, |t| {
            ops::rms_norm(&t[0], &t[1], 1e-6)
        }));
    }
    check(&rows);
}

#[test]
fn softmax_of_rows() {
    let rows = SHAPES.map(|shape| {
        row(shaped("softmax", shape), &[&shape], true, |t| ops::softmax_last_dim(&t[0]))
    });
    check(&rows);
    check(&[row("softmax 3d", &[&[2, 3, 1025]], true, |t| ops::softmax_last_dim(&t[0]))]);
}

#[test]
fn softmax_of_masked_rows() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let infinite = [f32::INFINITY, f32::NEG_INFINITY].map(|x| Tensor::full(x, (3, 400), &card));
    let [_, masked] = infinite;
    let x = Tensor::cat(&[&masked?, &random(3, (3, 5), DType::F32).to_device(&card)?], 1)?;
    let expected = ops::softmax_last_dim(&x.to_device(&Device::Cpu)?)?;
    assert!(close(&ops::softmax_last_dim(&x)?, &expected, 1e-6).is_ok());
    let hidden = Tensor::full(f32::NEG_INFINITY, (1, 40), &card)?;
    let y = ops::softmax_last_dim(&hidden)?.flatten_all()?.to_vec1::<f32>()?;
    assert!(y.iter().all(|y| y.is_nan()));
    Ok(())
}

/// Labels of `rows` rows: all classes in turn, then again from a third of the way.
fn labels(rows: usize, classes: usize, device: &Device) -> Result<Tensor> {
    let labels = (0..rows).map(|row| (row * 7 % classes) as u32);
    Tensor::from_iter(labels, device)
}

#[test]
fn losses() {
    let mut rows: Vec<Row> = Vec::new();
    for shape in [[4, 3], [5, 33], [3, 1025], [2, 4099], [2500, 3], [300, 129], [1, 1]] {
        for (ignored, smoothing, weighted) in [
            (None, 0.0, false),
            (Some(0), 0.0, false),
            (None, 0.1, false),
            (None, 0.0, true),
            (Some(1), 0.2, true),
        ] {
            // Something must count.
            if shape == [1, 1] && ignored.is_some() {
                continue;
            }
            let name = format!("{shape:?} but {ignored:?}, {smoothing}, weighted {weighted}");
            rows.push(row(format!("cross entropy {name}"), &[&shape], true, move |t| {
                let (count, classes) = t[0].dims2()?;
                let mut loss = nn::CrossEntropy::new().label_smoothing(smoothing)?;
                if let Some(label) = ignored {
                    loss = loss.ignoring(label);
                }
                if weighted {
                    let weights: Vec<f64> =
                        (0..classes).map(|class| 0.5 + (class % 5) as f64).collect();
                    loss = loss.class_weights(&weights)?;
                }
                loss.loss(&t[0], &labels(count, classes, t[0].device())?)
            }));
        }
    }
    check(&rows);
    let labels = |t: &[Tensor]| Tensor::new(&[[2i64, 0], [-100, 1]], t[0].device());
    check(&[
        row("cross entropy 3d", &[&[2, 2, 3]], true, move |t| {
            nn::cross_entropy(&t[0], &labels(t)?, Some(-100))
        }),
        row("three losses", &[&[2, 2, 3]], true, move |t| {
            let loss = nn::cross_entropy(&t[0], &labels(t)?, Some(-100))?;
            (&loss * 3.0)? + nn::cross_entropy(&t[0], &labels(t)?, Some(-100))?.sqr()
        }),
    ]);
}

#[test]
fn labels_that_are_no_class_are_nan() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let logits = Var::from_tensor(&random(1, (3, 4), DType::F32).to_device(&card)?)?;
    for (labels, ignored) in
        [([0i64, 4, 1], None), ([0, 1, -1], None), ([2, 2, 2], Some(2)), ([0, 9, 2], Some(2))]
    {
        let loss = nn::cross_entropy(&logits, &Tensor::new(&labels, &card)?, ignored)?;
        assert!(loss.to_scalar::<f32>()?.is_nan(), "{labels:?}");
        let gradients = loss.backward()?;
        assert_eq!(gradients.get(&logits).map(Tensor::dims), Some(&[3, 4][..]));
    }
    Ok(())
}

#[test]
fn sums_of_columns() {
    let mut rows: Vec<Row> = SHAPES
        .into_iter()
        .chain([[9000, 2], [5000, 1], [3, 30_000], [9000, 65]])
        .map(|shape| {
            row(shaped("bias", shape), &[&shape, &[shape[1]]], true, |t| {
                ops::add_bias(&t[0], &t[1])
            })
        })
        .collect();
    let linear = |t: &[Tensor]| ops::linear(&t[0], &t[1], t.get(2));
    rows.push(row("linear", &[&[70, 3, 5], &[33, 5], &[33]], true, linear));
    rows.push(row("product", &[&[70, 3, 5], &[3, 5]], true, |t| ops::mul(&t[0], &t[1])));
    check(&rows);
}

#[test]
fn embeddings() {
    let mut rows: Vec<Row> = Vec::new();
    // One piece, several, several tiles; rows that go on over pieces.
    for (places, entries, hidden) in [
        (1, 1, 1),
        (6, 6, 5),
        (40, 3, 33),
        (1000, 700, 7),
        (1024, 5, 3),
        (3000, 40, 65),
        (2500, 1, 2),
    ] {
        let name = format!("embedding of {places} in {entries} x {hidden}");
        rows.push(row(name, &[&[entries, hidden]], true, move |t| {
            let indices = (0..places).map(|place| (place * place * 31 % entries) as u32);
            ops::embedding(&Tensor::from_iter(indices, t[0].device())?, &t[0])
        }));
    }
    rows.push(row("embedding by i64, wide", &[&[6, 1025]], true, |t| {
        ops::embedding(&Tensor::new(&[[0i64, 5, i64::MAX], [2, 0, 5]], t[0].device())?, &t[0])
    }));
    rows.push(row("embedding by u8", &[&[300, 4]], true, |t| {
        ops::embedding(&Tensor::new(&[254u8, 255, 0, 254], t[0].device())?, &t[0])
    }));
    rows.push(row("embedding layer", &[&[6, 5]], true, |t| {
        let indices = Tensor::new(&[[0u32, 5, 5], [2, 0, 5]], t[0].device())?;
        nn::Embedding::new(t[0].clone(), t[0].dim(1)?).forward(&indices)
    }));
    check(&rows);
}

#[test]
fn indices_without_a_row_are_zeros() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let table = Var::from_tensor(&random(1, (3, 4), DType::F32).to_device(&card)?)?;
    let y = ops::embedding(&Tensor::new(&[3i64, 1, -1], &card)?, &table)?;
    let sums = |t: &Tensor| t.abs()?.sum(1)?.to_vec1::<f32>();
    let found = sums(&y)?;
    assert!(found[0] == 0.0 && found[1] > 0.0 && found[2] == 0.0, "{found:?}");
    let gradients = y.sum_all()?.backward()?;
    assert_eq!(gradients.get(&table).map(sums).transpose()?, Some(vec![0.0, 4.0, 0.0]));
    Ok(())
}

#[test]
fn rows_in_another_order() {
    let turned = |t: &Tensor, length: usize, half: usize, heads: Option<usize>| {
        // Computed on the CPU, so that both have the same.
        let angles = random(9, (length, half), DType::F32);
        let (cos, sin) =
            (angles.cos()?.to_device(t.device())?, angles.sin()?.to_device(t.device())?);
        match heads {
            None => ops::rope(t, &cos, &sin),
            Some(heads) => ops::split_heads_rope(t, heads, &cos, &sin),
        }
    };
    check(&[
        row("rope", &[&[2, 4, 5, 6]], true, move |t| turned(&t[0], 5, 3, None)),
        row("rope of one", &[&[1, 1, 1, 2]], true, move |t| turned(&t[0], 1, 1, None)),
        row("long rope", &[&[2, 3, 700, 8]], true, move |t| turned(&t[0], 700, 4, None)),
        row("split rope", &[&[2, 5, 24]], true, move |t| turned(&t[0], 5, 3, Some(4))),
        row("long split rope", &[&[3, 700, 48]], true, move |t| turned(&t[0], 700, 4, Some(6))),
        row("split", &[&[2, 5, 24]], true, |t| ops::split_heads(&t[0], 4)),
        row("long split", &[&[3, 700, 48]], true, |t| ops::split_heads(&t[0], 6)),
        row("merge", &[&[2, 4, 5, 6]], true, |t| ops::merge_heads(&t[0])),
        row("flatten", &[&[2, 3, 4, 5]], true, |t| ops::flatten_from(&t[0], 1)),
    ]);
}
