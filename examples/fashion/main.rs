//! Trains a small network on Fashion-MNIST twice from the same weights, once with all layers
//! trained and once with the front layers freezing as training goes on, and compares the two.
//!
//! `cargo run --release --example fashion`

#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod keep;
mod net;
mod record;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Device};
use candle_nn::{Module, Optimizer, ParamsAdamW, loss::cross_entropy};
use clap::Parser;
use freeze_core::{Elapsed, Freezer, LayerFreezing, init::Seeded, optim::AdamW};

use common::dataset::Dataset;
use common::{Result, accuracy, count, progress};
use keep::{Keeper, Parts};
use net::Net;
use record::{Epoch, Run, timed};

// candle allocates and frees large temporaries at every step, which glibc gives back to the kernel
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
    /// Go on from the latest checkpoints of the folder
    #[arg(long, requires = "checkpoint_dir")]
    resume: bool,
}

fn main() -> ExitCode {
    common::exit(compare(&Args::parse()))
}

fn compare(args: &Args) -> Result<()> {
    let freezing = LayerFreezing::new(args.freeze_start, args.freeze_level)?;
    let mut data = Dataset::load(args.data.as_deref())?;
    if let Some(limit) = args.limit {
        data = data.limited(limit)?;
    }
    println!("{} training images, {} test images\n", data.train.len(), data.test.len());

    let all = train("all layers trained", args, &data, None)?;
    let progressive = train("progressive freezing", args, &data, Some(freezing))?;
    println!("{}\n", table::epochs(&all, &progressive));
    println!("{}", table::totals(&all, &progressive));
    Ok(())
}

/// One run from the seed's weights; without a hook, every layer trains to the end.
fn train(what: &str, args: &Args, data: &Dataset, mut hook: Option<LayerFreezing>) -> Result<Run> {
    let mut net = Freezer::new(Net::new(Seeded::builder(args.seed, DType::F32, &Device::Cpu))?)?;
    let params = ParamsAdamW { lr: 1e-3, ..Default::default() };
    let mut opt = AdamW::with_names(net.planned_vars(), params)?;

    let mut keeper = Keeper::new(args.checkpoint_dir.as_deref(), what)?;
    let epochs = if args.resume {
        keeper.resume(Parts { net: &mut net, opt: &mut opt, hook: hook.as_mut() })?
    } else {
        keeper.begin()?;
        Vec::new()
    };

    let mut run = Run { name: what.to_string(), epochs };
    let steps = data.train.batches(args.batch_size);
    let bar = progress::bar(what, args.epochs.saturating_sub(run.epochs.len()) * steps)?;
    for epoch in run.epochs.len()..args.epochs {
        let mut record = Epoch::new(&net);
        let start = std::time::Instant::now();
        for batch in data.train.shuffled(args.seed, epoch, args.batch_size) {
            let (images, classes) = batch?;
            let forward = || cross_entropy(&net.forward(&images)?, &classes);
            let loss = timed(&mut record.forward, forward)?;
            let grads = timed(&mut record.backward, || loss.backward())?;
            timed(&mut record.optimizer, || opt.step(&grads))?;
            record.loss += f64::from(loss.to_scalar::<f32>()?) / steps as f64;
            bar.inc(1);
        }
        record.optimizer_bytes = opt.state_bytes();
        let elapsed = Elapsed::new(epoch + 1, args.epochs);
        if let Some(hook) = &mut hook {
            hook.epoch_end(&mut net, &mut [&mut opt], elapsed)?;
        }
        record.training = start.elapsed();
        record.accuracy = accuracy(&net, &data.test)?;
        let parts = Parts { net: &mut net, opt: &mut opt, hook: hook.as_mut() };
        keeper.save(&record, elapsed, parts)?;
        progress::say(&bar, &format!("{what}, epoch {} of {}: {record}", epoch + 1, args.epochs));
        run.epochs.push(record);
    }
    bar.finish_and_clear();
    println!();
    Ok(run)
}
