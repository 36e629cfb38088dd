//! The training run.

use std::path::Path;

use candle_nn::ParamsAdamW;
use freeze_core::checkpoint::Goal;
use freeze_core::nn::CrossEntropy;
use freeze_core::optim::{AdamW, GradClip, ParamGroups, lr};
use freeze_core::policy::Output;
use freeze_core::{
    ActivationCache, BatchNormPolicy, EarlyStop, Freezable, Recompute, Staged, Training,
};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use twox_hash::xxhash3_128::Hasher;

use crate::args::Args;
use crate::batches::{self, Batch};
use crate::best::Best;
use crate::common::beside;
use crate::common::ranks::Ranks;
use crate::common::{Result, progress};
use crate::folder::{Folder, Net};
use crate::predict::{most_probable, probabilities};
use crate::task::{Sample, Task};

/// The metric that decides which weights are kept, and when training stops.
const ACCURACY: &str = "valid/accuracy";

/// Fine-tunes the model of `folder`, shared by `ranks`, and saves the weights of the best epoch to `out`.
///
/// # Errors
///
/// Settings, weights or checkpoints are wrong, or a file cannot be written.
pub(crate) fn fine_tune(
    args: &Args,
    folder: &Folder,
    task: &Task,
    out: &Path,
    ranks: &Ranks,
) -> Result<()> {
    let tokens = folder.tokens()?;
    let train = tokens.encode(&task.train)?;
    let valid = tokens.encode(&task.valid)?;
    let (net, said) = folder.net(task.classes.len(), args.pooling.into(), args.seed)?;
    let padded: usize = train.tokens.iter().map(|text| batches::width(text.len())).sum();
    let share = 100.0 * (padded - train.count()) as f64 / padded as f64;
    if ranks.leads() {
        println!("weights: {said}");
        println!("tokens: {} for training, {share:.1} % padding beside\n", train.count());
    }

    let per_epoch = batches::in_order(&train, args.batch_size).len();
    let bar = progress::bar_of_leader(ranks.leads(), "fine-tuning", args.epochs * per_epoch)?;
    let loss = CrossEntropy::new().label_smoothing(args.label_smoothing)?;
    let typical = Batch::new(&train, &batches::typical(&train, args.batch_size), true)?;
    let of_typical = loss.clone();
    let (probe, context) = (typical.tokens.clone(), typical.context.clone());
    let mut run = set_up(args, net, &bar)?
        .length(args.epochs, per_epoch)?
        .probe(move |net| Output::of_stages(net, &probe, &context))
        .costs_of(move |net| {
            let scores = net.forward(typical.tokens.clone(), &typical.context)?;
            of_typical.loss(&scores, &typical.classes)
        });
    if let Some(kept) = &args.checkpoint_dir {
        let settings = settings(args, folder, task);
        let manager = beside::manager(kept, args.resume, &settings, ranks.leads())?;
        run = run.checkpoints(match args.checkpoint_steps {
            Some(steps) => manager.save_every_steps(steps)?,
            None => manager,
        });
    }
    run = ranks.shared(run);
    let weights = Best::new(out, args.checkpoint_dir.as_deref());
    // The accuracy for the texts to choose by; weights that are better than those of all epochs before are saved.
    let keep_if_best = |run: &Training<Net>| -> Result<f64> {
        let found = run.evaluate(|net| probabilities(net, &valid))?;
        let accuracy = share_right(&guesses(&found), &valid.classes);
        if ranks.leads() && best(run).is_none_or(|best| accuracy > best) {
            weights.save(folder, run, &task.classes, args.pooling.into())?;
        }
        Ok(accuracy)
    };
    if args.resume {
        run.resume()?;
        check_front(&run, args)?;
        if ranks.leads() && best(&run).is_some() {
            weights.restore()?;
        }
        // Its policy may have ended it within an epoch, which nobody has evaluated.
        if run.stopped().is_some() {
            keep_if_best(&run)?;
        }
    }
    while let Some(epoch) = run.next_epoch()? {
        let order = batches::shuffled(&train, args.batch_size, &mut epoch.rng());
        for which in epoch.remaining(order) {
            let which = ranks.share(&which);
            let step = if which.is_empty() {
                run.step_without_batch()?
            } else {
                let batch = Batch::new(&train, which, true)?;
                let scores = run.forward(&batch.keys, batch.tokens, &batch.context)?;
                run.step_of(&loss.loss(&scores, &batch.classes)?, which.len())?
            };
            let leaves = progress::leaves(run.freezer().plan());
            bar.set_message(format!("{leaves}  loss {:.3}, {}", step.loss, frozen(&run)));
            if step.stopped.is_some() {
                break;
            }
        }
        let accuracy = keep_if_best(&run)?;
        let what = frozen(&run);
        let report = run.epoch_end([(ACCURACY, accuracy)])?;
        if !ranks.leads() {
            continue;
        }
        let seconds = report.spent.training.as_secs_f64();
        let rate = train.count() as f64 / seconds;
        let line = format!(
            "epoch {} of {}: {what}, loss {:.4}, validation accuracy {:.1} %, {seconds:.1} s at {rate:.0} tokens/s",
            epoch.index + 1,
            args.epochs,
            report.loss,
            100.0 * accuracy
        );
        progress::say(&bar, &line);
        report.findings.iter().for_each(|found| progress::say(&bar, &found.to_string()));
        report.unrecorded.iter().for_each(|lost| progress::say(&bar, lost));
    }
    bar.finish_and_clear();
    Ok(())
}

/// The guesses of the weights in `out` for the test texts.
///
/// # Errors
///
/// The weights cannot be read, or are not all there.
pub(crate) fn test(args: &Args, folder: &Folder, task: &Task, out: &Path) -> Result<Vec<u32>> {
    let net = Folder::open(out)?.trained_net(task.classes.len(), args.pooling.into())?;
    println!("\nthe best weights are in {}", out.display());
    let test = folder.tokens()?.encode(&task.test)?;
    let view = net.freeze_upto(net.leaves()?.len())?;
    Ok(guesses(&probabilities(&view, &test)?))
}

/// The run with everything that the command line sets.
fn set_up(args: &Args, net: Net, bar: &ProgressBar) -> Result<Training<Net>> {
    let params = ParamsAdamW { lr: args.lr, weight_decay: args.weight_decay, ..Default::default() };
    let shown = bar.clone();
    let mut run = Training::new(net)?
        .optimizer(|vars| {
            let mut adamw = AdamW::with_names(vars, params)?;
            adamw.set_groups(ParamGroups::new().no_decay_on_biases_and_norms())?;
            Ok(adamw)
        })?
        .rate(lr::warmup(args.warmup, lr::linear(0.0)?)?)
        .clip(GradClip::Norm(args.clip))?
        .accumulate(args.accumulate)?
        .stop_early(EarlyStop::new(ACCURACY, Goal::Highest).patience(args.patience)?)
        .seed(args.seed)
        .watch(move |at| shown.set_position((at.elapsed.epoch * at.batches + at.batch) as u64));
    // Dropout that is on in frozen layers would make their outputs differ from epoch to epoch.
    run.set_batch_norm(BatchNormPolicy::Inference)?;
    if let Some(policy) = args.freezing()? {
        run = run.policy(policy);
    }
    if let Some(megabytes) = args.cache {
        run = run.cache(ActivationCache::new().memory((megabytes as u64) << 20));
    }
    if let Some(layers) = args.recompute {
        run = run.recompute(Recompute::every(layers)?);
    }
    if let Some(layers) = args.frozen {
        let leaf = front(&run, layers)?;
        run.freeze_front(leaf)?;
    }
    Ok(run)
}

/// What a run that goes on must have as it was begun, since the best accuracy so far is of it.
fn settings(args: &Args, folder: &Folder, task: &Task) -> Value {
    let mut texts = Hasher::new();
    for (part, samples) in [("train", &task.train), ("valid", &task.valid), ("test", &task.test)] {
        for Sample { text, class } in samples {
            texts.write(format!("{part}\t{class}\t{text}\n").as_bytes());
        }
    }
    json!({
        "classes": task.classes,
        "checksum of texts": format!("{:032x}", texts.finish_128()),
        "tokens of a text": folder.longest(),
        "pooling": format!("{:?}", args.pooling),
        "batch size": args.batch_size,
        "accumulated batches": args.accumulate,
    })
}

/// The leaves of the embeddings and so many layers.
fn front(run: &Training<Net>, layers: usize) -> Result<usize> {
    let leaf = run.freezer().leaf_before(&format!("bert.encoder.layer.{layers}"));
    let none = |_| format!("--frozen {layers}: the model has no layer behind; take fewer");
    Ok(leaf.map_err(none)?)
}

/// An error if a run that goes on trains what `--frozen` names: its plan is the one that it was saved with.
fn check_front(run: &Training<Net>, args: &Args) -> Result<()> {
    let Some(layers) = args.frozen else { return Ok(()) };
    let states = run.freezer().plan().states();
    match states[..front(run, layers)?].iter().all(|state| state.is_frozen()) {
        true => Ok(()),
        false => Err(format!(
            "--frozen {layers}: the run to go on with trains these layers; leave that out, or begin anew in \
             another folder"
        )
        .into()),
    }
}

/// What is frozen, in words.
fn frozen(run: &Training<Net>) -> String {
    let states = run.freezer().plan().states();
    let frozen = states.iter().filter(|state| state.is_frozen()).count();
    format!("{frozen} of {} leaves frozen", states.len())
}

/// The best validation accuracy so far.
fn best(run: &Training<Net>) -> Option<f64> {
    let records = run.history().records().iter().filter(|record| record.name == ACCURACY);
    records.map(|record| record.value).reduce(f64::max)
}

/// The most probable class of each text.
fn guesses(probabilities: &[Vec<f32>]) -> Vec<u32> {
    probabilities.iter().map(|row| most_probable(row) as u32).collect()
}

fn share_right(guesses: &[u32], classes: &[u32]) -> f64 {
    let right = guesses.iter().zip(classes).filter(|(guess, class)| guess == class).count();
    right as f64 / classes.len().max(1) as f64
}
