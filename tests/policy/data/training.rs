//! Every policy in a run of training, in turns that nobody plans: begun twice, saved before the first
//! step, resumed on another thread by a run of other weights, over a loss that is no number.

use std::path::{Path, PathBuf};

use candle_nn::ParamsAdamW;
use freeze_core::optim::AdamW;
use freeze_core::policy::{Family, all, from_text};
use freeze_core::train::OnNonFinite;
use freeze_core::{FreezePlan, Result, Training};

use crate::mlp::Mlp;

/// The bits of all weights at the end, and the plan.
type End = (Vec<Vec<u32>>, FreezePlan);

const EPOCHS: usize = 3;
const BATCHES: usize = 10;

/// Each policy, as text with what lets it act within a short run.
fn policies() -> impl Iterator<Item = String> {
    // Combinators need something to combine.
    let made = all().filter(|listed| listed.family != Family::Combinator);
    made.map(|listed| match listed.name {
        "budget" => "budget:time=1".into(),
        "auto-freeze" => "auto-freeze:windows=5,percentile=90".into(),
        "grad-es" => "grad-es:interval=4,patience=1,tau=0.02".into(),
        name => name.into(),
    })
}

fn run(policy: &str, seed: u64) -> Result<Training<Mlp>> {
    Training::new(Mlp::new(seed)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 0.01, ..Default::default() }))?
        .policy(from_text(policy)?)
        .on_non_finite(OnNonFinite::Skip)
        .probe(Mlp::stages)
        .costs_of(Mlp::loss)
        .length(EPOCHS, BATCHES)
}

/// Goes on to the end, and saves where `saves` says; the loss of one step in seven is no number.
fn finish(mut run: Training<Mlp>, saves: &[(usize, PathBuf)]) -> Result<End> {
    while let Some(epoch) = run.next_epoch()? {
        for _ in epoch.done..BATCHES {
            let here = saves.iter().find(|(step, _)| *step == run.elapsed().step);
            here.map_or(Ok(()), |(_, path)| run.save(path))?;
            let loss = run.model().loss()?;
            run.step(&match run.elapsed().step % 7 {
                3 => (loss * f64::NAN)?,
                _ => loss,
            })?;
        }
        run.epoch_end([])?;
    }
    Ok((run.freezer().whole().weights(), run.freezer().plan().clone()))
}

fn resumed(policy: &str, path: &Path) -> Result<End> {
    let mut later = run(policy, 9)?;
    later.resume_from(path)?;
    finish(later, &[])
}

#[test]
fn odd_turns_change_nothing() {
    for name in policies() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |step: usize| (step, folder.path().join(format!("{step}.safetensors")));
        // Before the first step, within windows and turns, and after a loss that is no number.
        let saves = [0, 4, 9, 13, 22].map(at);
        let whole = run(&name, 3).and_then(|mut run| {
            // Twice, before any step.
            run.next_epoch()?;
            finish(run, &saves)
        });
        let whole = whole.unwrap_or_else(|error| panic!("{name}: {error}"));
        for (step, path) in &saves {
            let elsewhere = std::thread::scope(|scope| {
                scope.spawn(|| resumed(&name, path)).join().expect("no panic")
            });
            let later = elsewhere.unwrap_or_else(|error| panic!("{name}, {step}: {error}"));
            assert!(later == whole, "{name}: another end, resumed at step {step}");
        }
        let unlike = run(&name, 4).and_then(|run| finish(run, &[]));
        let unlike = unlike.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(unlike.0 != whole.0, "{name}: other weights end alike");
    }
}
