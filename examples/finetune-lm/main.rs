//! Trains a language model under several policies, each for the same time from the same weights, and compares
//! validation loss and peak memory.
//!
//! `bash examples/finetune/fetch.sh && cargo run --release --example finetune-lm`

mod args;
#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod model;
mod run;
mod text;

use std::process::{Command, ExitCode, Stdio};

use cap::Cap;
use clap::Parser;
use mimalloc::MiMalloc;

use args::{ALL, Args};
use common::{Result, policy::policy, table::table};
use run::Outcome;
use text::Text;

/// Counts what is allocated. candle allocates and frees large temporaries at every step, which glibc returns to the
/// kernel each time.
#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

fn main() -> ExitCode {
    let args = Args::parse();
    common::exit(match &args.only {
        Some(name) => only(&args, name),
        None => compare(&args),
    })
}

/// One run, whose outcome is a line of JSON.
fn only(args: &Args, name: &str) -> Result<()> {
    let (config, tokens) = model::settings(args)?;
    println!("{}", serde_json::to_string(&run::run(args, name, &config, &tokens)?)?);
    Ok(())
}

/// A process for each policy, one after the other.
fn compare(args: &Args) -> Result<()> {
    let policies = args.policies();
    for name in policies.iter().filter(|name| *name != ALL) {
        policy(name)?;
    }
    let (config, tokens) = model::settings(args)?;
    // Weights that do not fit are named before anything begins.
    model::net(args, &config)?;
    let text = Text::read(args.data.as_deref(), &tokens, args.length)?;
    let [train, valid] = text.counts();
    println!(
        "{} layers of {}, {train} tokens for training, {valid} for validation",
        config.num_hidden_layers, config.hidden_size
    );

    let per_step = args.batch_size * args.length;
    let mut rows = table(["", "trained", "steps", "tokens/s", "loss", "bits per byte", "peak MB"]);
    let mut failed = Vec::new();
    for name in &policies {
        let found = match in_process(name) {
            Ok(found) => found,
            Err(error) => {
                failed.push(error.to_string());
                continue;
            }
        };
        let rate = (found.steps * per_step) as f64 / found.seconds;
        let (before, after) = (found.before.unwrap_or(f64::NAN), found.after.unwrap_or(f64::NAN));
        let bits = after / std::f64::consts::LN_2 / text.bytes_per_token;
        println!(
            "{name}: {} steps in {:.1} s, validation loss {:.4} at first, {:.4} now",
            found.steps, found.seconds, before, after
        );
        if name != ALL && !found.changed {
            println!(
                "{name}: it changed nothing; one of time needs --steps, and `acts.steps` in its settings"
            );
        }
        rows.add_row([
            name.clone(),
            format!("{:.0} %", 100.0 * found.trained),
            found.steps.to_string(),
            format!("{rate:.0}"),
            format!("{after:.4}"),
            format!("{bits:.3}"),
            format!("{:.1}", found.peak as f64 / 1e6),
        ]);
    }
    println!(
        "{rows}\ntrained: parameters in a step, on average; peak: all that was allocated at a time"
    );
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ").into()),
    }
}

/// This program again, for one policy.
fn in_process(name: &str) -> Result<Outcome> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut given = std::env::args_os().skip(1);
    while let Some(arg) = given.next() {
        match arg.to_str() {
            Some("--policy") => drop(given.next()),
            Some(text) if text.starts_with("--policy=") => {}
            _ => drop(command.arg(arg)),
        }
    }
    let output = command.arg(format!("--only={name}")).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the run `{name}` ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
