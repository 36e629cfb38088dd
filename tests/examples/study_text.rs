//! The example `study` on sentences, with a model of three small layers.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::programs::example;

const ROWS: &str = r#"
[[task]]
name = "sweep"
model = "minilm"
train = 40
valid = 20
test = 20
epochs = 2
rate = 1e-3
seeds = [1, 2]
row = [
    {},
    { name = "front", policy = 'freeze-at:milestones=[{"at":{"share":0.0},"freeze":{"up-to":"bert.encoder.layer.1.**"}}]' },
    { name = "front", cache = "kept", policy = 'freeze-at:milestones=[{"at":{"share":0.0},"freeze":{"up-to":"bert.encoder.layer.1.**"}}]' },
]
"#;

/// A folder such as `fetch.sh` fills, whose sentences stand as in the published file: all positive ones first.
fn texts(folder: &Path) {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/finetune/tiny");
    let [texts, model] = ["texts", "minilm"].map(|name| folder.join(name));
    for folder in [&texts, &model] {
        fs::create_dir(folder).unwrap();
    }
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(tiny.join(file), model.join(file)).unwrap();
    }
    // The rest is random.
    let norm = Tensor::ones(32, DType::F32, &Device::Cpu).unwrap();
    let norm = HashMap::from([("bert.embeddings.LayerNorm.weight", norm)]);
    candle_core::safetensors::save(&norm, model.join("model.safetensors")).unwrap();
    let rating = |at: usize| if at < 150 { 2 } else { -2 };
    let line = |at: usize| format!("{at}\t{}\tit was said {at} times\n", rating(at));
    let lines: String = (0..300).map(line).collect();
    fs::write(texts.join("movieReviewSnippets_GroundTruth.txt"), lines).unwrap();
}

#[test]
fn sentences_of_both_classes_are_taken_and_a_kept_cache_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    texts(folder.path());
    let path = |name: &str| folder.path().join(name);
    let run = |rows: &str| {
        fs::write(path("rows.toml"), rows).unwrap();
        let [rows, results] =
            ["rows.toml", "results.csv"].map(|name| path(name).display().to_string());
        let results = format!("--results={results}");
        let texts = format!("--texts={}", folder.path().display());
        example("study", &["run", &rows, &results, &texts])
    };
    let output = run(ROWS);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut reader = csv::Reader::from_path(path("results.csv")).unwrap();
    let lines: Vec<HashMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 6);
    for line in &lines {
        // There is nothing to learn but which class is frequent.
        let accuracy: f64 = line["valid_accuracy"].parse().unwrap();
        assert!((0.2..=0.8).contains(&accuracy), "sentences of one class: {line:?}");
    }
    let of = |cache: &str| -> Vec<[&String; 3]> {
        let lines = lines.iter().filter(|line| line["name"] == "front" && line["cache"] == cache);
        lines
            .map(|line| ["seed", "valid_accuracy", "test_accuracy"].map(|name| &line[name]))
            .collect()
    };
    assert_eq!((of("kept"), of("kept").len()), (of("off"), 2));

    // What is kept goes before the first run of a sweep, and not before others.
    let mut sweeps = fs::read_dir(path("results.kept/sweep")).unwrap();
    let mark = sweeps.next().unwrap().unwrap().path().join("mark");
    fs::write(&mark, "").unwrap();
    assert!(run(&ROWS.replace("[1, 2]", "[1, 2, 3]")).status.success());
    assert!(mark.exists(), "a further seed");
    let csv = fs::read_to_string(path("results.csv")).unwrap();
    let others = csv.lines().filter(|line| !line.contains(",kept,"));
    fs::write(path("results.csv"), others.map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
    assert!(run(ROWS).status.success());
    assert!(!mark.exists(), "what no line of the CSV has filled");

    let output = run(&ROWS.replace("train = 40", "train = 4000"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("4000 sentences for training of ") && said.contains("; take fewer"),
        "{said}"
    );
}
