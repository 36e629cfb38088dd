//! The example `finetune` as a program, with its tiny model.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::Tensor;
use freeze_core::checkpoint::load_weights;

use crate::programs::{example, lines};

/// A run of the tiny model that saves to `out`.
pub(crate) fn tiny(out: &Path, args: &[&str]) -> Output {
    let out = format!("--out={}", out.display());
    example("finetune", &[&["--tiny", "--lr=3e-3", &out], args].concat())
}

fn epochs(output: &Output) -> Vec<String> {
    lines(output, "epoch ")
}

/// The saved tensors as bits, by name.
fn weights(path: &Path) -> HashMap<String, Vec<u32>> {
    let bits = |tensor: Tensor| -> Vec<u32> {
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers.into_iter().map(f32::to_bits).collect()
    };
    load_weights(path).unwrap().into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

pub(crate) fn saved(folder: &Path) -> HashMap<String, Vec<u32>> {
    weights(&folder.join("model.safetensors"))
}

#[test]
fn finetune_learns_saves_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/out");
    let output = tiny(&out, &["--epochs=15", "--patience=15", "--batch-size=8"]);
    let accuracy = |row: &str| -> f64 {
        let rows = lines(&output, row);
        let share = rows[0].split_whitespace().nth(1).unwrap();
        share.parse().unwrap_or_else(|_| panic!("{rows:?}: {share}"))
    };
    assert!(accuracy("fine-tuned ") >= 90.0, "{}", accuracy("fine-tuned "));
    assert!(accuracy("majority ") <= 60.0);
    assert_eq!(lines(&output, "texts: 32 negative, 32 positive; ").len(), 1);

    let names = saved(&out);
    assert!(names.contains_key("bert.encoder.layer.2.attention.self.query.weight"));
    assert_eq!(names.len(), 5 + 3 * 16 + 2, "{:?}", names.keys());
    let model = format!("--model={}", out.display());
    let one = example("finetune", &[&model, "--predict=that phone was awful"]);
    assert!(lines(&one, "that phone was awful")[0].starts_with("negative  "));
    let file = folder.path().join("texts");
    fs::write(&file, "that camera is a joy\n\nthe cast broke").unwrap();
    let file = format!("--predict-file={}", file.display());
    let classes = |output: &Output| -> Vec<String> {
        let rows = lines(output, " %  ");
        rows.iter().map(|row| row.split_whitespace().next().unwrap().to_string()).collect()
    };
    assert_eq!(classes(&example("finetune", &[&model, &file])), ["positive", "negative"]);

    // What was saved is a model to begin with, and has everything.
    let lines_of = folder.path().join("lines.tsv");
    let texts: String =
        (0..90).map(|at| format!("{}\ttext number {at}\n", ["a", "b", "c"][at % 3])).collect();
    fs::write(&lines_of, texts).unwrap();
    let data = format!("--data={}", lines_of.display());
    let onto = format!("--out={}", folder.path().join("three").display());
    let three = example("finetune", &[&model, &data, &onto, "--epochs=1"]);
    assert_eq!(three.status.code(), Some(1), "a head of two classes for three");
    assert!(String::from_utf8_lossy(&three.stderr).contains("classifier.weight"));
    let two = fs::read_to_string(&lines_of).unwrap().replace("c\t", "a\t");
    fs::write(&lines_of, two).unwrap();
    let again = example("finetune", &[&model, &data, &onto, "--epochs=1"]);
    assert_eq!(lines(&again, "55 tensors; new: nothing").len(), 1);
    assert_eq!(lines(&again, "texts: 60 a, 30 b; ").len(), 1);
}

/// What changes nothing but time and memory, and what changes the result.
#[test]
fn finetune_does_what_its_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, args: &[&str]| {
        let out = folder.path().join(name);
        let output =
            tiny(&out, &[&["--epochs=3", "--batch-size=8", "--patience=3"], args].concat());
        (epochs(&output), saved(&out))
    };
    let plain = run("plain", &[]);
    assert_eq!(plain.0.len(), 3);
    assert!(plain.0.iter().all(|line| line.contains(": 0 of 29 leaves frozen, loss ")));
    assert!(run("again", &[]) == plain, "the seed decides");
    assert!(run("recompute", &["--recompute"]) == plain);
    assert!(run("recompute", &["--recompute=2"]) == plain);
    let frozen = run("frozen", &["--frozen=2"]);
    assert!(frozen.0.iter().all(|line| line.contains(": 20 of 29 leaves frozen, loss ")));
    assert!(run("cache", &["--frozen=2", "--cache"]) == frozen);
    assert!(run("both", &["--frozen=2", "--cache=1", "--recompute"]) == frozen);

    for (at, args) in [
        &["--seed=7"][..],
        &["--accumulate=2"],
        &["--batch-size=16"],
        &["--lr=1e-3"],
        &["--warmup=0.5"],
        &["--weight-decay=0.5"],
        &["--clip=0.01"],
        &["--dropout=0"],
        &["--label-smoothing=0.2"],
        &["--pooling=cls"],
        &["--max-length=5"],
        &["--policy=linear:start=0"],
        &["--budget=0.9"],
    ]
    .into_iter()
    .enumerate()
    {
        let other = run(&at.to_string(), args);
        assert_eq!(other.0.len(), 3, "{args:?}");
        assert!(other != plain, "{args:?} changes nothing");
    }
}

#[test]
fn finetune_leaves_what_is_frozen_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, seconds: &[&str]| {
        let out = folder.path().join(name);
        assert!(tiny(&out, seconds).status.success());
        saved(&out)
    };
    let short = run("short", &["--frozen=1", "--epochs=1"]);
    let long = run("long", &["--frozen=1", "--epochs=8"]);
    for (name, bits) in &short {
        let front = ["bert.embeddings.", "bert.encoder.layer.0."];
        let frozen = front.iter().any(|part| name.starts_with(part));
        assert_eq!(bits == &long[name], frozen, "{name}");
    }
}

#[test]
fn finetune_goes_on_where_it_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let keep = format!("--checkpoint-dir={}", kept.display());
    let args =
        ["--epochs=3", "--batch-size=8", "--checkpoint-steps=3", &keep, "--policy=linear:start=0"];
    let out = folder.path().join("out");
    let whole = tiny(&out, &args);
    assert_eq!(epochs(&whole).len(), 3);
    let files = || {
        let all = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path());
        let checkpoint =
            |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "safetensors");
        let mut files: Vec<_> = all.filter(checkpoint).collect();
        files.sort();
        files
    };
    let last = files().pop().unwrap();
    let (expected, best) = (weights(&last), saved(&out));
    assert_eq!(files().len(), 2, "{:?}", files());

    // As if it had been cut off within the last epoch.
    fs::remove_file(&last).unwrap();
    let again = tiny(&out, &args);
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("go on from it with --resume"),
        "{again:?}"
    );
    let resumed = tiny(&out, &[&args[..], &["--resume"]].concat());
    assert_eq!(epochs(&resumed), epochs(&whole)[2..]);
    assert_eq!(files().pop().unwrap(), last);
    assert!(weights(&last) == expected && saved(&out) == best, "other weights");
}

#[test]
fn finetune_says_what_to_do_about_wrong_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let downloads = folder.path().join("downloads");
    let model = downloads.join("minilm");
    assert!(tiny(&model, &["--epochs=1"]).status.success());
    let of = format!("--downloads={}", downloads.display());
    let fault = |args: &[&str]| {
        let output = example("finetune", &[args, &[&of, "--epochs=1"]].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.lines().count()),
            (Some(1), 1),
            "{args:?}: {stderr}"
        );
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
        stderr
    };
    let path = |name: &str| format!("{name}={}", model.join("config.json").display());
    let rows = [
        (vec![], "movieReviewSnippets_GroundTruth.txt: "),
        (vec![], "`bash examples/finetune/fetch.sh` gets the texts and MiniLM"),
        (vec!["--model=/nowhere".to_string()], "/nowhere/model.safetensors: "),
        (vec![path("--data")], "line 1 is not a label, a tab and a text"),
        (vec!["--data=/nowhere".to_string()], "/nowhere: "),
        (
            vec!["--predict=a".to_string(), "--model=/nowhere".to_string()],
            "/nowhere: no fine-tuned model; ",
        ),
        (vec!["--predict=a".to_string()], "sentiment: no fine-tuned model; "),
        (vec!["--predict-file=/nowhere".to_string()], "/nowhere: "),
        (vec!["--policy=liner".to_string()], "near names: `linear`"),
        (vec!["--budget=0".to_string()], "`time`"),
        (vec!["--tiny".to_string(), "--lr=-1".to_string()], "-1"),
        (vec!["--tiny".to_string(), "--warmup=2".to_string()], "2"),
        (vec!["--tiny".to_string(), "--clip=0".to_string()], "0"),
        (vec!["--tiny".to_string(), "--dropout=1.5".to_string()], "1.5"),
        (vec!["--tiny".to_string(), "--label-smoothing=-1".to_string()], "`label_smoothing`"),
        (vec!["--tiny".to_string(), "--frozen=3".to_string()], "--frozen 3: "),
        (vec!["--tiny".to_string(), "--max-length=2".to_string()], "cut off after 2 tokens; "),
    ];
    for (args, expected) in rows {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let found = fault(&args);
        assert!(found.contains(expected), "{args:?}: {found}");
    }

    // With texts it runs; then one file after the other is lost.
    let texts = downloads.join("texts");
    fs::create_dir(&texts).unwrap();
    let rated: String = (0..300)
        .map(|at| format!("{at}\t{}\tsentence {at} is {at}\r\n", [-3.0, -0.2, 0.4, 2.0][at % 4]))
        .collect();
    fs::write(texts.join("movieReviewSnippets_GroundTruth.txt"), &rated).unwrap();
    fs::write(texts.join("tweets_GroundTruth.txt"), rated.replace("sentence", "tweet")).unwrap();
    let sets = ["--sets=movies,tweets", "--neutral", "--epochs=1", &of];
    let fresh = format!("--model={}", model.display());
    let three = example("finetune", &[&sets[..], &[&fresh]].concat());
    assert!(
        String::from_utf8_lossy(&three.stderr).contains("classifier.weight"),
        "two classes there"
    );
    let two = example("finetune", &["--threshold=0.3", &of, "--epochs=1"]);
    assert_eq!(lines(&two, "texts: 75 negative, 150 positive; ").len(), 1);
    assert!(downloads.join("sentiment/model.safetensors").is_file());
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let (there, away) = (model.join(name), folder.path().join(name));
        fs::rename(&there, &away).unwrap();
        let found = fault(&[]);
        let said = found.contains(name) && found.contains("`bash examples/finetune/fetch.sh`");
        assert!(said, "{name}: {found}");
        fs::rename(&away, &there).unwrap();
    }
}
