//! The example `finetune-lm`, small.

#[allow(dead_code, reason = "a run draws batches, the tests do not")]
#[path = "../../examples/finetune-lm/text.rs"]
mod text;

use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::{DType, Device};
use freeze_core::init::Seeded;
use freeze_core::models::llama::{Config, LlamaForCausalLM, causal_lm_loss};
use freeze_core::models::{PretrainedConfig, TextContext};
use freeze_core::{Freezable, Staged};
use text::{Text, Tokens};
use tokenizers::Tokenizer;

use crate::common::rated::fetched;
use crate::programs::example;

const TOKENIZER: &[u8] = include_bytes!("../../examples/finetune/tiny/tokenizer.json");
const CONFIG: &str = r#"{"model_type": "qwen3", "vocab_size": 130, "hidden_size": 16, "head_dim": 8,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24,
    "max_position_embeddings": 32, "initializer_range": 0.3, "tie_word_embeddings": true}"#;

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_string).collect()
}

/// Of each run its name, its steps, and its losses before and after.
fn runs(output: &Output) -> Vec<(String, String, f64, f64)> {
    let run = |line: &String| {
        let (name, rest) = line.split_once(": ")?;
        let (steps, _) = rest.split_once(" steps in ")?;
        let (_, losses) = rest.split_once("validation loss ")?;
        let (before, after) = losses.strip_suffix(" now")?.split_once(" at first, ")?;
        Some((name.into(), steps.into(), before.parse().ok()?, after.parse().ok()?))
    };
    lines(output).iter().filter_map(run).collect()
}

/// Sentences enough for both parts.
fn sentences(folder: &Path) -> String {
    let path = folder.join("text.txt");
    let all =
        (0..60).map(|i| format!("a good movie, and {} bad ones\n", i % 7)).collect::<String>();
    fs::write(&path, all).unwrap();
    format!("--data={}", path.display())
}

#[test]
fn policies_begin_with_the_same_weights_and_differ_in_what_they_train() {
    let folder = tempfile::tempdir().unwrap();
    let data = sentences(folder.path());
    let small =
        ["--size=16", "--layers=3", "--length=16", "--batch-size=2", "--steps=30", "--lr=1e-2"];
    let args = [&small[..], &[&data]].concat();
    let output = example("finetune-lm", &args);
    let found = runs(&output);
    let names: Vec<&str> = found.iter().map(|run| run.0.as_str()).collect();
    assert_eq!(names, ["all", "lisa", "badam:switch-every=20,include-rest=true", "spectrum"]);
    for (name, steps, before, after) in &found {
        assert_eq!((steps.as_str(), before), ("30", &found[0].2), "{name}");
        assert!(after < before, "{name} learns: {before} {after}");
    }
    // Name, share, steps, tokens a second, loss, bits of a byte, peak.
    let rows: Vec<Vec<String>> = lines(&output)
        .iter()
        .map(|line| line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
        .filter(|row: &Vec<String>| row.len() == 8 && row[2] == "%")
        .collect();
    assert_eq!(rows.len(), found.len());
    for (row, run) in rows.iter().zip(&found) {
        let number = |at: usize| row[at].parse::<f64>().unwrap();
        assert_eq!(row[1] == "100", run.0 == "all", "{row:?}");
        assert!((number(5) - run.3).abs() < 1e-9 && number(7) > 0.0, "{row:?}");
        // A token is a byte.
        assert!((number(6) - run.3 / std::f64::consts::LN_2).abs() < 1e-3, "{row:?}");
    }
    let again =
        example("finetune-lm", &[&args[..], &["--policy", "lisa", "--policy=all"]].concat());
    assert_eq!(runs(&again), [found[1].clone(), found[0].clone()]);
    let other = runs(&example("finetune-lm", &[&args[..], &["--policy=all", "--seed=7"]].concat()));
    assert_ne!(other[0], found[0]);
    let timed = [&args[..4], &[&data, "--policy=all", "--seconds=1"]].concat();
    let timed = runs(&example("finetune-lm", &timed));
    assert!(timed[0].1.parse::<usize>().unwrap() > 0);
}

/// A folder as published ones are, with random weights by `seed`.
fn published(folder: &Path, seed: u64) -> LlamaForCausalLM {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
    let config = Config::from_json(CONFIG).unwrap();
    let net = LlamaForCausalLM::new(&config, Seeded::builder(seed, DType::F32, &Device::Cpu));
    let net = net.unwrap();
    let mut tensors: std::collections::HashMap<_, _> =
        net.named_tensors().unwrap().into_iter().collect();
    tensors.remove("lm_head.weight").expect("a tied head is in no file");
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    net
}

#[test]
fn a_users_folder_is_what_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let data = sentences(folder.path());
    let tokens = Tokens::Of(Box::new(Tokenizer::from_bytes(TOKENIZER).unwrap()));
    let file = folder.path().join("text.txt");
    let text = Text::read(Some(&file), &tokens, 8).unwrap();
    let mut losses = Vec::new();
    for seed in [1, 2] {
        let path = folder.path().join(seed.to_string());
        let net = published(&path, seed);
        let model = format!("--model={}", path.display());
        let args = [&model, &data, "--length=8", "--batch-size=4", "--steps=2", "--policy=all"];
        let found = runs(&example("finetune-lm", &args));
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in text.check(4, 8, 128).unwrap() {
            let scores = net.forward(batch.clone(), &TextContext::new()).unwrap();
            let loss = causal_lm_loss(&scores, &batch, -100).unwrap().to_scalar::<f32>().unwrap();
            let rows = batch.dim(0).unwrap() as f64;
            (sum, count) = (sum + f64::from(loss) * rows, count + rows);
        }
        let expected = sum / count;
        assert!((found[0].2 - expected).abs() < 1e-3, "{} {expected}", found[0].2);
        losses.push(found[0].2);
    }
    assert_ne!(losses[0], losses[1], "the weights are the folder's");
}

#[test]
fn what_is_wrong_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = sentences(folder.path());
    let short = folder.path().join("short.txt");
    fs::write(&short, "one").unwrap();
    let short = format!("--data={}", short.display());
    let broken = |name: &str, change: &dyn Fn(&Path)| {
        let path = folder.path().join(name);
        published(&path, 1);
        change(&path);
        format!("--model={}", path.display())
    };
    let write = |name: &'static str, text: String| {
        move |path: &Path| fs::write(path.join(name), &text).unwrap()
    };
    let few = broken("few", &write("config.json", CONFIG.replace("130", "9")));
    let other = broken("other", &write("config.json", CONFIG.replace("24", "20")));
    let mamba = broken("mamba", &write("config.json", CONFIG.replace("qwen3", "mamba")));
    let words = broken("words", &write("tokenizer.json", "{}".into()));
    let bare = broken("bare", &|path| fs::remove_file(path.join("model.safetensors")).unwrap());
    let apart = broken("apart", &write("config.json", CONFIG.replace("true", "false")));
    let whole = broken("whole", &|_| ());
    let rows: [(&[&str], &str); 11] = [
        (&["--policy=liner"], "near names: `linear`"),
        (&["--model=/nowhere"], "/nowhere: cannot be read"),
        (&[&few, "--length=8"], "the model 9; take both files from one model"),
        (&[&other, "--length=8"], "not the weights of its config.json"),
        (&[&mamba, "--length=8"], "`model_type` is `mamba`; this model covers `llama`"),
        (&[&words, "--length=8"], "expected a `tokenizer.json`"),
        (&[&bare, "--length=8"], "no `model.safetensors`; there is `config.json`"),
        (&[&apart, "--length=8"], "lm_head.weight"),
        (&[&whole, "--length=33"], "--length 33: the model has 32 positions; take fewer"),
        (&["--size=65"], "take a multiple of 128"),
        (&[&short], "tokens for training, a row has 128; take more text"),
    ];
    for (args, expected) in rows {
        let own = [args, &[&data]].concat();
        let output = example("finetune-lm", if args[0] == short { args } else { &own });
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.lines().count()),
            (Some(1), 1),
            "{args:?}: {stderr}"
        );
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?} begins nothing");
    }
    let output = example("finetune-lm", &["--length=1", &data]);
    assert!(!output.status.success(), "nothing is to be told of one token");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 is not in 2..=1000000"));
    if !fetched().join("texts").is_dir() {
        let output = example("finetune-lm", &["--steps=1"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("`bash examples/finetune/fetch.sh` gets the texts"), "{stderr}");
        assert_eq!(output.status.code(), Some(1));
    }
}
