use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::{ParamsAdamW, VarBuilder};
use candle_transformers::models::bert as theirs;
use freeze_core::checkpoint::save_weights;
use freeze_core::init::Seeded;
use freeze_core::models::bert::{
    BertForSequenceClassification, BertForSequenceClassificationStage as Stage, Config,
};
use freeze_core::models::{Pooling, PretrainedConfig, TextContext};
use freeze_core::nn::cross_entropy;
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, Staged, Training};

use super::assert_equal;
use super::bert::{CONFIG, settings};

/// What was fine-tuned and saved here is their model, with the same vectors.
#[test]
fn a_fine_tuned_bert_is_theirs() {
    let config = Config::from_json(CONFIG).expect("settings");
    let vb = Seeded::builder(3, DType::F32, &Cpu);
    let net = BertForSequenceClassification::new(&config, 2, Pooling::Mean, vb).expect("a model");
    let params = ParamsAdamW { lr: 1e-2, ..Default::default() };
    let mut run = Training::new(net)
        .and_then(|run| run.optimizer(|vars| AdamW::with_names(vars, params)))
        .and_then(|run| run.length(1, 4))
        .expect("a run");
    let tokens = Tensor::new(&[[1u32, 7, 3, 9], [4, 2, 0, 0]], &Cpu).expect("tokens");
    let mask = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 0, 0]], &Cpu).expect("a mask");
    let context = |train| TextContext::padded(&mask).expect("a context").train(train);
    let labels = Tensor::new(&[0u32, 1], &Cpu).expect("labels");
    let vectors = |run: &Training<_>| {
        let net: &BertForSequenceClassification = run.model();
        net.forward_to(Stage::Classifier, tokens.clone(), &context(false))
            .expect("vectors")
            .detach()
    };

    let before = vectors(&run);
    run.next_epoch().expect("an epoch");
    for _ in 0..4 {
        let scores = run.model().forward(tokens.clone(), &context(true)).expect("scores");
        run.step(&cross_entropy(&scores, &labels, None).expect("a loss")).expect("a step");
    }
    let after = vectors(&run);
    let moved = (&after - &before).and_then(|by| by.abs()?.max_all()?.to_scalar::<f32>());
    assert!(moved.expect("a number") > 1e-2, "nothing was learned");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    save_weights(&file, &run).expect("saved");
    let vb = VarBuilder::from_buffered_safetensors(
        std::fs::read(&file).expect("bytes"),
        DType::F32,
        &Cpu,
    );
    let bert =
        theirs::BertModel::load(vb.expect("tensors").pp("bert"), &settings()).expect("their model");
    let types = tokens.zeros_like().expect("types");
    let theirs = bert.forward(&tokens, &types, Some(&mask)).expect("their vectors");
    assert_equal(&after, &theirs);
    assert_eq!(run.freezer().whole().named_tensors().expect("tensors").len(), 5 + 2 * 16 + 2);
}
