//! Every candle-nn layer with parameters is rebuilt faithfully: same output bit for bit, same
//! variables, and detached when frozen.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{
    BatchNormConfig, Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    LayerNorm, LayerNormConfig, Module, ModuleT, RmsNorm, VarBuilder, batch_norm, conv_transpose1d,
    conv_transpose1d_no_bias, conv_transpose2d, conv_transpose2d_no_bias, conv1d, conv1d_no_bias,
    conv2d, conv2d_no_bias, embedding, layer_norm, layer_norm_no_bias, linear, linear_no_bias,
    prelu, rms_norm,
};
use freeze_core::{BatchNormPolicy, Freezable, Freezer, Role};

use crate::support::{bits, randn, varmap_builder};
use crate::walks::assert_same_walks;

/// One leaf of `kind` with the given parameters; its view computes the same, over the same
/// variables, and its frozen view over none.
fn faithful<L: Freezable>(
    kind: &str,
    params: &[&str],
    build: impl FnOnce(VarBuilder<'static>) -> Result<L>,
    forward: impl Fn(&L) -> Result<Tensor>,
) {
    let layer = build(varmap_builder()).expect(kind);
    // Away from the ones and zeros that hide an exchanged tensor.
    for (i, var) in layer.vars().expect(kind).iter().enumerate() {
        let noise = (randn(var.shape()) * 0.1).and_then(|n| n + 1.0 / (i + 1) as f64);
        var.set(&noise.expect(kind)).expect(kind);
    }
    assert_same_walks(&layer);
    let leaves = layer.leaves().expect(kind);
    assert_eq!(leaves.len(), 1, "{kind}");
    assert_eq!(L::LEAVES.len(), Some(1), "{kind}");
    assert_eq!((leaves[0].kind, leaves[0].path.as_str()), (kind, ""));
    let weights = leaves[0].params.iter().filter(|param| param.role == Role::Weight);
    assert_eq!(weights.map(|param| param.name.as_str()).collect::<Vec<_>>(), params, "{kind}");

    let expected = bits(&forward(&layer).expect(kind));
    let ids = |layer: &L| -> Vec<_> {
        layer.named_tensors().expect(kind).iter().map(|(_, tensor)| tensor.id()).collect()
    };
    let view = layer.freeze_upto(0).expect(kind);
    assert_eq!(ids(&view), ids(&layer), "{kind}: the same tensors");
    assert_eq!(bits(&forward(&view).expect(kind)), expected, "{kind}: the same output");
    let frozen = layer.freeze_upto(1).expect(kind);
    assert_eq!(bits(&forward(&frozen).expect(kind)), expected, "{kind}: the same output, frozen");
    assert!(frozen.vars().expect(kind).is_empty(), "{kind}");
    assert!(!forward(&frozen).expect(kind).track_op(), "{kind}: no graph when frozen");
}

#[test]
fn dense_layers() {
    let xs = randn((2, 3));
    faithful("Linear", &["weight", "bias"], |vb| linear(3, 4, vb), |l| l.forward(&xs));
    faithful("Linear", &["weight"], |vb| linear_no_bias(3, 4, vb), |l| l.forward(&xs));
    let ids = Tensor::new(&[0u32, 4, 2], &Device::Cpu).expect("ids");
    faithful("Embedding", &["weight"], |vb| embedding(5, 3, vb), |l| l.forward(&ids));
    faithful("PReLU", &["weight"], |vb| prelu(None, vb), |l| l.forward(&xs));
    faithful("PReLU", &["weight"], |vb| prelu(Some(3), vb), |l| l.forward(&xs));
}

#[test]
fn convolutions() {
    let (line, plane) = (randn((2, 4, 9)), randn((2, 4, 7, 7)));
    let one = Conv1dConfig { padding: 1, stride: 2, dilation: 1, groups: 2, ..Default::default() };
    faithful("Conv1d", &["weight", "bias"], |vb| conv1d(4, 6, 3, one, vb), |l| l.forward(&line));
    faithful("Conv1d", &["weight"], |vb| conv1d_no_bias(4, 6, 3, one, vb), |l| l.forward(&line));
    let two = Conv2dConfig { padding: 2, stride: 2, dilation: 1, groups: 2, ..Default::default() };
    faithful("Conv2d", &["weight", "bias"], |vb| conv2d(4, 6, 3, two, vb), |l| l.forward(&plane));
    faithful("Conv2d", &["weight"], |vb| conv2d_no_bias(4, 6, 3, two, vb), |l| l.forward(&plane));
    let one =
        ConvTranspose1dConfig { padding: 1, output_padding: 1, stride: 2, ..Default::default() };
    let (kind, plain) = ("ConvTranspose1d", ["weight"]);
    let both = ["weight", "bias"];
    faithful(kind, &both, |vb| conv_transpose1d(4, 6, 3, one, vb), |l| l.forward(&line));
    faithful(kind, &plain, |vb| conv_transpose1d_no_bias(4, 6, 3, one, vb), |l| l.forward(&line));
    let two =
        ConvTranspose2dConfig { padding: 1, output_padding: 1, stride: 2, ..Default::default() };
    let kind = "ConvTranspose2d";
    faithful(kind, &both, |vb| conv_transpose2d(4, 6, 3, two, vb), |l| l.forward(&plane));
    faithful(kind, &plain, |vb| conv_transpose2d_no_bias(4, 6, 3, two, vb), |l| l.forward(&plane));
}

#[test]
fn layer_norms() {
    let xs = randn((2, 3, 8));
    let apply = |l: &LayerNorm| l.forward(&xs);
    for (remove_mean, affine) in [(true, true), (true, false), (false, true), (false, false)] {
        let config = LayerNormConfig { eps: 1e-3, remove_mean, affine };
        let params: &[&str] = if affine { &["weight", "bias"] } else { &["weight"] };
        faithful("LayerNorm", params, |vb| layer_norm(8, config, vb), apply);
    }
    faithful("LayerNorm", &["weight"], |vb| layer_norm_no_bias(8, 1e-3, vb), apply);
    faithful("RmsNorm", &["weight"], |vb| rms_norm(8, 1e-3, vb), |l: &RmsNorm| l.forward(&xs));
    // The slow path, which has a backward, is the same as well.
    let turned = xs.transpose(0, 1).expect("not contiguous");
    faithful("RmsNorm", &["weight"], |vb| rms_norm(8, 1e-3, vb), |l: &RmsNorm| l.forward(&turned));
}

#[test]
fn batch_norms() {
    let xs = randn((4, 3, 5));
    for (remove_mean, affine) in [(true, true), (true, false), (false, true), (false, false)] {
        let config = BatchNormConfig { eps: 1e-3, remove_mean, affine, momentum: 0.3 };
        // candle hides whether there are weights before there are none, so an affine-less one is a
        // leaf here; the reference skips it.
        let params: &[&str] = if affine { &["weight", "bias"] } else { &[] };
        for train in [false, true] {
            let forward = |l: &candle_nn::BatchNorm| {
                let reset = |stat: &Tensor, to: f64| {
                    let value = (stat.zeros_like()? + to)?;
                    candle_core::Var::from_tensor(stat)?.set(&value)
                };
                if !l.running_mean().is_variable() {
                    candle_core::bail!("statistics are variables in candle's layer");
                }
                reset(l.running_mean(), 0.25)?;
                reset(l.running_var(), 2.0)?;
                let ys = l.forward_t(&xs, train)?;
                Tensor::cat(
                    &[ys.flatten_all()?, l.running_mean().clone(), l.running_var().clone()],
                    0,
                )?
                .detach()
                .flatten_all()
            };
            faithful("BatchNorm", params, |vb| batch_norm(3, config, vb), forward);
        }
    }
}

#[test]
fn candles_batch_norm_cannot_normalise_by_statistics_in_training() {
    let layer = batch_norm(3, 1e-5, varmap_builder()).expect("a layer");
    assert!(layer.vars().expect("vars").len() == 2, "statistics are not trained by gradients");
    let mut net = Freezer::new(layer).expect("a freezer");
    net.freeze_front(1, &mut []).expect("frozen");
    let error = net.set_batch_norm(BatchNormPolicy::Inference).expect_err("candle's cannot");
    assert!(error.to_string().contains("freeze_core::nn::BatchNorm"), "{error}");
    assert_eq!(net.batch_norm(), BatchNormPolicy::AsCaller);
}

#[test]
fn every_dtype_and_layout_survives() {
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        let vb = VarBuilder::from_varmap(&candle_nn::VarMap::new(), dtype, &Device::Cpu);
        let layer = linear(3, 2, vb).expect("a layer");
        let frozen = layer.freeze_upto(1).expect("a view");
        assert_eq!((frozen.weight().dtype(), bits(frozen.weight())), (dtype, bits(layer.weight())));
    }
    let turned = candle_nn::Linear::new(randn((3, 2)).t().expect("turned"), None);
    let frozen = turned.freeze_upto(1).expect("a view");
    assert_eq!(bits(frozen.weight()), bits(turned.weight()));
}
