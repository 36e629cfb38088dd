//! Functions of each element, of two tensors, and dropout.

use candle_core::{Result, Tensor};
use freeze_core::nn::{self, ops};

use crate::battery::{Row, check, row};

/// Several for each thread of a grid of as many blocks as there may be.
const MANY: &[usize] = &[150, 4099];

#[test]
fn activations() {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 6] = [
        ("relu", ops::relu),
        ("gelu", ops::gelu),
        ("gelu_erf", ops::gelu_erf),
        ("silu", ops::silu),
        ("sigmoid", ops::sigmoid),
        ("tanh", ops::tanh),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for (name, function) in functions {
        for shape in [&[1, 3][..], &[3, 7], &[1025]] {
            rows.push(row(format!("{name} {shape:?}"), &[shape], true, move |t| function(&t[0])));
        }
        // Far from 0, where tangents and exponentials end.
        rows.push(row(format!("{name} far out"), &[&[5, 9]], true, move |t| {
            function(&ops::affine(&t[0], 40.0, 0.0)?)
        }));
    }
    rows.push(row("relu of many", &[MANY], true, |t| ops::relu(&t[0])));
    for shape in [&[1, 3][..], &[3, 7, 5], &[1025]] {
        rows.push(row(format!("affine {shape:?}"), &[shape], true, |t| {
            ops::affine(&t[0], -2.5, 0.5)
        }));
    }
    check(&rows);
}

#[test]
fn pairs() {
    let mut rows: Vec<Row> = Vec::new();
    type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 3] =
        [("add", ops::add), ("add_relu", ops::add_relu), ("mul", ops::mul)];
    let shapes: [[&[usize]; 2]; 10] = [
        [&[4, 5, 7], &[4, 5, 7]],
        [&[4, 5, 7], &[7]],
        [&[5, 7], &[4, 5, 7]],
        [&[4, 5, 7], &[5, 1]],
        [&[4, 5, 7], &[4, 1, 1]],
        [&[4, 5, 7], &[1]],
        // In two directions at a time, which candle computes.
        [&[4, 5, 7], &[4, 1, 7]],
        [&[4, 1, 7], &[5, 1]],
        [&[1, 3], &[1, 3]],
        [&[33, 1025], &[33, 1]],
    ];
    for (name, function) in functions {
        for shapes in shapes {
            rows.push(row(format!("{name} {shapes:?}"), &shapes, true, move |t| {
                function(&t[0], &t[1])
            }));
        }
    }
    rows.push(row("add of many", &[MANY, &[4099]], true, |t| ops::add(&t[0], &t[1])));
    rows.push(row("mul of many", &[MANY, &[150, 1]], true, |t| ops::mul(&t[0], &t[1])));
    check(&rows);
}

#[test]
fn slopes() {
    let shapes: [[&[usize]; 2]; 10] = [
        [&[3, 7, 5], &[7]],
        [&[3, 7], &[1]],
        [&[1, 3], &[3]],
        [&[3, 7], &[3, 7]],
        [&[2, 3, 7, 6], &[3]],
        // Several parts of each sum.
        [&[70, 5], &[5]],
        [&[9, 2, 33, 31], &[2]],
        [&[3, 4099], &[1]],
        [&[2, 1025], &[1025]],
        [&[1025], &[1]],
    ];
    let rows = shapes.map(|shapes| {
        row(format!("prelu {shapes:?}"), &shapes, true, |t| ops::prelu(&t[0], &t[1]))
    });
    check(&rows);
}

#[test]
fn dropout_draws_the_same_words() {
    let mut rows: Vec<Row> = Vec::new();
    // Positions within and at the ends of blocks of 16 words, and far along the stream.
    for position in [0, 5, 16, 63, 64, 12_345, (1 << 36) + 7] {
        for shape in [&[1, 3][..], &[9, 31], &[4099], &[33, 1025]] {
            // A new generator each time: the same mask on either device.
            let forward = move |t: &[Tensor]| {
                let dropout = nn::Dropout::new(0.3, 7).map_err(candle_core::Error::wrap)?;
                dropout.set_state(nn::DropoutState { seed: 7 + position, position });
                dropout.forward(&t[0], true)
            };
            rows.push(row(format!("dropout {shape:?} from {position}"), &[shape], true, forward));
        }
    }
    check(&rows);
}
