//! What does not fit is named, all of it, and nothing changes.

use std::path::Path;

use freeze_core::checkpoint::{Checkpoint, save_weights};
use freeze_core::{Elapsed, Error, Freezer, Result};

use crate::craft::Parts;
use crate::rig::{Kind, Net, PER_EPOCH, Run, When};

/// A saved run in which leaves froze, and another run that has trained too.
fn saved(path: &Path) -> Result<Run> {
    let mut run = Run::new(Kind::AdamW, When::OneMoreByEpoch, 1)?;
    run.train(PER_EPOCH * 2 + 1, |_| Ok(()))?;
    run.save(path)?;
    let mut other = Run::new(Kind::AdamW, When::OneMoreByEpoch, 2)?;
    other.train(PER_EPOCH + 2, |_| Ok(()))?;
    Ok(other)
}

/// Tries to resume from a changed file; the error's text, once training went on as if nobody had
/// tried.
fn refused(change: impl FnOnce(&mut Parts)) -> Result<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let [path, now] = ["run", "now"].map(|name| dir.path().join(name));
    let mut run = saved(&path)?;
    run.save(&now)?;
    let mut parts = Parts::of(&std::fs::read(&path).expect("the file"));
    change(&mut parts);
    std::fs::write(&path, parts.to_bytes()).expect("a changed file");
    let error = run.resume(&path).expect_err("a file that does not fit");
    run.train(PER_EPOCH * 3, |_| Ok(()))?;
    let mut other = Run::new(Kind::AdamW, When::OneMoreByEpoch, 3)?;
    other.resume(&now)?;
    other.train(PER_EPOCH * 3, |_| Ok(()))?;
    assert_eq!(run.trace()?, other.trace()?, "{error}");
    Ok(error.to_string())
}

/// As [`refused`], of a change to the state, sealed again.
fn refused_state(change: impl FnOnce(&mut serde_json::Value)) -> Result<String> {
    refused(|parts| {
        let mut state = parts.state();
        change(&mut state);
        parts.seal(&state);
    })
}

pub fn text<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

pub fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_file_that_nobody_changed_fits() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    let mut run = saved(&path)?;
    let bytes = std::fs::read(&path).expect("the file");
    let mut parts = Parts::of(&bytes);
    let state = parts.state();
    parts.seal(&state);
    std::fs::write(&path, parts.to_bytes()).expect("a file");
    run.resume(&path)?;
    Ok(())
}

#[test]
fn every_difference_of_the_layout_is_listed() -> Result<()> {
    let error = refused_state(|state| {
        let tensors = state["layout"]["tensors"].as_object_mut().expect("tensors");
        let stem = tensors.remove("stem.weight").expect("a weight");
        tensors.insert("steam.weight".into(), stem);
        tensors["head.bias"] = serde_json::json!([[4], "f64"]);
        state["layout"]["ties"]["body.1.bias"] = "body.0.bias".into();
        state["dropouts"]["states"]["other"] = state["dropouts"]["states"]["dropout"].take();
        drop(state["dropouts"]["states"].as_object_mut().map(|states| states.remove("dropout")));
        state["optimizers"] = serde_json::json!([]);
        state["policy"]["describe"] = "linear(start=0, level=1)".into();
        state["metrics"] = serde_json::Value::Null;
    })?;
    assert_says(
        &error,
        &[
            "the file lacks `stem.weight`",
            "the model lacks `steam.weight`",
            "`head.bias` is [4] of f64 in the file and [3] of f32 in the model",
            "`body.1.bias` is tied to `body.0.bias` in the file and stands alone in the model",
            "it has 0 optimizers, 1 were handed over",
            "the file lacks the dropouts `dropout`",
            "the model lacks the dropouts `other`",
            "its policy is linear(start=0, level=1), not one_more",
            "it has no history of metrics",
            "nothing was changed",
        ],
    );
    Ok(())
}

#[test]
fn what_each_part_refuses_leaves_all_parts_alone() -> Result<()> {
    type Change = fn(&mut serde_json::Value);
    let rows: &[(Change, &str)] = &[
        (|s| s["optimizers"][0]["kind"] = "Adam".into(), "it was saved by Adam"),
        (|s| s["optimizers"][0]["learning_rate"] = (-1.0).into(), "is -1"),
        (
            |s| drop(s["optimizers"][0]["steps"].as_object_mut().map(|m| m.remove("head.bias"))),
            "`step/head.bias` is missing",
        ),
        (|s| s["policy"]["state"] = "x".into(), "expected a number"),
        (|s| s["dropouts"]["states"]["dropout"] = 1.into(), "its state cannot be read"),
        (|s| s["metrics"] = serde_json::json!([]), "its history of metrics is not one"),
        (|s| s["plan"]["leaves"][0][0] = "trunk".into(), "leaf 0 is `trunk` in the plan"),
        (
            |s| drop(s["base_plan"]["leaves"].as_array_mut().map(Vec::pop)),
            "it has 4 leaves, the model 5",
        ),
        (
            |s| s["plan"]["leaves"][1][1] = serde_json::json!({"trained": {"lr_scale": -1.0}}),
            "is damaged",
        ),
        (|s| s["checksums"]["model/head.bias"] = "00".into(), "`model/head.bias` have changed"),
        (
            |s| drop(s["checksums"].as_object_mut().map(|m| m.remove("model/head.bias"))),
            "no checksum of `model/head.bias`",
        ),
        (|s| s["samples"] = "many".into(), "its state cannot be read"),
        (|s| s["in_base"] = serde_json::json!({}), "use `resume_delta`"),
    ];
    for (change, says) in rows {
        assert_says(&refused_state(change)?, &[says]);
    }
    Ok(())
}

#[test]
fn tensors_that_are_missing_or_too_many_are_named() -> Result<()> {
    let rename = |parts: &mut Parts, from: &str, to: &str| {
        let info = parts.header.remove(from).expect("a tensor");
        parts.header.insert(to.into(), info);
        let mut state = parts.state();
        let checksum = state["checksums"][from].clone();
        state["checksums"][to] = checksum;
        parts.seal(&state);
    };
    let moment = "optimizer.0/first_moment/head.bias";
    for (from, to, says) in [
        ("model/head.bias", "stranger", "it lacks the tensor `model/head.bias`"),
        ("random/shuffle", "random/other", "it has no generator `shuffle`"),
        ("random/shuffle", "random/other", "it has a generator `other`, which was not handed over"),
        ("history/value", "stranger", "it lacks the tensor `history/value`"),
        (moment, "stranger", "nothing here takes `stranger`"),
        (moment, "optimizer.1/first_moment/head.bias", "nothing here takes `optimizer.1/first"),
        (moment, "optimizer.0/third_moment/head.bias", "`third_moment/head.bias` is unknown"),
    ] {
        assert_says(&refused(|parts| rename(parts, from, to))?, &[says]);
    }
    Ok(())
}

#[test]
fn another_format_says_so() -> Result<()> {
    let error = refused(|parts| parts.set("freeze.format", "3".into()))?;
    assert_says(&error, &["has format 3, this version reads up to 2; update `freeze-core`"]);
    let error = refused(|parts| parts.set("freeze.format", "1".into()))?;
    assert_says(&error, &["has format 1, this version reads 2 alone; resume it with the version"]);
    let error = refused(|parts| parts.set("freeze.format", "0".into()))?;
    assert_says(&error, &["its format is `0`"]);
    Ok(())
}

#[test]
fn weights_alone_are_no_run() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("weights.safetensors");
    let mut run = Run::new(Kind::Adam, When::LinearByEpoch, 1)?;
    save_weights(&path, run.net.whole())?;
    let error = run.resume(&path).expect_err("no run").to_string();
    assert_says(&error, &["it holds weights alone, no run; load it with `load_weights`"]);
    Ok(())
}

/// The plan comes back as well, whatever the model was under.
#[test]
fn a_frozen_model_resumes_from_a_file_of_a_thawed_one_and_back() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    let mut run = Run::new(Kind::Momentum, When::OneMoreByEpoch, 1)?;
    run.train(PER_EPOCH - 1, |_| Ok(()))?;
    run.save(&path)?;
    let thawed = run.trace()?;
    run.train(PER_EPOCH * 3, |_| Ok(()))?;
    assert_eq!(run.net.plan().frozen_leaves(), 3);
    run.resume(&path)?;
    assert_eq!(run.trace()?, thawed);
    Ok(())
}

/// An error that is not about the file still names it.
#[test]
fn another_width_is_another_layout() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    Run::of_width(4, Kind::Adam, When::LinearByEpoch, 1)?.save(&path)?;
    let mut run = Run::new(Kind::Adam, When::LinearByEpoch, 1)?;
    let error = run.resume(&path).expect_err("another layout");
    assert!(matches!(&error, Error::Misfit { path: at, .. } if *at == path.display().to_string()));
    assert_says(
        &error.to_string(),
        &["`head.weight` is [3, 4]", "`norm.running_mean` is [4]", "and 3 more"],
    );
    let mut net = Freezer::new(Net::new(8, 1)?)?;
    let run = Checkpoint::of(&mut net).progress(Elapsed::new(0, 1));
    assert_says(&run.resume(&path).expect_err("no parts").to_string(), &["it has 1 optimizers"]);
    Ok(())
}
