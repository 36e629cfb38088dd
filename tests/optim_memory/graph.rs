//! Of what a graph goes through, only what a backward reads stays in memory.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use freeze_core::nn::{Dropout, cross_entropy, ops};
use freeze_core::{backward, backward_once, recompute};

use crate::{ALLOCATOR, SMALL, near, room, turn};

/// Elements along each of the last two dimensions.
const SIDE: usize = 512;
const BYTES: usize = SIDE * SIDE * 4;

/// Of a result, and of constants or variables `[SIDE, SIDE]`.
type Op = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// An operation, the dimensions of the result before the last two, whether the other operand is a variable, and whether
/// the result that it takes stays for its backward, and the one that it gives. Of a pool both stay, which cards read.
type Row = (&'static str, &'static [usize], Op, bool, [bool; 2]);

const OPS: [Row; 24] = [
    ("add", &[], ops::add, true, [false, false]),
    ("add to itself", &[], |x, _| ops::add(x, x), false, [false, false]),
    ("add_relu", &[], ops::add_relu, false, [true, false]),
    ("mul by a constant", &[], ops::mul, false, [false, false]),
    ("mul by a variable", &[], ops::mul, true, [true, false]),
    ("mul by itself", &[], |x, _| ops::mul(x, x), false, [true, false]),
    ("linear, frozen", &[], |x, w| ops::linear(x, w, None), false, [false, false]),
    ("linear, trained", &[], |x, w| ops::linear(x, w, None), true, [true, false]),
    ("relu", &[], |x, _| ops::relu(x), false, [true, false]),
    ("gelu", &[], |x, _| ops::gelu(x), false, [true, false]),
    ("affine", &[], |x, _| ops::affine(x, 2.0, 1.0), false, [false, false]),
    ("softmax", &[], |x, _| ops::softmax_last_dim(x), false, [false, true]),
    ("layer_norm", &[], |x, w| ops::layer_norm(x, &w.get(0)?, None, 1e-5), true, [true, false]),
    ("rms_norm", &[], |x, w| ops::rms_norm(x, &w.get(0)?, 1e-5), true, [true, false]),
    ("prelu", &[], |x, w| ops::prelu(x, &w.get(0)?.get(0)?), true, [true, false]),
    ("dropout", &[], |x, _| dropout()?.forward(x, true), false, [false, false]),
    ("cross_entropy", &[], |x, _| cross_entropy(x, &labels()?, None), false, [true, false]),
    ("heads", &[1], |x, _| ops::split_heads(x, 8), false, [false, false]),
    ("heads, merged", &[1, 1], |x, _| ops::merge_heads(x), false, [false, false]),
    ("attention", &[1, 1], attention, false, [true, true]),
    ("mean pool", &[1, 1], |x, _| ops::avg_pool2d(x, (2, 2)), false, [false, false]),
    ("max pool", &[1, 1], |x, _| ops::max_pool2d(x, (2, 2)), false, [true, true]),
    ("convolution, frozen", &[1, 1], convolution, false, [false, false]),
    ("convolution, trained", &[1, 1], convolution, true, [true, false]),
];

fn dropout() -> Result<Dropout> {
    Dropout::new(0.3, 1).map_err(candle_core::Error::wrap)
}

fn labels() -> Result<Tensor> {
    Tensor::zeros(SIDE, DType::U32, &Device::Cpu)
}

fn attention(x: &Tensor, _: &Tensor) -> Result<Tensor> {
    ops::scaled_dot_product_attention(x, x, x, Default::default(), None)
}

fn convolution(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let kernel = w.get(0)?.narrow(0, 0, 1)?.reshape((1, 1, 1, 1))?;
    ops::conv2d(x, &kernel, None, &Default::default())
}

#[test]
fn what_no_backward_reads_is_given_back() -> freeze_core::Result<()> {
    let _turn = turn();
    let leaf = Var::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
    let other = Var::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
    for (name, leading, op, trained, [operand, result]) in OPS {
        let shape = [leading, &[SIDE, SIDE]].concat();
        let given = match trained {
            true => other.as_tensor().clone(),
            false => other.as_detached_tensor(),
        };
        let gradients = |y: &Tensor| -> freeze_core::Result<Vec<Vec<f32>>> {
            let weights = Tensor::arange(0f32, y.elem_count() as f32, &Device::Cpu)?;
            let grads = backward(&ops::mul(y, &weights.reshape(y.shape())?)?.sum_all()?)?;
            let found = [&leaf, &other].into_iter().filter_map(|var| grads.get(var));
            Ok(found.map(|grad| grad.flatten_all()?.to_vec1()).collect::<Result<_>>()?)
        };
        let ours = || ops::affine(&leaf.reshape(shape.as_slice())?, 0.5, 0.0);
        // Of a tensor that candle holds, all of it.
        let candles = (leaf.reshape(shape.as_slice())? * 0.5)?;
        let expected = gradients(&op(&candles, &given)?)?;
        assert_eq!(expected.len(), 1 + usize::from(trained), "{name}");

        let given_back = |tensor: Tensor| {
            let before = ALLOCATOR.allocated();
            drop(tensor);
            before.saturating_sub(ALLOCATOR.allocated())
        };
        let x = ours()?;
        let y = op(&x, &given)?;
        let bytes = given_back(x);
        assert!(near(bytes, if operand { 0 } else { BYTES }), "{name}: {bytes} of the operand");
        let found = gradients(&y)?;
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.iter().all(|x| x.is_finite()) && found == expected, "{name}: a gradient");
        }
        assert_eq!(found.len(), expected.len(), "{name}");

        let y = op(&ours()?, &given)?;
        let (own, next) = (y.elem_count() * 4, ops::affine(&y, 2.0, 0.0)?);
        let bytes = given_back(y);
        assert!(near(bytes, if result { 0 } else { own }), "{name}: {bytes} of the result");
        drop(next);
    }
    Ok(())
}

/// What is left of a graph is enough for a second backward, and for one on another thread.
#[test]
fn a_graph_is_gone_through_again_and_elsewhere() -> freeze_core::Result<()> {
    let _turn = turn();
    let leaf = Var::randn(0f32, 1., (8, 8), &Device::Cpu)?;
    for (name, leading, op, trained, _) in OPS {
        if name.starts_with("cross_entropy") {
            continue; // its labels are for more rows
        }
        let other = Var::randn(0f32, 1., (8, 8), &Device::Cpu)?;
        let given = if trained { other.as_tensor().clone() } else { other.as_detached_tensor() };
        let x = ops::affine(&leaf.reshape([leading, &[8, 8]].concat())?, 0.5, 0.0)?;
        let y = ops::mul(&op(&x, &given)?, &op(&x, &given)?)?.sum_all()?;
        drop(x);
        let go_back = |y: &Tensor| -> freeze_core::Result<Vec<f32>> {
            let grads = backward(y)?;
            let grad = grads.get(&leaf).expect("a gradient");
            Ok(grad.flatten_all()?.to_vec1()?)
        };
        let first = go_back(&y)?;
        assert!(first.iter().all(|x| x.is_finite()), "{name}");
        assert_eq!(go_back(&y)?, first, "{name}: twice");
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| go_back(&y)).join());
        assert_eq!(elsewhere.expect("no panic")?, first, "{name}: on another thread");
    }
    Ok(())
}

/// A backward that is not to be repeated leaves nothing of what the operations held.
#[test]
fn a_graph_is_released_by_its_last_backward() -> freeze_core::Result<()> {
    let _turn = turn();
    let leaf = Var::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
    for (name, leading, op, trained, [operand, _]) in OPS {
        let other = Var::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
        let given = if trained { other.as_tensor().clone() } else { other.as_detached_tensor() };
        let x = ops::affine(&leaf.reshape([leading, &[SIDE, SIDE]].concat())?, 0.5, 0.0)?;
        let y = op(&x, &given)?;
        drop(x);
        let own = y.elem_count() * 4;
        let loss = ops::mul(&y, &y)?.sum_all()?;
        drop(y);
        let freed = |back: fn(&Tensor) -> Result<GradStore>| -> Result<(Vec<f32>, usize)> {
            let before = ALLOCATOR.allocated();
            let found = back(&loss)?.get(&leaf).expect("a gradient").flatten_all()?.to_vec1()?;
            Ok((found, (before + BYTES).saturating_sub(ALLOCATOR.allocated())))
        };
        let (expected, bytes) = freed(backward)?;
        assert!(near(bytes, 0), "{name}: {bytes} freed by a backward");
        let held = own + if operand { BYTES } else { 0 };
        let (found, bytes) = freed(backward_once)?;
        assert_eq!(found, expected, "{name}");
        assert!(bytes + SMALL > held, "{name}: {bytes} freed of {held}");
        for back in [backward, backward_once, Tensor::backward] {
            let error = back(&loss).expect_err("a graph without what it held").to_string();
            assert!(error.contains("has gone through this before"), "{name}: {error}");
        }
    }
    Ok(())
}

/// Gradients take the place of activations, also within a stage that runs again.
#[test]
fn at_the_peak_of_a_last_backward_there_are_activations_or_gradients() -> freeze_core::Result<()> {
    const LAYERS: usize = 8;
    let _turn = turn();
    let var = |_| Ok(Var::randn(0f32, 0.04, (SIDE, SIDE), &Device::Cpu)?.into_inner());
    let weights: Vec<Tensor> = (0..LAYERS).map(var).collect::<Result<_>>()?;
    let xs = Tensor::randn(0f32, 1., (SIDE, SIDE), &Device::Cpu)?;
    let stage = move |xs: Tensor| {
        weights.iter().try_fold(xs, |xs, weight| ops::gelu(&ops::linear(&xs, weight, None)?))
    };
    let peak = |again: bool, back: fn(&Tensor) -> Result<GradStore>| {
        room(|| {
            let xs = xs.clone();
            let ys = if again { recompute(xs, stage.clone())? } else { stage(xs)? };
            back(&ys.sum_all()?)?;
            Ok(())
        })
    };
    // Each layer keeps the linear layer's input and that of the function, and a few more are on their way.
    let (activations, gradients) = (2 * LAYERS * BYTES, LAYERS * BYTES);
    let kept = peak(false, backward)?;
    assert!(kept > activations + gradients - BYTES, "{kept} bytes");
    for (again, back) in [
        (false, backward_once as fn(&Tensor) -> _),
        (true, backward_once),
        (true, backward),
        (true, Tensor::backward),
    ] {
        let bytes = peak(again, back)?;
        assert!(bytes < activations + gradients / 2, "{bytes} of {kept}, run again: {again}");
    }
    Ok(())
}
