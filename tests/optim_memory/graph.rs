//! Of what a graph goes through, only what a backward reads stays in memory.

use candle_core::{DType, Device, Result, Tensor, Var};
use freeze_core::backward;
use freeze_core::nn::{Dropout, ops};

use crate::{ALLOCATOR, near, turn};

/// Elements along each dimension of `[SIDE, SIDE]`.
const SIDE: usize = 512;
const BYTES: usize = SIDE * SIDE * 4;

type Op = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// An operation on a result, whose dimensions are given but for the last two, and on a constant, and whether its backward
/// reads the one and its own result.
type Row = (&'static str, &'static [usize], Op, [bool; 2]);

const OPS: [Row; 16] = [
    ("add", &[], ops::add, [false, false]),
    ("add_relu", &[], ops::add_relu, [true, false]),
    ("mul by a constant", &[], ops::mul, [false, false]),
    ("mul by itself", &[], |x, _| ops::mul(x, x), [true, false]),
    ("linear, frozen", &[], |x, w| ops::linear(x, w, None), [false, false]),
    (
        "linear, trained",
        &[],
        |x, w| ops::linear(x, Var::from_tensor(w)?.as_tensor(), None),
        [true, false],
    ),
    ("relu", &[], |x, _| ops::relu(x), [true, false]),
    ("gelu", &[], |x, _| ops::gelu(x), [true, false]),
    ("affine", &[], |x, _| ops::affine(x, 2.0, 1.0), [false, false]),
    ("softmax", &[], |x, _| ops::softmax_last_dim(x), [false, true]),
    ("layer_norm", &[], |x, w| ops::layer_norm(x, &w.get(0)?, None, 1e-5), [true, false]),
    ("dropout", &[], |x, _| dropout()?.forward(x, true), [false, false]),
    ("heads", &[1], |x, _| ops::split_heads(x, 8), [false, false]),
    ("mean pool", &[1, 1], |x, _| ops::avg_pool2d(x, (1, 1)), [false, false]),
    ("max pool", &[1, 1], |x, _| ops::max_pool2d(x, (1, 1)), [true, true]),
    (
        "conv, frozen",
        &[1, 1],
        |x, w| ops::conv2d(x, &kernel(w)?, None, &Default::default()),
        [false, false],
    ),
];

fn dropout() -> Result<Dropout> {
    Dropout::new(0.3, 1).map_err(candle_core::Error::wrap)
}

fn kernel(w: &Tensor) -> Result<Tensor> {
    w.get(0)?.narrow(0, 0, 1)?.reshape((1, 1, 1, 1))
}

#[test]
fn what_no_backward_reads_is_given_back() -> freeze_core::Result<()> {
    let _turn = turn();
    let leaf = Var::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
    let constant = Tensor::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
    for (name, leading, op, [operand, result]) in OPS {
        let weights = Tensor::arange(0f32, (SIDE * SIDE) as f32, &Device::Cpu)?;
        // The gradient with both in memory, and what is given back when each is dropped.
        let run = |drops: bool| -> freeze_core::Result<(Vec<f32>, [usize; 2])> {
            let shape = [leading, &[SIDE, SIDE]].concat();
            let x = ops::affine(&leaf.reshape(shape)?, 0.5, 0.0)?;
            let y = op(&x, &constant)?;
            let z = ops::mul(&y, &weights.reshape(y.shape())?)?;
            let mut given_back = [0; 2];
            let mut held = vec![x, y];
            for place in if drops { 0..2 } else { 0..0 } {
                let before = ALLOCATOR.allocated();
                drop(held.remove(0));
                given_back[place] = before.saturating_sub(ALLOCATOR.allocated());
            }
            let grads = backward(&z.sum_all()?)?;
            let grad = grads.get(&leaf).expect("a gradient").to_dtype(DType::F32)?;
            Ok((grad.flatten_all()?.to_vec1()?, given_back))
        };
        let ((expected, _), (found, given_back)) = (run(false)?, run(true)?);
        assert!(found.iter().all(|x| x.is_finite()) && found == expected, "{name}: its gradient");
        for (what, read, bytes) in
            [("operand", operand, given_back[0]), ("result", result, given_back[1])]
        {
            assert!(near(bytes, if read { 0 } else { BYTES }), "{name}: {bytes} of the {what}");
        }
    }
    Ok(())
}
