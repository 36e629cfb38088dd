//! The batch norm layer: candle's numbers, and what freezing does to its running statistics.

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::load::load_into;
use freeze_core::nn::{self, BatchNorm, BatchNormConfig};
use freeze_core::parallel::{Group, Threads};
use freeze_core::{BatchNormPolicy, Freezable, Freezer};
use proptest::prelude::*;

use super::*;

/// A layer and candle's, each with variables of its own that hold the same numbers.
fn pair(config: BatchNormConfig, dtype: DType) -> (BatchNorm, candle_nn::BatchNorm) {
    let mut tensors = std::collections::HashMap::new();
    for (seed, name) in ["running_mean", "running_var", "weight", "bias"].iter().enumerate() {
        let tensor = shifted(seed as u64, &[4], dtype, 1.5).as_detached_tensor();
        tensors.insert(name.to_string(), tensor);
    }
    let vb = VarBuilder::from_tensors(tensors, dtype, &Device::Cpu);
    let ours = nn::batch_norm(4, config, vb.clone()).unwrap();
    (ours, candle_nn::batch_norm(4, config, vb).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn outputs_and_statistics_are_candles(
        batch in 2usize..8,
        size in 1usize..10,
        momentum in 0.0f64..=1.0,
        remove_mean in any::<bool>(),
        affine in any::<bool>(),
        flat in any::<bool>(),
        seed in any::<u64>(),
    ) {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
            let config = BatchNormConfig { eps: 1e-2, remove_mean, affine, momentum };
            let (ours, stock) = pair(config, dtype);
            for step in 0..3 {
                let shape = &[batch, 4, size][..if flat { 2 } else { 3 }];
                let x = var(seed ^ step, shape, dtype);
                for train in [true, false] {
                    let (y, expected) = (ours.forward_t(&x, train), stock.forward_t(&x, train));
                    prop_assert!(distance(&y.unwrap(), &expected.unwrap()) < tolerance);
                }
                prop_assert!(distance(ours.running_mean(), stock.running_mean()) < tolerance);
                prop_assert!(distance(ours.running_var(), stock.running_var()) < tolerance);
            }
        }
    }
}

#[test]
fn conversion_shares_every_tensor() {
    for (affine, remove_mean) in [(true, true), (false, true), (true, false)] {
        let config = BatchNormConfig { affine, remove_mean, momentum: 0.3, eps: 1e-3 };
        let (_, stock) = pair(config, DType::F32);
        let ours = BatchNorm::try_from(stock.clone()).unwrap();
        assert_eq!((ours.momentum(), ours.eps()), (0.3, 1e-3));
        assert_eq!(ours.remove_mean(), remove_mean);
        assert_eq!(ours.weight_and_bias().is_some(), affine);
        ours.forward_train(&var(1, &[5, 4], DType::F32)).unwrap();
        assert_eq!(flat(ours.running_var()), flat(stock.running_var()));
        assert_eq!(ours.running_mean().id(), stock.running_mean().id());
    }
}

/// The statistics of the whole model and of a view, before and after the view's forward pass.
fn moved(model: &BatchNorm, view: &BatchNorm, train: bool) -> (bool, bool) {
    let before = (flat(model.running_var()), flat(view.running_var()));
    view.forward_t(&var(1, &[5, 4, 3], DType::F32), train).unwrap();
    (before.0 != flat(model.running_var()), before.1 != flat(view.running_var()))
}

#[test]
fn a_frozen_layer_moves_the_models_statistics() {
    let (model, _) = pair(BatchNormConfig::default(), DType::F32);
    let trained = model.freeze_upto(0).unwrap();
    let frozen = model.freeze_upto(1).unwrap();
    let thawed = frozen.freeze_upto(0).unwrap();
    for view in [&trained, &frozen, &thawed] {
        // (of the whole model, of the view)
        assert_eq!(moved(&model, view, true), (true, true));
        assert_eq!(moved(&model, view, false), (false, false));
        assert_eq!(flat(view.running_var()), flat(model.running_var()));
    }
    // Normalised by the batch, like the original.
    let x = var(2, &[6, 4, 2], DType::F32);
    let expected = trained.forward_t(&x, true).unwrap();
    assert_eq!(flat(&frozen.forward_t(&x, true).unwrap()), flat(&expected));
}

/// Which of the two normalised by the batch: its output does not depend on the running statistics.
fn normalises_by_batch(layer: &BatchNorm, train: bool) -> bool {
    let x = var(2, &[6, 4, 2], DType::F32);
    let (w, b) = layer.weight_and_bias().unwrap();
    let (by_batch, _) = nn::ops::batch_norm(&x, Some((w, b)), layer.eps()).unwrap();
    flat(&layer.forward_t(&x, train).unwrap()) == flat(&by_batch)
}

#[test]
fn the_policy_says_what_a_frozen_layer_normalises_by() {
    use BatchNormPolicy::{AsCaller, Inference};
    // (policy, frozen leaves, whether training normalises by the batch and moves statistics)
    let rows =
        [(AsCaller, 0, true), (AsCaller, 1, true), (Inference, 0, true), (Inference, 1, false)];
    let (model, _) = pair(BatchNormConfig::default(), DType::F32);
    let mut net = Freezer::new(model.into_trainable().unwrap()).unwrap();
    for (policy, frozen, by_batch) in rows {
        net.set_batch_norm(policy).unwrap();
        net.freeze_front(frozen, &mut []).unwrap();
        let row = format!("{policy:?}, {frozen} frozen");
        assert_eq!(normalises_by_batch(&net, true), by_batch, "{row}");
        assert!(!normalises_by_batch(&net, false), "{row}");
        assert_eq!(moved(net.whole(), &net, true), (by_batch, by_batch), "{row}");
        assert!(normalises_by_batch(net.whole(), true), "{row}");
    }
}

/// Without weights nothing in the layer's tensors says whether it is frozen.
#[test]
fn a_layer_without_weights_follows_the_policy() {
    let config = BatchNormConfig { affine: false, ..Default::default() };
    let mut net = Freezer::new(pair(config, DType::F32).0).unwrap();
    net.set_batch_norm(BatchNormPolicy::Inference).unwrap();
    assert_eq!(moved(net.whole(), &net, true), (true, true));
    net.freeze_front(1, &mut []).unwrap();
    assert_eq!(moved(net.whole(), &net, true), (false, false));
    net.thaw(&mut []).unwrap();
    assert_eq!(moved(net.whole(), &net, true), (true, true));
}

#[test]
fn a_frozen_layer_in_the_middle_gives_the_input_gradient_alone() {
    let (model, _) = pair(BatchNormConfig::default(), DType::F32);
    let model = model.into_trainable().unwrap();
    let x = var(3, &[6, 4, 2], DType::F32);
    for (frozen, expected) in [(0, 3), (1, 1)] {
        let y = model.freeze_upto(frozen).unwrap().forward_t(&x, true).unwrap();
        let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get_ids().count(), expected);
        assert!(grads.get(&x).is_some());
    }
    // With nothing that trains below it, no graph at all.
    let frozen = model.freeze_upto(1).unwrap();
    assert!(!frozen.forward_t(&x.as_detached_tensor(), true).unwrap().track_op());
}

#[test]
fn names_are_candles_and_statistics_are_no_parameters() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let layer = nn::batch_norm(4, 1e-5, vb).unwrap();
    let names: Vec<String> = layer.named_tensors().unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["running_mean", "running_var", "weight", "bias"]);
    let names: Vec<String> = layer.named_vars().unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["weight", "bias"]);
    // The statistics are the map's variables, not copies of them: `VarMap::save` sees them move.
    layer.forward_train(&var(1, &[5, 4], DType::F32)).unwrap();
    let saved = map.data().lock().unwrap()["running_var"].clone();
    assert_eq!(flat(&saved), flat(layer.running_var()));
    assert_ne!(flat(&saved), [1.0; 4]);
}

#[test]
fn wrong_numbers_and_shapes_are_errors() {
    let vector = |n: usize| Tensor::ones(n, DType::F32, &Device::Cpu).unwrap();
    let new = |eps, momentum, n| {
        BatchNorm::new_no_bias_with_momentum(4, vector(n), vector(4), eps, momentum)
    };
    let cases = [
        (new(-1.0, 0.1, 4), "`eps` is -1, expected a number of at least 0"),
        (new(f64::NAN, 0.1, 4), "`eps` is NaN"),
        (new(1e-5, 1.5, 4), "`momentum` is 1.5, expected a number from 0 to 1"),
        (new(1e-5, f64::NAN, 4), "`momentum` is NaN"),
        (new(1e-5, 0.1, 3), "the running mean has shape [3], not [4]"),
    ];
    for (result, text) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let layer = new(1e-5, 0.1, 4).unwrap();
    let alone = Group::new(Threads::ranks(1).unwrap().remove(0));
    for layer in [layer.clone(), layer.across(&alone)] {
        let one = layer.forward_train(&Tensor::ones((1, 4), DType::F32, &Device::Cpu).unwrap());
        assert!(one.unwrap_err().to_string().contains("at least two values per channel"));
        let wide = layer.forward_train(&Tensor::ones((2, 5), DType::F32, &Device::Cpu).unwrap());
        assert!(wide.unwrap_err().to_string().contains("expected 4 channels"));
        assert_eq!(flat(layer.running_mean()), [1.0; 4]);
        assert_eq!(flat(layer.running_var()), [1.0; 4]);
    }
}

/// A layer whose tensors are all of `dtype`, with candle's names.
fn of_dtype(dtype: DType) -> BatchNorm {
    let vb = VarBuilder::from_tensors(tensors(dtype), dtype, &Device::Cpu);
    nn::batch_norm(4, BatchNormConfig { momentum: 0.01, ..Default::default() }, vb).unwrap()
}

fn tensors(dtype: DType) -> std::collections::HashMap<String, Tensor> {
    let names = [("running_mean", 0.0), ("running_var", 1.0), ("weight", 1.0), ("bias", 0.0)];
    let tensor = |value: f64| Tensor::full(value as f32, 4, &Device::Cpu).unwrap().to_dtype(dtype);
    names.map(|(name, value)| (name.to_string(), tensor(value).unwrap())).into()
}

#[test]
fn statistics_of_halves_do_not_stall() {
    for dtype in [DType::F16, DType::BF16] {
        let by_hand = || {
            let t = tensors(dtype);
            let [mean, var, w, b] =
                ["running_mean", "running_var", "weight", "bias"].map(|n| &t[n]);
            let [mean, var, w, b] = [mean, var, w, b].map(Tensor::clone);
            BatchNorm::new_with_momentum(4, mean, var, w, b, 1e-5, 0.01).unwrap()
        };
        for layer in [of_dtype(dtype), by_hand()] {
            let view = layer.freeze_upto(0).unwrap();
            // Mean 1, unbiased variance 8 for 8 values of 1 - √7 and 1 + √7 in turn.
            let x: Vec<f64> = (0..32).map(|i| 1. + 7f64.sqrt() * [1., -1.][i / 4 % 2]).collect();
            let x = Tensor::from_vec(x, (8, 4), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            for _ in 0..1500 {
                assert_eq!(view.forward_train(&x).unwrap().dtype(), dtype);
            }
            assert_eq!(
                (layer.running_mean().dtype(), layer.running_var().dtype()),
                (DType::F32, DType::F32)
            );
            for (mean, var) in flat(layer.running_mean()).into_iter().zip(flat(layer.running_var()))
            {
                assert!((mean - 1.).abs() < 1e-2 && (var - 8.).abs() < 5e-2, "{mean} {var}");
            }
            assert_eq!(layer.forward_t(&x, false).unwrap().dtype(), dtype);
        }
    }
}

#[test]
fn files_with_statistics_of_halves_load() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [DType::F16, DType::BF16] {
        let path = folder.path().join(format!("{dtype:?}.safetensors"));
        let mut file = tensors(dtype);
        file.insert("running_mean".to_string(), shifted(1, &[4], dtype, 1.5).as_detached_tensor());
        candle_core::safetensors::save(&file, &path).unwrap();
        let vb = buffered(&path, dtype);
        let read = nn::batch_norm(4, 1e-5, vb).unwrap();
        let loaded = of_dtype(dtype).into_trainable().unwrap();
        assert!(load_into(&loaded, &path).unwrap().is_complete());
        for layer in [read, loaded] {
            assert_eq!(flat(layer.running_mean()), flat(&file["running_mean"]), "{dtype:?}");
            assert_eq!(layer.running_mean().dtype(), DType::F32);
            assert_eq!(layer.weight_and_bias().unwrap().0.dtype(), dtype);
        }
    }
}

fn buffered(path: &std::path::Path, dtype: DType) -> VarBuilder<'static> {
    let bytes = std::fs::read(path).unwrap();
    VarBuilder::from_buffered_safetensors(bytes, dtype, &Device::Cpu).unwrap()
}

#[test]
fn a_half_convolution_absorbs_its_norm() {
    let (conv, norm) = (var(1, &[4, 2, 3, 3], DType::BF16), of_dtype(DType::BF16));
    let conv = nn::Conv2d::new(conv.as_detached_tensor(), None, Default::default());
    let x = var(2, &[2, 2, 5, 5], DType::BF16);
    let expected =
        norm.forward_t(&candle_core::Module::forward(&conv, &x).unwrap(), false).unwrap();
    let found = candle_core::Module::forward(&conv.absorb_bn(&norm).unwrap(), &x).unwrap();
    assert_eq!(found.dtype(), DType::BF16);
    assert!(distance(&found, &expected) < 2e-2);
}
