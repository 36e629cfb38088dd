//! Fine-tunes MiniLM on rated sentences, beside two baselines, and says what class new texts have.
//!
//! `bash examples/finetune/fetch.sh && cargo run --release --example finetune`; built with the feature `mpi`, `mpirun -np 2`
//! shares it between two processes.

mod args;
mod bag;
mod batches;
mod best;
#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod folder;
mod predict;
mod score;
mod task;
mod tokens;
mod train;

use std::process::ExitCode;

use clap::Parser;

use args::Args;
use common::{Result, ranks::Ranks, table::table};
use score::Score;
use task::{Labelled, Task};

// candle allocates and frees large temporaries at every step, which glibc returns to the kernel
// each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    common::exit(match texts(&args) {
        Ok(None) => fine_tune(&args),
        Ok(Some(texts)) => {
            let folder = args.model.clone().unwrap_or_else(|| args.out());
            predict::predict(&folder, texts, args.max_length)
        }
        Err(error) => Err(error),
    })
}

/// The texts to say the class of, if that is all that is to be done.
fn texts(args: &Args) -> Result<Option<Vec<String>>> {
    if let Some(text) = &args.predict {
        return Ok(Some(vec![text.clone()]));
    }
    let Some(path) = &args.predict_file else { return Ok(None) };
    let lines =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    let texts: Vec<String> = lines.map(str::to_string).collect();
    match texts.is_empty() {
        true => Err(format!("{}: there is no text", path.display()).into()),
        false => Ok(Some(texts)),
    }
}

fn fine_tune(args: &Args) -> Result<()> {
    args.freezing()?;
    let folder = args.folder()?;
    let task = Task::new(labelled(args)?)?;
    let ranks = Ranks::start()?;
    if ranks.leads() {
        println!("{task}");
    }
    train::fine_tune(args, &folder, &task, &args.out(), &ranks)?;
    if !ranks.leads() {
        return Ok(());
    }
    let guesses = train::test(args, &folder, &task, &args.out())?;

    let truth: Vec<u32> = task.test.iter().map(|sample| sample.class).collect();
    let mut scores = table([&*format!("{} test texts", truth.len()), "accuracy", "macro F1"]);
    for (name, guesses) in [
        ("majority", bag::majority(&task)),
        ("bag of words", bag::bag_of_words(&task, args.seed)?),
        ("fine-tuned", guesses),
    ] {
        let Score { accuracy, macro_f1 } = Score::of(&truth, &guesses, task.classes.len());
        scores.add_row([name.to_string(), accuracy.to_string(), macro_f1.to_string()]);
    }
    println!("{scores}\nwith 95 % intervals: Wilson's, and a bootstrap's");
    Ok(())
}

/// The texts with their classes.
fn labelled(args: &Args) -> Result<Vec<Labelled>> {
    match &args.data {
        Some(path) => task::of_lines(path),
        None if args.tiny => {
            task::parse("the built-in sentences", include_str!("tiny/sentences.tsv"))
        }
        None => {
            let mut all = Vec::new();
            for &set in &args.sets {
                let rated = set.read(&args.downloads)?;
                all.extend(task::of_ratings(set, rated, args.threshold, args.between()));
            }
            Ok(all)
        }
    }
}
