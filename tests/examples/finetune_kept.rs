//! The example `finetune`: which weights are scored and predict, and what a run goes on with.

use candle_core::{Device, safetensors};

use crate::finetune::tiny;
use crate::programs::example;

#[test]
fn finetune_predicts_with_no_random_head() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    assert!(tiny(&out, &["--epochs=1"]).status.success());
    let file = out.join("model.safetensors");
    let mut tensors = safetensors::load(&file, &Device::Cpu).unwrap();
    assert!(tensors.remove("classifier.weight").is_some());
    safetensors::save(&tensors, &file).unwrap();
    let model = format!("--model={}", out.display());
    let output = example("finetune", &[&model, "--predict=a good film"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("out: its weights lack `classifier.weight`; train first"), "{said}");
    assert!(output.stdout.is_empty());
}
