//! Trains a small network on Fashion-MNIST under a policy of your choice, and shows who trained when, and
//! why.
//!
//! `cargo run --release --example policies -- --policy auto-freeze:windows=10`

#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod net;
mod picture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{DType, Device};
use candle_nn::{Module, ParamsAdamW, loss::cross_entropy};
use clap::Parser;
use freeze_core::policy::{Policy, defaults_toml};
use freeze_core::{HtmlReport, Training, init::Seeded, optim::AdamW};

use common::dataset::Dataset;
use common::policy::policy;
use common::{Result, accuracy, count, progress};
use net::Net;
use picture::{Picture, Reasons};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a small network on Fashion-MNIST under a policy, and prints who trained when, and why.
#[derive(Parser)]
struct Args {
    /// The policy: a name with settings such as `linear:start=0.2,acts.steps=10`, or a .toml or .json
    /// file
    #[arg(long, default_value = "linear:start=0.2", value_name = "TEXT_OR_FILE")]
    policy: String,
    /// List all policies with their defaults, and train nothing
    #[arg(long)]
    list: bool,
    /// Folder of the four published IDX files of Fashion-MNIST or MNIST, gzipped or not; without
    /// it, an embedded subset is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, default_value_t = 6, value_parser = count())]
    epochs: usize,
    /// Decides the initial weights and the order of the images
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Images in a training step
    #[arg(long, default_value_t = 32, value_parser = count())]
    batch_size: usize,
    /// Use only the first images of either set
    #[arg(long, value_name = "IMAGES", value_parser = count())]
    limit: Option<usize>,
    /// How many of the policy's reasons are printed
    #[arg(long, default_value_t = 12)]
    reasons: usize,
    /// Write the run as an HTML file, again after every epoch, to watch it in a browser
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    common::exit(train(&Args::parse()))
}

fn train(args: &Args) -> Result<()> {
    if args.list {
        print!("{}", defaults_toml());
        return Ok(());
    }
    let policy = policy(&args.policy)?;
    let mut data = Dataset::load(args.data.as_deref())?;
    if let Some(limit) = args.limit {
        data = data.limited(limit)?;
    }
    println!("{}\n", policy.describe());

    let net = Net::new(Seeded::builder(args.seed, DType::F32, &Device::Cpu))?;
    let params = ParamsAdamW { lr: 1e-3, ..Default::default() };
    let steps = data.train.batches(args.batch_size);
    let bar = progress::bar("training", args.epochs * steps)?;
    let (mut picture, reasons) = (Picture::default(), Reasons::default());
    // For policies that compare outputs of a fixed batch, or go by measured costs.
    let first: Vec<u32> = (0..data.train.len().min(args.batch_size) as u32).collect();
    let (images, classes) = data.train.pick(&first)?;
    let probe = images.clone();
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, params))?
        .policy(policy)
        .probe(move |net| net.outputs(&probe))
        .costs_of(move |net| cross_entropy(&net.forward(&images)?, &classes))
        .metrics(reasons.clone())
        .seed(args.seed)
        .length(args.epochs, steps)?;
    if let Some(path) = &args.report {
        run = run.metrics(report(path, args)?);
    }
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(data.train.len(), args.batch_size) {
            let (images, classes) = data.train.pick(&which)?;
            let loss = cross_entropy(&run.model().forward(&images)?, &classes)?;
            picture.step(run.freezer().plan());
            progress::step(&bar, run.freezer().plan());
            if run.step(&loss)?.stopped.is_some() {
                break;
            }
        }
        let right = run.evaluate(|net| accuracy(net, &data.test))?;
        let report = run.epoch_end([("test/accuracy", right)])?;
        report.unrecorded.iter().for_each(|lost| progress::complain(&bar, lost));
    }
    bar.finish_and_clear();
    let right = 100.0 * run.evaluate(|net| accuracy(net, &data.test))?;
    println!("{}", picture.draw(run.freezer().plan().paths()));
    reasons.lines(args.reasons).iter().for_each(|line| println!("{line}"));
    println!("\ntest accuracy {right:.1} % of {} images", data.test.len());
    Ok(())
}

/// A page of the run at `path`.
fn report(path: &Path, args: &Args) -> Result<HtmlReport> {
    let report = HtmlReport::create(path)?.title(format!("Fashion-MNIST under {}", args.policy));
    Ok(report
        .setting("epochs", args.epochs)
        .setting("batch size", args.batch_size)
        .setting("seed", args.seed))
}
