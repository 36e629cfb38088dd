//! The example `finetune`: which weights are scored and predict, and what a run goes on with.

use std::fs;

use candle_core::{Device, safetensors};

use crate::finetune::{saved, tiny};
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

#[test]
fn finetune_goes_on_with_its_own_best_weights() {
    let folder = tempfile::tempdir().unwrap();
    let [out, kept] = ["out", "kept"].map(|name| folder.path().join(name));
    let keep = format!("--checkpoint-dir={}", kept.display());
    assert!(tiny(&out, &["--epochs=1", &keep]).status.success());
    let best = saved(&out);
    assert!(tiny(&out, &["--epochs=1", "--seed=7"]).status.success());
    assert!(saved(&out) != best, "another run saves to the same folder");
    let args = ["--epochs=1", &keep, "--resume"];
    let resumed = tiny(&out, &args);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(saved(&out) == best);

    fs::remove_dir_all(kept.join("best")).unwrap();
    let lost = tiny(&out, &args);
    let said = String::from_utf8_lossy(&lost.stderr);
    assert_eq!(lost.status.code(), Some(1), "{said}");
    assert!(said.contains("put the best weights so far back"), "{said}");
}

/// Killed behind the checkpoint of the step with which its policy ended it, before anything was evaluated.
#[test]
fn finetune_evaluates_what_its_policy_ended() {
    let folder = tempfile::tempdir().unwrap();
    let [out, kept] = ["out", "kept"].map(|name| folder.path().join(name));
    let keep = format!("--checkpoint-dir={}", kept.display());
    let policy = "--policy=grad-es:tau=1000,alpha=0,patience=1,max-frozen=0.1";
    let args = ["--epochs=2", "--batch-size=4", &keep, policy];
    let ended = tiny(&out, &args);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let best = saved(&out);
    fs::remove_dir_all(kept.join("best")).unwrap();
    fs::remove_file(out.join("model.safetensors")).unwrap();
    let resumed = tiny(&out, &[&args[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(saved(&out) == best);
    assert!(fs::read_dir(&out).unwrap().all(|file| !file.unwrap().path().ends_with(".new")));
}

/// Other texts would have other best weights, and other classes mean other numbers.
#[test]
fn finetune_goes_on_with_the_same_texts_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [out, kept] = ["out", "kept"].map(|name| folder.path().join(name));
    let keep = format!("--checkpoint-dir={}", kept.display());
    assert!(tiny(&out, &["--epochs=1", &keep]).status.success());
    let best = saved(&out);
    for (args, said) in [
        (&["--max-length=9"][..], "tokens of a text was 128 and is 9"),
        (&["--batch-size=5"], "batch size was 32 and is 5"),
        (&["--pooling=cls"], "pooling was"),
    ] {
        let refused = tiny(&out, &[args, &["--epochs=2", &keep, "--resume"]].concat());
        let found = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{found}");
        assert!(found.contains(said), "{found}");
        assert!(saved(&out) == best);
    }
    assert!(tiny(&out, &["--epochs=2", &keep, "--resume"]).status.success());
}

/// Texts are cut where they were in training, also where nobody says so again.
#[test]
fn finetune_predicts_on_as_many_tokens_as_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    assert!(tiny(&out, &["--epochs=1", "--max-length=5"]).status.success());
    let model = format!("--model={}", out.display());
    let long = format!("--predict=a good film{}", " and a bad one".repeat(9));
    let said = |args: &[&str]| {
        let output = example("finetune", &[&[&*model, &*long], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    assert_eq!(said(&[]), said(&["--max-length=5"]));
    assert_ne!(said(&[]), said(&["--max-length=40"]));

    let empty = folder.path().join("empty");
    fs::write(&empty, "\n \n").unwrap();
    let file = format!("--predict-file={}", empty.display());
    let refused = example("finetune", &[&model, &file]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no text"));
}

#[test]
fn finetune_goes_on_with_a_frozen_front_or_says_that_it_trains() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |kept: &str, args: &[&str]| {
        let keep = format!("--checkpoint-dir={}", folder.path().join(kept).display());
        tiny(&out, &[args, &[&keep]].concat())
    };
    assert!(run("trained", &["--epochs=1"]).status.success());
    let before = saved(&out);
    let refused = run("trained", &["--epochs=2", "--resume", "--frozen=1"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("--frozen 1: the run to go on with trains these layers"), "{said}");
    assert!(saved(&out) == before);

    assert!(run("frozen", &["--epochs=1", "--frozen=1"]).status.success());
    let on = run("frozen", &["--epochs=2", "--resume", "--frozen=1"]);
    assert!(on.status.success(), "{}", String::from_utf8_lossy(&on.stderr));
}
