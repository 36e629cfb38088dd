//! Layers and models that hide their tensors.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::rnn::{GRUConfig, LSTMConfig, RNN};
use candle_nn::{GRU, GroupNorm, LSTM, Linear, VarBuilder, group_norm, linear};
use freeze_core::{Freezable, Freezer, Rebuilt, Role};

use crate::support::{bits, randn, square_loss, varmap_builder, with_gradient};

#[test]
fn a_constructor_that_asks_whether_a_tensor_is_there_gets_the_builders_answer() {
    let optional = |vb: VarBuilder<'_>| {
        let weight = vb.get((2, 2), "weight")?;
        let bias = vb.contains_tensor("bias").then(|| vb.get(2, "bias")).transpose()?;
        Ok(Linear::new(weight, bias))
    };
    for names in [["weight"].as_slice(), &["weight", "bias"]] {
        let shape = |name: &str| if name == "bias" { vec![2] } else { vec![2, 2] };
        let named = names.iter().map(|name| (name.to_string(), randn(shape(name)))).collect();
        let vb = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
        let layer = Rebuilt::new(vb, optional).expect("a layer");
        let tensors = layer.named_tensors().expect("tensors");
        assert_eq!(tensors.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
        let view = layer.freeze_upto(1).expect("a view");
        for built in [&*layer, &view] {
            assert_eq!(built.bias().is_some(), names.contains(&"bias"));
        }
    }
}

#[test]
fn group_norm_lstm_and_gru_are_one_leaf_each() {
    #[derive(Freezable)]
    struct Net {
        norm: Rebuilt<GroupNorm>,
        lstm: Rebuilt<LSTM>,
        gru: Rebuilt<GRU>,
    }
    let vb = varmap_builder();
    let net = Net {
        norm: Rebuilt::new(vb.pp("norm"), |vb| group_norm(2, 4, 1e-5, vb)).expect("norm"),
        lstm: Rebuilt::new(vb.pp("lstm"), |vb| candle_nn::lstm(3, 5, LSTMConfig::default(), vb))
            .expect("lstm"),
        gru: Rebuilt::new(vb.pp("gru"), |vb| candle_nn::gru(3, 5, GRUConfig::default(), vb))
            .expect("gru"),
    };
    let leaves = net.leaves().expect("leaves");
    let found: Vec<(&str, &str, usize)> =
        leaves.iter().map(|leaf| (leaf.path.as_str(), leaf.kind, leaf.params.len())).collect();
    assert_eq!(found, [("norm", "GroupNorm", 2), ("lstm", "LSTM", 4), ("gru", "GRU", 4)]);
    assert_eq!(leaves[1].params[0].full_name, "lstm.weight_ih_l0");

    let (image, sequence) = (randn((2, 4, 3)), randn((2, 6, 3)));
    let run = |net: &Net| -> Result<Tensor> {
        let lstm = net.lstm.seq(&sequence)?.last().expect("a state").h().clone();
        let gru = net.gru.seq(&sequence)?.last().expect("a state").h().clone();
        let norm = net.norm.forward(&image)?.flatten_all()?;
        Tensor::cat(&[lstm.flatten_all()?, gru.flatten_all()?, norm], 0)
    };
    let whole = run(&net).expect("ys");
    for n in 0..=3 {
        let view = net.freeze_upto(n).expect("a view");
        let ys = run(&view).expect("ys");
        assert_eq!(bits(&ys), bits(&whole), "{n} frozen: the same output");
        if n == 3 {
            assert!(!ys.track_op());
            continue;
        }
        let grads = square_loss(&ys).and_then(|loss| loss.backward()).expect("gradients");
        let reached = with_gradient(&net, &grads);
        for leaf in &leaves {
            let hit = reached.iter().filter(|name| name.starts_with(&leaf.path)).count();
            assert_eq!(
                hit,
                if leaf.index < n { 0 } else { leaf.params.len() },
                "{} at {n}",
                leaf.path
            );
        }
    }
}

/// A model of someone else's, all fields private.
mod foreign {
    use super::*;

    #[derive(Debug)]
    pub struct Model {
        embed: Linear,
        blocks: Vec<(Linear, Linear)>,
        head: Linear,
    }

    impl Model {
        pub fn new(vb: VarBuilder<'_>) -> Result<Self> {
            let blocks = vb.pp("blocks");
            let block = |i: usize| {
                let vb = blocks.pp(i);
                Ok((linear(4, 4, vb.pp("up"))?, linear(4, 4, vb.pp("down"))?))
            };
            let embed = linear(3, 4, vb.pp("embed"))?;
            // The head is asked for first: that is the order of its leaves.
            Ok(Self {
                head: linear(4, 2, vb.pp("head"))?,
                embed,
                blocks: (0..2).map(block).collect::<Result<_>>()?,
            })
        }
    }

    impl Module for Model {
        fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            let xs = self.blocks.iter().try_fold(self.embed.forward(xs)?, |xs, (up, down)| {
                &xs + down.forward(&up.forward(&xs)?.relu()?)?
            })?;
            self.head.forward(&xs)
        }
    }
}

#[test]
fn a_whole_foreign_model_trains_under_a_plan() {
    let model = Rebuilt::new(varmap_builder(), foreign::Model::new).expect("a model");
    let mut net = Freezer::new(model).expect("a freezer");
    let paths: Vec<String> = net.plan().paths().to_vec();
    assert_eq!(
        paths,
        ["embed", "head", "blocks.0.up", "blocks.0.down", "blocks.1.up", "blocks.1.down"]
    );
    let xs = randn((5, 3));
    let mut plan = net.plan().clone();
    plan.freeze("embed").and_then(|p| p.freeze("blocks.0.**")).expect("a plan");
    net.apply(&plan, &mut []).expect("applied");
    let before: Vec<_> = net
        .whole()
        .named_tensors()
        .expect("tensors")
        .iter()
        .map(|(n, t)| (n.clone(), bits(t)))
        .collect();
    let loss = square_loss(&net.forward(&xs).expect("ys")).expect("a loss");
    let mut sgd: candle_nn::SGD = candle_nn::Optimizer::new(net.vars(), 0.1).expect("sgd");
    candle_nn::Optimizer::backward_step(&mut sgd, &loss).expect("a step");
    for ((name, now), (_, then)) in
        net.whole().named_tensors().expect("tensors").iter().zip(&before)
    {
        let frozen = name.starts_with("embed") || name.starts_with("blocks.0");
        assert_eq!(bits(now) == *then, frozen, "{name}");
    }
}

#[test]
fn a_builder_that_borrows_is_served() {
    let weights = candle_nn::VarMap::new();
    let vb = VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu);
    Rebuilt::new(vb, foreign::Model::new).expect("fills the map");
    let tensors = weights.data().lock().expect("unpoisoned").clone();
    let bytes = {
        let views: std::collections::HashMap<&str, &Tensor> =
            tensors.iter().map(|(name, var)| (name.as_str(), var.as_tensor())).collect();
        safetensors::serialize(views, None).expect("bytes")
    };
    // The builder borrows `bytes`, the constructor wants `'static`.
    let vb =
        VarBuilder::from_slice_safetensors(&bytes, DType::F32, &Device::Cpu).expect("a builder");
    let plain = Rebuilt::new(vb, foreign::Model::new).expect("a model");
    assert!(plain.vars().expect("vars").is_empty());
    let model = plain.into_trainable().expect("variables");
    assert_eq!(model.vars().expect("vars").len(), 12);
    for (name, tensor) in model.named_tensors().expect("tensors") {
        assert_eq!(bits(&tensor), bits(tensors[&name].as_tensor()), "{name}");
    }
}

#[test]
fn running_statistics_are_found_by_name_or_by_the_user() {
    let build = |vb: VarBuilder<'static>| candle_nn::batch_norm(3, 1e-5, vb.pp("bn"));
    let roles = |model: &Rebuilt<candle_nn::BatchNorm>| -> Vec<(String, Role)> {
        let leaves = model.leaves().expect("leaves");
        leaves.into_iter().flat_map(|leaf| leaf.params).map(|p| (p.name, p.role)).collect()
    };
    use Role::{Buffer, Weight};
    let named = |a: Role, b: Role, c: Role, d: Role| {
        vec![
            ("running_mean".to_string(), a),
            ("running_var".to_string(), b),
            ("weight".to_string(), c),
            ("bias".to_string(), d),
        ]
    };
    let model = Rebuilt::new(varmap_builder(), build).expect("a model");
    assert_eq!(roles(&model), named(Buffer, Buffer, Weight, Weight));
    let model = Rebuilt::with_buffers(varmap_builder(), |name| name == "bn.weight", build)
        .expect("a model");
    assert_eq!(roles(&model), named(Weight, Weight, Buffer, Weight));
}

#[test]
fn constructors_that_fail_or_change_their_mind_say_so() {
    let error = Rebuilt::new(
        VarBuilder::from_tensors(Default::default(), DType::F32, &Device::Cpu),
        |vb| linear(2, 2, vb.pp("fc")),
    );
    assert!(
        error
            .map(|_| ())
            .expect_err("no tensors")
            .to_string()
            .contains("cannot find tensor fc.weight")
    );

    let calls = std::sync::atomic::AtomicUsize::new(0);
    let fickle = move |vb: VarBuilder<'static>| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        linear(2, 2, vb.pp(format!("fc{call}")))
    };
    let error = Rebuilt::new(varmap_builder(), fickle).map(|_| ()).expect_err("other names");
    assert!(
        error
            .to_string()
            .contains("asks for `fc1.weight`, for which it did not ask the first time"),
        "{error}"
    );
}

/// One weight asked for in two element types: each is what was asked for, in the original and in
/// views, and gradients of both arrive at the one variable.
#[test]
fn a_tensor_is_given_in_every_type_that_is_asked_for() {
    struct Twice {
        single: Tensor,
        double: Tensor,
    }
    let build = |vb: VarBuilder<'static>| {
        let (shape, init) = ((2, 2), candle_nn::Init::Const(0.5));
        let single = vb.get_with_hints_dtype(shape, "weight", init, DType::F32)?;
        let double = vb.get_with_hints_dtype(shape, "weight", init, DType::F64)?;
        Ok(Twice { single, double })
    };
    let model = Rebuilt::new(varmap_builder(), build).expect("a model");
    assert_eq!(model.vars().expect("vars").len(), 1);
    for frozen in [0, 1] {
        let view = model.freeze_upto(frozen).expect("a view");
        for twice in [&*model, &**view] {
            assert_eq!((twice.single.dtype(), twice.double.dtype()), (DType::F32, DType::F64));
            assert_eq!(bits(&twice.single), bits(&twice.double));
        }
        assert_eq!((view.single.track_op(), view.double.track_op()), (frozen == 0, frozen == 0));
    }
    let var = model.vars().expect("vars").remove(0);
    let loss = model
        .double
        .sum_all()
        .and_then(|sum| sum.to_dtype(DType::F32)? + model.single.sum_all()?);
    let grads = loss.and_then(|loss| loss.backward()).expect("gradients");
    assert_eq!(bits(grads.get(&var).expect("a gradient")), [2f64.to_bits(); 4]);
}

/// A constructor that draws constants makes another layer of each view.
#[test]
fn a_constructor_that_draws_is_found_out() {
    struct Fourier {
        frequencies: Tensor,
        head: Linear,
    }
    impl Module for Fourier {
        fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            self.head.forward(&xs.matmul(&self.frequencies)?.sin()?)
        }
    }
    let fixed = randn((3, 4));
    let build = |drawn: bool| {
        let fixed = fixed.clone();
        Rebuilt::new(varmap_builder(), move |vb: VarBuilder<'static>| {
            let frequencies = if drawn { randn((3, 4)) } else { fixed.clone() };
            Ok(Fourier { frequencies, head: linear(4, 2, vb.pp("head"))? })
        })
        .expect("a model")
    };
    let xs = randn((5, 3));
    build(false).verified(|model| model.forward(&xs)).expect("the same each time");
    let error = build(true).verified(|model| model.forward(&xs)).map(|_| ()).expect_err("drawn");
    assert!(error.to_string().contains("built once more over the same tensors"), "{error}");
    assert!(error.to_string().contains("hand them to the constructor"), "{error}");
    let failing = |_: &Fourier| -> Result<Tensor> { candle_core::bail!("no forward") };
    let error = build(false).verified(failing).map(|_| ()).expect_err("fails");
    assert!(error.to_string().contains("no forward"), "{error}");
}

/// A weight that the constructor computes does not follow what it is computed from.
#[test]
fn a_constructor_that_computes_a_weight_is_found_out() {
    struct WeightNorm {
        v: Tensor,
        g: Tensor,
        computed: Option<Tensor>,
    }
    impl WeightNorm {
        fn weight(&self) -> Result<Tensor> {
            let norm = self.v.sqr()?.sum_keepdim(1)?.sqrt()?;
            self.v.broadcast_mul(&self.g.div(&norm)?)
        }
    }
    impl Module for WeightNorm {
        fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            let weight = self.computed.clone().map_or_else(|| self.weight(), Ok)?;
            xs.matmul(&weight.t()?)
        }
    }
    let [v, g] = [("v".to_string(), randn((2, 3))), ("g".to_string(), randn((2, 1)))];
    let values = std::collections::HashMap::from([v, g]);
    let build = |at_once: bool| {
        let vb = VarBuilder::from_tensors(values.clone(), DType::F32, &Device::Cpu);
        Rebuilt::new(vb, move |vb: VarBuilder<'static>| {
            let (v, g) = (vb.get((2, 3), "v")?, vb.get((2, 1), "g")?);
            let layer = WeightNorm { v, g, computed: None };
            let computed = at_once.then(|| layer.weight()).transpose()?;
            Ok(WeightNorm { computed, ..layer })
        })
        .expect("a layer")
    };
    let xs = randn((4, 3));
    for trains in [false, true] {
        let layer = |at_once| match trains {
            true => build(at_once).into_trainable().expect("variables"),
            false => build(at_once),
        };
        let same = layer(false).verified(|layer| layer.forward(&xs)).expect("computed each time");
        for (name, tensor) in same.named_tensors().expect("tensors") {
            assert_eq!(bits(&tensor), bits(&values[&name]), "{name} is as it was");
        }
        let error = layer(true).verified(|layer| layer.forward(&xs)).map(|_| ());
        let error = error.expect_err("computed once").to_string();
        assert!(error.contains("a weight is computed in the constructor"), "{error}");
    }
}
