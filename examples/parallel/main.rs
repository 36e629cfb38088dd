//! One run of several ranks, which freezes its front layers and goes on from its last checkpoint.
//!
//! `cargo build --release --features mpi --example parallel`, and then
//! `mpirun -np 2 target/release/examples/parallel`; without the feature the ranks are threads, `--threads 2`.

#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
#[path = "../fashion/net.rs"]
mod net;

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Device};
use candle_nn::ParamsAdamW;
use clap::Parser;
use freeze_core::checkpoint::{Manager, save_weights};
use freeze_core::nn::cross_entropy;
use freeze_core::parallel::Group;
use freeze_core::train::Sampler;
use freeze_core::{LayerFreezing, Training, init::Seeded, optim::AdamW};

use common::dataset::Dataset;
use common::{Result, accuracy, count};
use net::Net;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a small convolutional network on images of Fashion-MNIST: each rank takes its share of every batch, and only
/// gradients of layers that train travel between them.
#[derive(Parser)]
struct Args {
    /// Folder of the four published IDX files of Fashion-MNIST or MNIST, gzipped or not; without
    /// it, an embedded subset is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, default_value_t = 6, value_parser = count())]
    epochs: usize,
    /// Images in a training step, over all ranks
    #[arg(long, default_value_t = 64, value_parser = count())]
    batch_size: usize,
    /// Use only the first images of either set
    #[arg(long, value_name = "IMAGES", value_parser = count())]
    limit: Option<usize>,
    /// Decides the initial weights and the order of the images
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder for checkpoints, from the last of which the run goes on
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 20, value_parser = count())]
    save_every: usize,
    /// File for the weights at the end
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Ranks, as threads of this process
    #[cfg(not(feature = "mpi"))]
    #[arg(long, default_value_t = 1, value_parser = count())]
    threads: usize,
}

#[cfg(feature = "mpi")]
fn main() -> ExitCode {
    let args = Args::parse();
    let mpi = freeze_core::parallel::Mpi::new().map_err(Into::into);
    common::exit(mpi.and_then(|mpi| train(&args, Group::new(mpi))))
}

#[cfg(not(feature = "mpi"))]
fn main() -> ExitCode {
    let args = Args::parse();
    let run = |rank| train(&args, Group::new(rank)).map_err(|error| error.to_string());
    let ranks = freeze_core::parallel::Threads::ranks(args.threads);
    common::exit(ranks.map_err(Into::into).and_then(|ranks| {
        std::thread::scope(|scope| {
            let ranks: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(|| run(rank))).collect();
            let ended = |rank: std::thread::ScopedJoinHandle<'_, _>| {
                rank.join().unwrap_or_else(|_| Err("a rank panicked".into()))
            };
            let ended: Vec<std::result::Result<(), String>> =
                ranks.into_iter().map(ended).collect();
            Ok(ended.into_iter().collect::<std::result::Result<(), _>>()?)
        })
    }))
}

/// What every rank does.
fn train(args: &Args, group: Group) -> Result<()> {
    let mut data = Dataset::load(args.data.as_deref())?;
    if let Some(limit) = args.limit {
        data = data.limited(limit)?;
    }
    let (rank, ranks) = (group.rank(), group.size());
    let sampler = Sampler::new(data.train.len(), args.batch_size)?;

    let net = Net::new(Seeded::builder(args.seed, DType::F32, &Device::Cpu))?;
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 2e-3, ..Default::default() }))?
        .policy(LayerFreezing::new(0.34, 0.6)?)
        .seed(args.seed)
        .parallel(group.clone())
        .length(args.epochs, sampler.batches_in_epoch())?;
    if let Some(folder) = &args.checkpoints {
        let manager = Manager::new(folder)?.save_every_steps(args.save_every)?.keep_last(2)?;
        run = run.checkpoints(manager);
        run.resume()?;
    }
    if group.leads() {
        println!("{ranks} ranks, from step {}", run.elapsed().step);
    }

    while let Some(epoch) = run.next_epoch()? {
        let before = group.traffic().reduced;
        let mut batches = 0;
        for which in sampler.batches(&epoch, rank, ranks)? {
            batches += 1;
            if which.is_empty() {
                run.step_without_batch()?;
                continue;
            }
            let (images, classes) = data.train.pick(&which)?;
            let scores = candle_nn::Module::forward(run.model(), &images)?;
            run.step_of(&cross_entropy(&scores, &classes, None)?, which.len())?;
        }
        let bytes = (group.traffic().reduced - before) / u64::max(1, batches);
        let right = run.evaluate(|net| accuracy(net, &data.test))?;
        let trained = run.freezer().plan().len() - run.freezer().plan().frozen_leaves();
        let loss = run.epoch_end([("accuracy", right)])?.loss;
        if group.leads() {
            let of = format!("epoch {} of {}", epoch.index + 1, args.epochs);
            println!(
                "{of}: loss {loss:.4}, accuracy {:.1} %, {trained} layers trained, {bytes} bytes a step",
                100.0 * right
            );
        }
    }
    if let (Some(file), true) = (&args.weights, group.leads()) {
        save_weights(file, run.freezer())?;
    }
    Ok(())
}
