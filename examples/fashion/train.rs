//! One run.

use candle_core::{DType, Device};
use candle_nn::ParamsAdamW;
use freeze_core::checkpoint::Manager;
use freeze_core::nn::cross_entropy;
use freeze_core::{ActivationCache, Training, init::Seeded, optim::AdamW, optim::lr};

use crate::Args;
use crate::common::dataset::Dataset;
use crate::common::ranks::Ranks;
use crate::common::{Result, accuracy, progress};
use crate::net::Net;
use crate::record::{Epoch, Run, timed};

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
        run = run.policy(args.freezing()?);
        if !args.no_cache {
            run = run.cache(ActivationCache::new());
        }
    }
    if let Some(manager) = checkpoints(args, &format!("{name}, seed {seed}"))? {
        run = run.checkpoints(manager);
    }
    run = ranks.shared(run);
    if args.resume {
        run.resume()?;
    }

    let bar =
        progress::bar_of_leader(ranks.leads(), &format!("seed {seed}: {name}"), epochs * steps)?;
    bar.set_position(run.elapsed().step as u64);
    while let Some(epoch) = run.next_epoch()? {
        let mut record = Epoch::new(run.freezer());
        for which in epoch.shuffled(data.train.len(), args.batch_size) {
            let which = ranks.share(&which);
            if which.is_empty() {
                run.step_without_batch()?;
                continue;
            }
            let (images, classes) = data.train.pick(which)?;
            let keys: Vec<u64> = which.iter().copied().map(u64::from).collect();
            let scores = timed(&mut record.forward, || run.forward(&keys, images, &()))?;
            let loss = cross_entropy(&scores, &classes, None)?;
            run.step_of(&loss, which.len())?;
            progress::step(&bar, run.freezer().plan());
        }
        record.take(&run);
        record.accuracy = run.evaluate(|net| accuracy(net, &data.test))?;
        record.loss = run.epoch_end(record.metrics())?.loss;
        let at = format!("seed {seed}: {name}, epoch {} of {epochs}", epoch.index + 1);
        if ranks.leads() {
            progress::epoch(&bar, epoch.index + 1 == epochs, &format!("{at}: {record}"));
        }
    }
    bar.finish_and_clear();
    let leaves = run.freezer().plan().len();
    Ok(Run { name: name.to_string(), epochs: Epoch::all(run.history(), leaves) })
}

/// A manager that keeps the two latest checkpoints of the run called `name`, if a folder is given.
fn checkpoints(args: &Args, name: &str) -> Result<Option<Manager>> {
    let Some(folder) = &args.checkpoint_dir else { return Ok(None) };
    let manager =
        Manager::new(folder.join(name.replace(", ", "-").replace(' ', "-")))?.keep_last(2)?;
    match manager.latest()?.path {
        Some(path) if !args.resume => Err(format!(
            "{} is there already; go on from it with --resume, or name another folder",
            path.display()
        )
        .into()),
        _ => Ok(Some(manager)),
    }
}
