//! Convolutions on the card, by cuDNN where the tests are built with it.

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Conv1dConfig, Conv2dConfig};
use freeze_core::nn::ops;

use crate::battery::{Row, check, row};
use crate::card;
use crate::support::{flat, random};

fn wide(set: [usize; 4]) -> Conv2dConfig {
    let [stride, padding, dilation, groups] = set;
    Conv2dConfig { stride, padding, dilation, groups, ..Default::default() }
}

#[test]
fn settings() {
    let mut rows: Vec<Row> = Vec::new();
    for (stride, padding, dilation, groups) in [
        (1, 0, 1, 1),
        (1, 1, 1, 1),
        (2, 1, 1, 1),
        (1, 2, 2, 1),
        (3, 1, 1, 1),
        (1, 1, 1, 2),
        (2, 1, 1, 4),
    ] {
        let name = format!("stride {stride} padding {padding} dilation {dilation} groups {groups}");
        let flat = Conv1dConfig { stride, padding, dilation, groups, ..Default::default() };
        let w = [8, 4 / groups, 3];
        rows.push(row(format!("conv1d {name}"), &[&[2, 4, 11], &w, &[8]], true, move |t| {
            ops::conv1d(&t[0], &t[1], t.get(2), &flat)
        }));
        let wide = wide([stride, padding, dilation, groups]);
        let w = [8, 4 / groups, 3, 2];
        rows.push(row(format!("conv2d {name}"), &[&[2, 4, 7, 9], &w, &[8]], true, move |t| {
            ops::conv2d(&t[0], &t[1], t.get(2), &wide)
        }));
    }
    check(&rows);
}

#[test]
fn sizes() {
    let mut rows: Vec<Row> = Vec::new();
    for (x, w, set) in [
        ([1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1]),
        ([1, 1, 1, 1], [2, 1, 3, 3], [1, 1, 1, 1]),
        ([3, 5, 6, 4], [7, 5, 1, 1], [1, 0, 1, 1]),
        ([3, 5, 6, 5], [7, 5, 1, 1], [2, 0, 1, 1]),
        ([2, 3, 33, 35], [9, 3, 7, 7], [2, 3, 1, 1]),
        ([2, 6, 9, 8], [6, 1, 3, 3], [1, 1, 1, 6]),
        ([5, 3, 8, 8], [4, 3, 8, 8], [1, 0, 1, 1]),
        ([2, 16, 14, 14], [32, 16, 3, 3], [1, 1, 1, 1]),
    ] {
        let config = wide(set);
        let bias = [w[0]];
        rows.push(row(format!("conv2d {x:?} {w:?} {set:?}"), &[&x, &w, &bias], true, move |t| {
            ops::conv2d(&t[0], &t[1], t.get(2), &config)
        }));
        rows.push(row(format!("conv2d {x:?} {w:?} without bias"), &[&x, &w], true, move |t| {
            ops::conv2d(&t[0], &t[1], None, &config)
        }));
    }
    for (x, w) in [([1, 1, 1], [1, 1, 1]), ([2, 3, 1025], [5, 3, 4]), ([2, 8, 33], [8, 8, 1])] {
        rows.push(row(format!("conv1d {x:?} {w:?}"), &[&x, &w, &[w[0]]], true, move |t| {
            ops::conv1d(&t[0], &t[1], t.get(2), &Conv1dConfig::default())
        }));
    }
    check(&rows);
}

#[test]
fn the_same_bits_each_time() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let tensor =
            |seed, shape: (usize, usize, usize, usize)| random(seed, shape, dtype).to_device(&card);
        let x = Var::from_tensor(&tensor(1, (16, 32, 28, 28))?)?;
        let w = Var::from_tensor(&tensor(2, (48, 32, 3, 3))?)?;
        let run = || -> Result<[Vec<f64>; 3]> {
            let y = ops::conv2d(&x, &w, None, &wide([1, 1, 1, 1]))?;
            let grads = y.sqr()?.sum_all()?.backward()?;
            let grad = |of: &Tensor| flat(grads.get(of).expect("a gradient"));
            Ok([flat(&y), grad(&x), grad(&w)])
        };
        let first = run()?;
        for _ in 0..3 {
            assert!(run()? == first, "{dtype:?}");
        }
    }
    Ok(())
}
