//! Whole models of candle-transformers, taken as they stand through `Rebuilt`, and compared with those here.

mod models;
#[path = "../walks/mod.rs"]
mod walks;

use std::collections::HashMap;

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{Func, VarBuilder, VarMap};
use candle_transformers::models::bert::{BertModel, Config};
use candle_transformers::models::resnet;
use freeze_core::{Freezable, Freezer, Rebuilt, Role};

fn bits(tensor: &Tensor) -> Vec<u32> {
    let flat = tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
    flat.into_iter().map(f32::to_bits).collect()
}

fn builder() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)
}

fn small_bert() -> Rebuilt<BertModel> {
    let config = Config {
        vocab_size: 40,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 12,
        ..Default::default()
    };
    Rebuilt::new(builder(), move |vb| BertModel::load(vb, &config)).expect("a model")
}

fn bert_output(bert: &BertModel) -> Tensor {
    let ids = Tensor::new(&[[1u32, 7, 3, 9], [4, 4, 0, 2]], &Device::Cpu).expect("ids");
    let types = ids.zeros_like().expect("types");
    bert.forward(&ids, &types, None).expect("an output")
}

#[test]
fn bert_is_twenty_leaves() {
    let bert = small_bert();
    walks::assert_same_walks(&bert);
    let leaves = bert.leaves().expect("leaves");
    assert_eq!(leaves.len(), 20);
    assert_eq!(leaves.iter().map(|leaf| leaf.params.len()).sum::<usize>(), 37);
    for (index, path, params) in [
        (0, "embeddings.word_embeddings", vec!["weight"]),
        (3, "embeddings.LayerNorm", vec!["weight", "bias"]),
        (4, "encoder.layer.0.attention.self.query", vec!["weight", "bias"]),
        (19, "encoder.layer.1.output.LayerNorm", vec!["weight", "bias"]),
    ] {
        assert_eq!(leaves[index].path, path);
        let names: Vec<&str> = leaves[index].params.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, params, "{path}");
        assert!(leaves[index].params.iter().all(|param| param.role == Role::Weight), "{path}");
    }
    let whole = bits(&bert_output(&bert));
    for n in [0, 1, 7, 20] {
        let view = bert.freeze_upto(n).expect("a view");
        assert_eq!(bits(&bert_output(&view)), whole, "{n} frozen");
    }
}

#[test]
fn berts_views_share_storage() {
    let mut net = Freezer::new(small_bert()).expect("a freezer");
    net.freeze_front(20, &mut []).expect("frozen");
    let before = bits(&bert_output(&net));
    for var in net.vars() {
        var.set(&(var.as_tensor() * 1.5).expect("a tensor")).expect("set");
    }
    let after = bits(&bert_output(&net));
    assert_ne!(after, before, "the frozen view sees what is loaded into the whole");
    assert_eq!(after, bits(&bert_output(net.whole())));
}

/// candle's fused layer norm has no backward, so in stock BERT everything below the last one,
/// and that one itself, silently gets no gradient.
#[test]
fn berts_fused_layer_norms_stop_every_gradient() {
    let bert = small_bert();
    let loss = bert_output(&bert).sqr().and_then(|ys| ys.mean_all()).expect("a loss");
    assert_eq!(loss.sorted_nodes().len(), 0, "the loss does not know of a single parameter");
    let grads = loss.backward().expect("gradients");
    assert!(bert.vars().expect("vars").iter().all(|var| grads.get(var).is_none()));
}

fn small_resnet() -> Rebuilt<Func<'static>> {
    Rebuilt::new(builder(), |vb| resnet::resnet18(10, vb)).expect("a model")
}

#[test]
fn resnets_running_statistics_are_buffers() {
    let model = small_resnet();
    walks::assert_same_walks(&model);
    let leaves = model.leaves().expect("leaves");
    let params = || leaves.iter().flat_map(|leaf| &leaf.params);
    let buffers: Vec<&str> =
        params().filter(|p| p.role == Role::Buffer).map(|p| p.full_name.as_str()).collect();
    assert_eq!(buffers.len(), 40, "two for each of 20 batch norms");
    assert!(buffers.iter().all(|n| n.ends_with("running_mean") || n.ends_with("running_var")));
    assert_eq!(model.vars().expect("vars").len(), params().count() - 40);
    assert_eq!(leaves[0].path, "conv1");
    assert_eq!(leaves.last().map(|leaf| leaf.path.as_str()), Some("fc"));
}

#[test]
fn resnet_trains_its_back_half_alone() {
    let xs = Tensor::randn(0f32, 1., (2, 3, 32, 32), &Device::Cpu).expect("an input");
    let mut net = Freezer::new(small_resnet()).expect("a freezer");
    let whole = bits(&net.whole().forward(&xs).expect("ys"));
    assert_eq!(bits(&net.forward(&xs).expect("ys")), whole);
    let body = net.whole().leaf_before("layer4").expect("layer4");
    net.freeze_front(body, &mut []).expect("frozen");
    assert_eq!(bits(&net.forward(&xs).expect("ys")), whole);

    let loss = net.forward(&xs).and_then(|ys| ys.sqr()?.mean_all()).expect("a loss");
    let grads = loss.backward().expect("gradients");
    let has = |var: &Var| grads.get(var).is_some();
    for (name, var) in net.named_vars() {
        assert_eq!(has(&var), name.starts_with("layer4") || name.starts_with("fc"), "{name}");
    }
}

/// This model normalises by its statistics in training too, so they are moved by hand here.
#[test]
fn resnets_statistics_are_shared_whatever_is_frozen() {
    let xs = Tensor::randn(0f32, 1., (2, 3, 32, 32), &Device::Cpu).expect("an input");
    let mut net = Freezer::new(small_resnet()).expect("a freezer");
    let body = net.whole().leaf_before("layer4").expect("layer4");
    net.freeze_front(body, &mut []).expect("frozen");
    let outputs = |net: &Freezer<Rebuilt<Func<'static>>>| {
        [net.whole(), &**net].map(|model| bits(&model.forward(&xs).expect("ys")))
    };
    let shift = |net: &Freezer<Rebuilt<Func<'static>>>, name: &str| {
        let tensors: HashMap<String, Tensor> =
            net.whole().named_tensors().expect("tensors").into_iter().collect();
        let stat = Var::from_tensor(&tensors[name]).expect("a variable");
        stat.set(&(stat.as_tensor() + 0.5).expect("a tensor")).expect("set");
    };
    let [whole, view] = outputs(&net);
    assert_eq!(whole, view);
    shift(&net, "layer4.0.bn1.running_mean");
    let [moved, view] = outputs(&net);
    assert_ne!(moved, whole);
    assert_eq!(moved, view, "a trained layer of the view shares the statistics");
    shift(&net, "layer1.0.bn1.running_mean");
    let [again, view] = outputs(&net);
    assert_ne!(again, moved);
    assert_eq!(view, again, "and so does a frozen one");
}

#[test]
fn a_module_stays_one() {
    fn is_module(_: &impl Module) {}
    let layer =
        Rebuilt::new(builder(), |vb| candle_nn::group_norm(2, 4, 1e-5, vb)).expect("a layer");
    is_module(&layer);
}
