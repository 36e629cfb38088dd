//! Shapes: empty, of another size than the layer's, and not contiguous.

use std::fmt::Debug;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use freeze_core::nn::{self, Conv1dConfig, Conv2dConfig, RNN, ops};

use super::Expected::{Shape, Words};
use super::{assert_outcome, builder, tensor};
use crate::support::{flat, random};

/// A view of nothing that begins behind the end of its storage.
#[test]
fn empty_views() {
    let view = || tensor(&[0, 6]).narrow(1, 1, 4).unwrap();
    let (x, four) = (view(), tensor(&[4]));
    for (what, found) in [
        ("relu", ops::relu(&x)),
        ("gelu", ops::gelu(&x)),
        ("gelu_erf", ops::gelu_erf(&x)),
        ("prelu", ops::prelu(&x, &four)),
        ("add_bias", ops::add_bias(&x, &four)),
        ("add", ops::add(&x, &four)),
        ("add_relu", ops::add_relu(&four, &x)),
        ("mul", ops::mul(&x, &x)),
        ("affine", ops::affine(&x, 2., 1.)),
        ("silu", ops::silu(&x)),
        ("softmax", ops::softmax_last_dim(&x)),
        ("layer norm", ops::layer_norm(&x, &four, Some(&four), 1e-5)),
        ("rms norm", ops::rms_norm(&x, &four, 1e-5)),
        ("dropout", nn::Dropout::new(0.5, 1).unwrap().forward(&x, true)),
    ] {
        assert_outcome(found, &Shape(&[0, 4]), what);
    }
    assert_outcome(ops::linear(&x, &tensor(&[3, 4]), None), &Shape(&[0, 3]), "linear");
    let var = Var::from_tensor(&view()).unwrap();
    for act in [ops::relu, ops::gelu, ops::gelu_erf] {
        let x = var.narrow(1, 1, 2).unwrap();
        let grads = act(&x).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&var).unwrap().dims(), [0, 4]);
    }
}

#[test]
fn empty_tensors() {
    let config = Conv2dConfig::default();
    let conv = |x: &[usize], w: &[usize]| {
        ops::conv2d(&tensor(x), &tensor(w), Some(&tensor(&w[..1])), &config)
    };
    let norm = |x: &[usize], n: usize| {
        ops::layer_norm(&tensor(x), &tensor(&[n]), Some(&tensor(&[n])), 1e-5)
    };
    let batch = |x: &[usize], n: usize| {
        ops::batch_norm(&tensor(x), Some((&tensor(&[n]), &tensor(&[n]))), 1e-5).map(|(y, _)| y)
    };
    let linear =
        |x: &[usize], w: &[usize]| ops::linear(&tensor(x), &tensor(w), Some(&tensor(&w[..1])));
    let dropout = nn::Dropout::new(0.5, 1).unwrap();
    let nothing = "nothing to normalise by";
    for (what, found, expected) in [
        ("no samples", conv(&[0, 2, 4, 4], &[3, 2, 3, 3]), Shape(&[0, 3, 2, 2])),
        ("no outputs", conv(&[2, 2, 4, 4], &[0, 2, 3, 3]), Shape(&[2, 0, 2, 2])),
        ("no inputs", conv(&[2, 0, 4, 4], &[3, 0, 3, 3]), Words("is empty")),
        ("no rows", conv(&[2, 2, 0, 4], &[3, 2, 3, 3]), Words("is empty")),
        ("no kernel", conv(&[2, 2, 4, 4], &[3, 2, 0, 3]), Words("a kernel of 0")),
        ("no samples", ops::max_pool2d(&tensor(&[0, 2, 4, 4]), 2), Shape(&[0, 2, 2, 2])),
        ("no channels", ops::avg_pool2d(&tensor(&[2, 0, 4, 4]), 2), Shape(&[2, 0, 2, 2])),
        ("no rows", ops::avg_pool2d(&tensor(&[2, 2, 0, 4]), 2), Words("on 0 x 4")),
        ("no rows", norm(&[0, 3], 3), Shape(&[0, 3])),
        ("no columns", norm(&[3, 0], 0), Shape(&[3, 0])),
        ("no samples", batch(&[0, 3], 3), Words(nothing)),
        ("no channels", batch(&[3, 0], 0), Words(nothing)),
        ("no pixels", batch(&[3, 2, 0], 2), Words(nothing)),
        ("no rows", linear(&[0, 3], &[2, 3]), Shape(&[0, 2])),
        ("no inputs", linear(&[4, 0], &[2, 0]), Shape(&[4, 2])),
        ("no outputs", linear(&[4, 3], &[0, 3]), Shape(&[4, 0])),
        ("no rows", ops::add_bias(&tensor(&[0, 3]), &tensor(&[3])), Shape(&[0, 3])),
        ("no columns", ops::add_bias(&tensor(&[3, 0]), &tensor(&[0])), Shape(&[3, 0])),
        ("no elements", ops::prelu(&tensor(&[0, 3]), &tensor(&[3])), Shape(&[0, 3])),
        ("no slopes", ops::prelu(&tensor(&[3, 0]), &tensor(&[0])), Shape(&[3, 0])),
        ("no slopes", ops::prelu(&tensor(&[3, 2]), &tensor(&[0])), Words("0 slopes")),
        ("no rows", ops::softmax_last_dim(&tensor(&[0, 3])), Shape(&[0, 3])),
        ("no columns", ops::softmax_last_dim(&tensor(&[3, 0])), Shape(&[3, 0])),
        ("no elements", dropout.forward_t(&tensor(&[0, 3]), true), Shape(&[0, 3])),
        ("no elements", ops::relu(&tensor(&[0])), Shape(&[0])),
        ("no elements", ops::gelu(&tensor(&[2, 0])), Shape(&[2, 0])),
        ("no elements", ops::gelu_erf(&tensor(&[2, 0])), Shape(&[2, 0])),
    ] {
        assert_outcome(found, &expected, what);
    }
}

#[test]
fn sizes_of_layers() {
    let conv = |groups| Conv2dConfig { groups, ..Default::default() };
    let line = |groups| Conv1dConfig { groups, ..Default::default() };
    let (rows, image) = (tensor(&[2, 3]), tensor(&[2, 4, 5, 5]));
    let signal = tensor(&[2, 4, 5]);
    let run = |layer: Result<nn::Conv2d>| layer?.forward(&image);
    let indices = |index: u32| Tensor::new(&[index, 0], &Device::Cpu);
    let table = nn::embedding(3, 2, builder()).unwrap();
    let groups = "expected groups of one size";
    for (what, found, expected) in [
        ("conv", run(nn::conv2d(4, 2, 3, conv(2), builder())), Shape(&[2, 2, 3, 3])),
        ("conv", run(nn::conv2d(4, 2, 3, conv(0), builder())), Words(groups)),
        ("conv", run(nn::conv2d_no_bias(4, 2, 3, conv(3), builder())), Words(groups)),
        ("conv", run(nn::conv2d(4, 3, 3, conv(2), builder())), Words(groups)),
        ("conv", run(nn::conv2d(0, 2, 3, conv(1), builder())), Words("expected at least 1")),
        ("conv", run(nn::conv2d(4, 2, 0, conv(1), builder())), Words("expected at least 1")),
        ("conv", run(nn::conv2d(4, 2, 9, conv(1), builder())), Words("spans 9")),
        (
            "conv1d",
            nn::conv1d(4, 2, 3, line(0), builder()).and_then(|layer| layer.forward(&signal)),
            Words(groups),
        ),
        (
            "no outputs",
            nn::linear(3, 0, builder()).and_then(|layer| layer.forward(&rows)),
            Shape(&[2, 0]),
        ),
        (
            "too few slopes",
            nn::prelu(Some(2), builder()).and_then(|layer| layer.forward(&rows)),
            Words("2 slopes"),
        ),
        (
            "another size",
            nn::layer_norm(2, 1e-5, builder()).and_then(|layer| layer.forward(&rows)),
            Words("the input's last dimension is 3"),
        ),
        ("an index", table.forward(&indices(2).unwrap()), Shape(&[2, 2])),
        (
            "an index",
            table.forward(&indices(3).unwrap()),
            Words("index 0 is 3, expected at least 0 and less than 3"),
        ),
        ("no batch", gru(0, 3), Shape(&[0, 2])),
        ("a batch", gru(2, 3), Shape(&[2, 2])),
        ("another size", gru(2, 4), Words("does not end in 3")),
    ] {
        assert_outcome(found, &expected, what);
    }
    // Whether there is such a layer is candle's to say: that it says so without a panic.
    drop(nn::linear(0, 3, builder()).and_then(|layer| layer.forward(&tensor(&[2, 0]))));
    drop(nn::batch_norm(0, 1e-5, builder()).and_then(|l| l.forward_t(&tensor(&[2, 0]), true)));
    drop(nn::layer_norm(0, 1e-5, builder()).and_then(|l| l.forward(&tensor(&[2, 0]))));
    drop(nn::group_norm(1, 0, 1e-5, builder()).and_then(|l| l.forward(&tensor(&[2, 0, 3]))));
    drop(nn::prelu(Some(0), builder()).and_then(|l| l.forward(&tensor(&[2, 0]))));
    drop(nn::lstm(0, 0, nn::LSTMConfig::default(), builder()).and_then(|l| l.zero_state(0)));
}

/// One step of a GRU from 3 to 2 on an input of `[batch, size]`.
fn gru(batch: usize, size: usize) -> Result<Tensor> {
    let layer = nn::gru(3, 2, nn::GRUConfig::default(), builder())?;
    Ok(layer.step(&tensor(&[batch, size]), &layer.zero_state(batch)?)?.h)
}

type Run<'a> = (&'a str, Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>);

/// `run` on `view` of a variable of shape `[4, 3, 6, 6]`: the result and the variable's gradient.
fn through(view: impl Fn(&Tensor) -> Result<Tensor>, run: &Run<'_>) -> (Vec<f64>, Vec<f64>) {
    let x = Var::from_tensor(&random(7, (4, 3, 6, 6), DType::F32)).unwrap();
    let y = run.1(&view(&x).unwrap()).unwrap();
    let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    (flat(&y), flat(grads.get(&x).unwrap()))
}

#[test]
fn tensors_that_are_not_contiguous_are_their_copies() {
    let (last, kernel, plane) = (tensor(&[6]), tensor(&[3, 3, 2, 2]), tensor(&[3]));
    let square = tensor(&[6, 6]);
    let config = Conv2dConfig::default();
    let turns = Tensor::ones((6, 3), DType::F32, &Device::Cpu).unwrap();
    let runs: [Run<'_>; 14] = [
        ("linear", Box::new(|x| ops::linear(x, &square.t()?, Some(&last)))),
        ("add_bias", Box::new(|x| ops::add_bias(x, &last))),
        ("conv2d", Box::new(|x| ops::conv2d(x, &kernel.t()?.t()?, Some(&plane), &config))),
        ("max_pool2d", Box::new(|x| ops::max_pool2d(x, 2))),
        ("avg_pool2d", Box::new(|x| ops::avg_pool2d(x, (3, 2)))),
        ("relu", Box::new(ops::relu)),
        ("gelu", Box::new(ops::gelu)),
        ("prelu", Box::new(|x| ops::prelu(x, &plane))),
        ("softmax", Box::new(ops::softmax_last_dim)),
        ("rope", Box::new(|x| ops::rope(x, &turns, &turns))),
        ("layer_norm", Box::new(|x| ops::layer_norm(x, &last, Some(&last), 1e-5))),
        ("batch_norm", Box::new(|x| Ok(ops::batch_norm(x, Some((&plane, &plane)), 1e-5)?.0))),
        ("group_norm", Box::new(|x| ops::group_norm(x, 3, &plane, &plane, 1e-5))),
        ("dropout", Box::new(|x| nn::Dropout::new(0.5, 3)?.forward_t(x, true))),
    ];
    type View = fn(&Tensor) -> Result<Tensor>;
    let views: [(&str, View); 4] = [
        ("transposed", |x| x.transpose(2, 3)),
        ("a part", |x| x.narrow(0, 1, 2)?.narrow(2, 0, 6)),
        ("the last columns", |x| Tensor::cat(&[x, x], 3)?.narrow(3, 4, 6)),
        ("repeated", |x| x.narrow(3, 2, 1)?.broadcast_as((4, 3, 6, 6))),
    ];
    for run in &runs {
        for (view, of) in views {
            let copied = through(|x| of(x)?.contiguous(), run);
            assert_eq!(through(of, run), copied, "{} of {view}", run.0);
        }
    }
}

#[test]
fn every_public_type_can_be_printed() {
    fn printed<T: Debug>() {}
    printed::<nn::BatchNorm>();
    printed::<ops::BatchStatistics>();
    printed::<(nn::Conv1d, nn::Conv2d, nn::Linear, nn::Embedding, nn::PReLU)>();
    printed::<(nn::GroupNorm, nn::LayerNorm, nn::RmsNorm, nn::Gru, nn::Lstm)>();
    printed::<(nn::Dropout, nn::DropoutState, nn::BatchNormConfig)>();
}
