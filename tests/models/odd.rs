//! Models in odd turns: weights that come late, twice and from another thread; nothing to read; no text at all.

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::ParamsAdamW;
use freeze_core::checkpoint::save_weights;
use freeze_core::init::Seeded;
use freeze_core::models::bert::{BertForSequenceClassification, BertForTokenClassification};
use freeze_core::models::llama::{self, LlamaForCausalLM, causal_lm_loss};
use freeze_core::models::{Pooling, TextContext, load_pretrained};
use freeze_core::nn::cross_entropy;
use freeze_core::optim::AdamW;
use freeze_core::{ActivationCache, BatchNormPolicy, Freezable, Freezer, Result, Staged, Training};

use crate::bert::small;
use crate::golden::numbers;

fn classifier(seed: u64) -> Result<BertForSequenceClassification> {
    let vb = Seeded::builder(seed, DType::F32, &Cpu);
    BertForSequenceClassification::new(&small(), 3, Pooling::Mean, vb)
}

/// Records of the old weights do not outlive them, and the optimizer goes on from the new ones.
#[test]
fn weights_that_are_loaded_in_the_middle_of_a_cached_run_are_those_of_the_next_forward()
-> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    save_weights(&file, &classifier(2)?)?;
    let mut run = Training::new(classifier(1)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .cache(ActivationCache::new())
        .length(2, 2)?;
    run.set_batch_norm(BatchNormPolicy::Inference)?;
    run.freeze_front(run.freezer().leaf_before("bert.encoder.layer.2")?)?;
    let tokens = Tensor::new(&[[1u32, 5, 7, 2], [4, 29, 2, 0]], &Cpu)?;
    let labels = Tensor::new(&[0u32, 2], &Cpu)?;
    let context = TextContext::new();
    let forward = |run: &mut Training<_>| run.forward(&[7, 9], tokens.clone(), &context);
    let mut outputs = Vec::new();
    while run.next_epoch()?.is_some() {
        for _ in 0..2 {
            let output = forward(&mut run)?;
            outputs.push(numbers(&output));
            run.step(&cross_entropy(&output, &labels, None)?)?;
        }
        if outputs.len() == 2 {
            // From another thread, and once more.
            let freezer = run.freezer();
            std::thread::scope(|scope| {
                let load = || load_pretrained(freezer, folder.path());
                scope.spawn(load).join().expect("no panic").map(drop)
            })?;
            let loaded = load_pretrained(run.freezer(), &file)?;
            assert!(loaded.is_complete(), "{loaded}");
            let fresh = classifier(2)?.forward(tokens.clone(), &context)?;
            assert_eq!(numbers(&forward(&mut run)?), numbers(&fresh), "of the file's weights");
        }
        run.epoch_end([])?;
    }
    let fresh = numbers(&classifier(2)?.forward(tokens.clone(), &context)?);
    assert_eq!(outputs[2], fresh);
    assert_ne!(outputs[3], fresh, "the step moved the new weights");
    Ok(())
}

/// A file of another model changes nothing, and the run goes on.
#[test]
fn weights_that_are_refused_leave_the_model_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let other = LlamaForCausalLM::new(&tied(), Seeded::builder(1, DType::F32, &Cpu))?;
    save_weights(folder.path().join("model.safetensors"), &other)?;
    let net = Freezer::new(classifier(1)?)?;
    let values = |net: &BertForSequenceClassification| -> Result<Vec<Vec<f64>>> {
        Ok(net.named_tensors()?.iter().map(|(_, tensor)| numbers(tensor)).collect())
    };
    let before = values(net.whole())?;
    let error = load_pretrained(&net, folder.path()).expect_err("a Llama's").to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    assert_eq!(values(net.whole())?, before);
    Ok(())
}

fn tied() -> llama::Config {
    llama::Config {
        vocab_size: 20,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        tie_word_embeddings: Some(true),
        initializer_range: 0.3,
        ..Default::default()
    }
}

/// Frozen as embeddings, trained as the head: one variable, one gradient, one step.
#[test]
fn a_table_that_is_frozen_as_embeddings_trains_as_the_head() -> Result<()> {
    let net = LlamaForCausalLM::new(&tied(), Seeded::builder(1, DType::F32, &Cpu))?;
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .length(1, 1)?;
    let change = run.freeze_front(run.freezer().leaf_before("lm_head")?)?;
    assert_eq!(change.ties.len(), 1, "{change:?}");
    let named = |run: &Training<LlamaForCausalLM>| -> Result<Vec<(String, Vec<f64>)>> {
        let tensors = run.freezer().whole().named_tensors()?.into_iter();
        Ok(tensors.map(|(name, tensor)| (name, numbers(&tensor))).collect())
    };
    let before = named(&run)?;
    let tokens = Tensor::new(&[[1u32, 5, 7, 2]], &Cpu)?;
    run.next_epoch()?;
    let logits = run.forward(&[0], tokens.clone(), &TextContext::new().train(true))?;
    run.step(&causal_lm_loss(&logits, &tokens, -100)?)?;
    for ((name, old), (_, new)) in before.iter().zip(named(&run)?) {
        let is_table = ["model.embed_tokens.weight", "lm_head.weight"].contains(&name.as_str());
        assert_eq!(*old != new, is_table, "{name}");
    }
    Ok(())
}

#[test]
fn no_text_and_texts_without_tokens_give_nothing_or_zeros() -> Result<()> {
    let context = |rows: usize, length: usize, of: u32| -> Result<TextContext> {
        Ok(TextContext::padded(&Tensor::full(of, (rows, length), &Cpu)?)?)
    };
    let zeros = |rows, length| Tensor::zeros((rows, length), DType::U32, &Cpu);
    let net = classifier(1)?;
    assert_eq!(net.forward(zeros(0, 4)?, &context(0, 4, 1)?)?.dims(), [0, 3]);
    // Padding alone: a mean of nothing, and what the head makes of it; no NaN.
    let padding = net.forward(zeros(2, 4)?, &context(2, 4, 0)?)?;
    let head = net.named_tensors()?.into_iter().find(|(name, _)| name == "classifier.bias");
    let bias = numbers(&head.expect("a head").1);
    assert_eq!(numbers(&padding), [&bias[..], &bias].concat());
    let vb = Seeded::builder(1, DType::F32, &Cpu);
    let tokens = BertForTokenClassification::new(&small(), 3, vb)?;
    assert_eq!(tokens.forward(zeros(2, 0)?, &context(2, 0, 1)?)?.dims(), [2, 0, 3]);
    Ok(())
}

/// A stage of another model, by a number.
#[test]
fn a_stage_that_is_not_there_is_an_error() -> Result<()> {
    use freeze_core::models::bert::{BertModel, BertModelStage};
    use freeze_core::models::resnet::{self, ResNet, ResNetStage};

    let vb = || Seeded::builder(1, DType::F32, &Cpu);
    let bert = BertModel::new(&small(), vb())?;
    let xs = Tensor::zeros((1, 4, small().hidden_size), DType::F32, &Cpu)?;
    let layers = small().num_hidden_layers;
    bert.run(BertModelStage::Layers(layers - 1), xs.clone(), &TextContext::new())?;
    for index in [layers, usize::MAX] {
        let error = bert.run(BertModelStage::Layers(index), xs.clone(), &TextContext::new());
        let error = error.expect_err("none").to_string();
        assert!(error.contains(&format!("layer {index}, counted from 0, of {layers}")), "{error}");
    }
    let resnet = ResNet::new(&resnet::Config::resnet18(3), vb())?;
    let error =
        resnet.run(ResNetStage::Layer3(2), xs, &freeze_core::models::ImageContext { train: false });
    assert!(error.expect_err("two blocks").to_string().contains("layer 2, counted from 0, of 2"));
    Ok(())
}
