//! One run.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::{Module, ParamsAdamW};
use freeze_core::nn::cross_entropy;
use freeze_core::policy::Output;
use freeze_core::{ActivationCache, Policy, Training, init::Seeded, optim::AdamW, optim::lr};
use serde_json::{Value, json};

use crate::Args;
use crate::common::beside;
use crate::common::dataset::Dataset;
use crate::common::ranks::Ranks;
use crate::common::{Result, accuracy, progress};
use crate::net::Net;
use crate::record::{Epoch, Run, timed};

/// The epoch within which the policy ended the run: no history has it.
const ENDED: &str = "ended.json";

/// What becomes of the layers.
pub(crate) enum Layers {
    /// All train to the end.
    Trained,
    /// The front freezes as training goes on.
    Freezing,
}

/// Trains the network of the seed's weights for some epochs, shared by `ranks`.
///
/// # Errors
///
/// A setting of the run is wrong, or a checkpoint cannot be written or read.
pub(crate) fn train(
    name: &str,
    layers: Layers,
    epochs: usize,
    args: &Args,
    data: &Dataset,
    seed: u64,
    ranks: &Ranks,
) -> Result<Run> {
    let net = Net::new(Seeded::builder(seed, DType::F32, &Device::Cpu))?;
    let params = ParamsAdamW { lr: args.lr, ..Default::default() };
    let steps = data.train.batches(args.batch_size);
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, params))?
        .rate(lr::warmup(0.1, lr::cosine(0.0)?)?)
        .seed(seed)
        .length(epochs, steps)?;
    if let Layers::Freezing = layers {
        // For policies that compare outputs of a fixed batch, or go by measured costs.
        let first: Vec<u32> = (0..data.train.len().min(args.batch_size) as u32).collect();
        let (images, classes) = data.train.pick(&first)?;
        let probe = images.clone();
        run = run
            .policy(args.freezing()?)
            .probe(move |net| Output::of_stages(net, &probe, &()))
            .costs_of(move |net| cross_entropy(&net.forward(&images)?, &classes, None));
        if !args.no_cache {
            run = run.cache(ActivationCache::new());
        }
    }
    let folder = args.checkpoint_dir.as_ref().map(|all| folder_of(all, name, seed));
    if let Some(folder) = &folder {
        let settings = settings(&layers, epochs, args, data)?;
        run = run.checkpoints(beside::manager(folder, args.resume, &settings, ranks.leads())?);
    }
    run = ranks.shared(run);
    let mut ended: Option<Epoch> = None;
    if args.resume {
        run.resume()?;
        // Within an epoch it is the policy alone that ends a run.
        let within = run.stopped().is_some() && !run.elapsed().step.is_multiple_of(steps);
        if within {
            // It may have been killed before it wrote what the epoch came to.
            let mut record = Epoch::new(run.freezer());
            record.take(&run);
            record.accuracy = run.evaluate(|net| accuracy(net, &data.test))?;
            record.loss = run.epoch_end(record.metrics())?.loss;
            if let Some(folder) = folder.as_ref().filter(|_| ranks.leads()) {
                match folder.join(ENDED).exists() {
                    true => record = beside::read(folder, ENDED)?,
                    false => beside::write(folder, ENDED, &record)?,
                }
            }
            ended = Some(record);
        }
    }

    let bar =
        progress::bar_of_leader(ranks.leads(), &format!("seed {seed}: {name}"), epochs * steps)?;
    bar.set_position(run.elapsed().step as u64);
    while let Some(epoch) = run.next_epoch()? {
        let mut record = Epoch::new(run.freezer());
        for which in epoch.shuffled(data.train.len(), args.batch_size) {
            let which = ranks.share(&which);
            let step = if which.is_empty() {
                run.step_without_batch()?
            } else {
                let (images, classes) = data.train.pick(which)?;
                let keys: Vec<u64> = which.iter().copied().map(u64::from).collect();
                let scores = timed(&mut record.forward, || run.forward(&keys, images, &()))?;
                let loss = cross_entropy(&scores, &classes, None)?;
                run.step_of(&loss, which.len())?
            };
            progress::step(&bar, run.freezer().plan());
            if step.stopped.is_some() {
                break;
            }
        }
        let within = run.stopped().is_some();
        record.take(&run);
        record.accuracy = run.evaluate(|net| accuracy(net, &data.test))?;
        record.loss = run.epoch_end(record.metrics())?.loss;
        let at = format!("seed {seed}: {name}, epoch {} of {epochs}", epoch.index + 1);
        if ranks.leads() {
            let last = epoch.index + 1 == epochs || run.stopped().is_some();
            progress::epoch(&bar, last, &format!("{at}: {record}"));
            if let Some(folder) = folder.as_ref().filter(|_| within) {
                beside::write(folder, ENDED, &record)?;
            }
        }
        ended = within.then_some(record);
    }
    bar.finish_and_clear();
    let mut all = Epoch::all(run.history(), run.freezer().plan().len());
    all.extend(ended);
    Ok(Run { name: name.to_string(), epochs: all })
}

/// The folder of a run among those of all.
fn folder_of(all: &Path, name: &str, seed: u64) -> PathBuf {
    all.join(format!("{name}, seed {seed}").replace(", ", "-").replace(' ', "-"))
}

/// What a run comes to another result with.
fn settings(layers: &Layers, epochs: usize, args: &Args, data: &Dataset) -> Result<Value> {
    let policy = match layers {
        Layers::Trained => "none".to_string(),
        Layers::Freezing => args.freezing()?.describe(),
    };
    Ok(json!({
        "policy": policy,
        "epochs": epochs,
        "lr": args.lr,
        "batch size": args.batch_size,
        "training images": data.train.len(),
        "test images": data.test.len(),
        "checksum of images": data.checksum()?,
    }))
}
