//! Trains a small network on Fashion-MNIST twice from the same weights, once with all layers
//! trained and once with the front layers freezing during training, and compares the two.
//!
//! `cargo run --release --example fashion`

#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod net;
mod record;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Device};
use candle_nn::{ParamsAdamW, loss::cross_entropy};
use clap::Parser;
use freeze_core::checkpoint::Manager;
use freeze_core::policy::{Boxed, Linear};
use freeze_core::{ActivationCache, Training, init::Seeded, optim::AdamW};

use common::dataset::Dataset;
use common::policy::policy;
use common::{Result, accuracy, count, progress};
use net::Net;
use record::{Epoch, Run, timed};

// candle allocates and frees large temporaries at every step, which glibc returns to the kernel
// each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a small CNN on Fashion-MNIST twice from the same weights: with all layers trained, and
/// with the front layers freezing as training goes on.
#[derive(Parser)]
struct Args {
    /// Folder of the four published IDX files of Fashion-MNIST or MNIST, gzipped or not; without
    /// it, an embedded subset of 2600 training and 700 test images is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images, in each of the two runs
    #[arg(long, default_value_t = 6, value_parser = count())]
    epochs: usize,
    /// Share of the run after which freezing starts, at least 0 and less than 1
    #[arg(long, default_value_t = 0.25, allow_negative_numbers = true)]
    freeze_start: f64,
    /// Share of the layers that are frozen at the end of the run, 0 to 1; the last always trains
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    freeze_level: f64,
    /// Freeze by this policy instead: a name with settings such as `geometric:alpha=0.3`, or a .toml or
    /// .json file
    #[arg(long, value_name = "TEXT_OR_FILE", conflicts_with_all = ["freeze_start", "freeze_level"])]
    policy: Option<String>,
    /// Decides the initial weights and the order of the images
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Images in a training step
    #[arg(long, default_value_t = 32, value_parser = count())]
    batch_size: usize,
    /// Use only the first images of either set
    #[arg(long, value_name = "IMAGES", value_parser = count())]
    limit: Option<usize>,
    /// Folder to keep a checkpoint of either run in, after every epoch
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// Add a third run: freezing with the outputs of frozen layers stored in memory
    #[arg(long)]
    cache: bool,
    /// Go on from the latest checkpoints of the folder
    #[arg(long, requires = "checkpoint_dir")]
    resume: bool,
}

fn main() -> ExitCode {
    common::exit(compare(&Args::parse()))
}

fn compare(args: &Args) -> Result<()> {
    let freezing = || match &args.policy {
        Some(text) => policy(text),
        None => Ok(Box::new(Linear::new(args.freeze_start, args.freeze_level)?) as Boxed),
    };
    freezing()?;
    let mut data = Dataset::load(args.data.as_deref())?;
    if let Some(limit) = args.limit {
        data = data.limited(limit)?;
    }
    println!("{} training images, {} test images\n", data.train.len(), data.test.len());

    let train =
        |what, set: &dyn Fn(Training<Net>) -> Result<Training<Net>>| train(what, args, &data, set);
    let all = train("all layers trained", &Ok)?;
    let progressive = train("progressive freezing", &|run| Ok(run.policy(freezing()?)))?;
    let stored = |run: Training<Net>| Ok(run.policy(freezing()?).cache(ActivationCache::new()));
    let cached = match args.cache {
        true => Some(train("freezing with a cache", &stored)?),
        false => None,
    };
    println!("{}\n", table::epochs(&all, &progressive));
    println!("{}", table::totals(&all, &progressive));
    if let Some(cached) = cached {
        println!("\n{}", table::totals(&progressive, &cached));
    }
    Ok(())
}

/// One run from the seed's weights, with what `set` adds to it.
fn train(
    what: &str,
    args: &Args,
    data: &Dataset,
    set: &dyn Fn(Training<Net>) -> Result<Training<Net>>,
) -> Result<Run> {
    let net = Net::new(Seeded::builder(args.seed, DType::F32, &Device::Cpu))?;
    let params = ParamsAdamW { lr: 1e-3, ..Default::default() };
    let steps = data.train.batches(args.batch_size);
    let bar = progress::bar(what, args.epochs * steps)?;
    let watched = bar.clone();
    let run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, params))?
        .watch(move |progress| watched.set_position(progress.elapsed.step as u64))
        .seed(args.seed)
        .length(args.epochs, steps)?;
    let mut run = set(run)?;
    if let Some(manager) = checkpoints(args, what)? {
        run = run.checkpoints(manager);
    }
    if args.resume {
        run.resume()?;
    }
    while let Some(epoch) = run.next_epoch()? {
        let mut record = Epoch::new(run.freezer());
        for which in epoch.shuffled(data.train.len(), args.batch_size) {
            let (images, classes) = data.train.pick(&which)?;
            let keys: Vec<u64> = which.into_iter().map(u64::from).collect();
            let scores = timed(&mut record.forward, || run.forward(&keys, images, &()))?;
            let loss = cross_entropy(&scores, &classes)?;
            run.step(&loss)?;
        }
        record.take(&run);
        record.accuracy = run.evaluate(|net| accuracy(net, &data.test))?;
        record.loss = run.epoch_end(record.metrics())?.loss;
        let at = format!("{what}, epoch {} of {}", epoch.index + 1, args.epochs);
        progress::say(&bar, &format!("{at}: {record}"));
    }
    bar.finish_and_clear();
    println!();
    Ok(Run {
        name: what.to_string(),
        epochs: Epoch::all(run.history(), run.freezer().plan().len()),
    })
}

/// A manager that keeps the two latest checkpoints of the run called `name`, if a folder is given.
fn checkpoints(args: &Args, name: &str) -> Result<Option<Manager>> {
    let Some(folder) = &args.checkpoint_dir else { return Ok(None) };
    let manager = Manager::new(folder.join(name.replace(' ', "-")))?.keep_last(2)?;
    match manager.latest()?.path {
        Some(path) if !args.resume => Err(format!(
            "{} is there already; go on from it with --resume, or name another folder",
            path.display()
        )
        .into()),
        _ => Ok(Some(manager)),
    }
}
