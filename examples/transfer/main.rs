//! Fine-tuning a model from a safetensors file: freeze its body by name, train a new head, thaw the
//! upper half of the body at a tenth of the learning rate.
//!
//! `cargo run --release --example transfer`

#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod moved;
mod net;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{DType, Device};
use candle_nn::{Module, ParamsAdamW, VarBuilder, loss::cross_entropy};
use clap::Parser;
use freeze_core::checkpoint::save_weights;
use freeze_core::{Freezable, FreezePlan, Training, init::Seeded, optim::AdamW};

use common::dataset::{Dataset, Images};
use common::{Result, accuracy, count, progress};
use net::Net;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// T-shirt, trouser, dress, sandal, sneaker, bag: the classes that the body is trained on.
const OLD: [u32; 6] = [0, 1, 3, 5, 7, 8];
/// Pullover, coat, shirt, ankle boot: the classes of the new head.
const NEW: [u32; 4] = [2, 4, 6, 9];

/// Loads a trained body from a safetensors file, freezes it by name, trains a new head on classes
/// that the body has never seen, and then thaws the body's upper half.
#[derive(Parser)]
struct Args {
    /// Folder of the four published IDX files of Fashion-MNIST or MNIST, gzipped or not; without
    /// it, an embedded subset is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images, in each of the three stages
    #[arg(long, default_value_t = 3, value_parser = count())]
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
}

fn main() -> ExitCode {
    common::exit(transfer(&Args::parse()))
}

fn transfer(args: &Args) -> Result<()> {
    let mut data = Dataset::load(args.data.as_deref())?;
    if let Some(limit) = args.limit {
        data = data.limited(limit)?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pretrained.safetensors");
    pretrain(args, &data.of_classes(&OLD)?, &file)?;
    fine_tune(args, &data.of_classes(&NEW)?, &file)
}

/// Trains the model that you would otherwise download.
fn pretrain(args: &Args, data: &Dataset, file: &Path) -> Result<()> {
    let vb = Seeded::builder(args.seed, DType::F32, &Device::Cpu);
    let (body, head) = (Net::body(vb.pp("body"))?, Net::head(OLD.len(), vb.pp("head"))?);
    let run = train("pretraining", training(Net { body, head })?, args, &data.train)?;
    println!("pretrained on {} classes: {}\n", OLD.len(), score(&run, data)?);
    Ok(save_weights(file, run.freezer())?)
}

fn fine_tune(args: &Args, data: &Dataset, file: &Path) -> Result<()> {
    // Files hold plain tensors: without `into_trainable` training would change nothing.
    let vb = VarBuilder::from_buffered_safetensors(std::fs::read(file)?, DType::F32, &Device::Cpu)?;
    let body = Net::body(vb.pp("body"))?;
    let fresh = Seeded::builder(args.seed.wrapping_add(1), DType::F32, &Device::Cpu);
    let head = Net::head(NEW.len(), fresh.pp("head"))?;
    let run = training(Net { body, head }.into_trainable()?)?;
    let loaded = moved::snapshot(run.freezer().whole())?;
    println!("a new head for {} other classes, untrained: {}\n", NEW.len(), score(&run, data)?);

    let mut plan = run.freezer().plan().clone();
    plan.freeze("body.**")?;
    let run = stage("new head", run, &plan, args, data)?;
    let after_head = moved::snapshot(run.freezer().whole())?;

    // The upper half of the body trains too, at a tenth of the learning rate.
    plan.train("body.2", 0.1)?.train("body.3", 0.1)?;
    let run = stage("upper half", run, &plan, args, data)?;
    let after_thaw = moved::snapshot(run.freezer().whole())?;

    println!("how far each tensor moved from what was loaded (largest change of an element):");
    println!("{}", moved::table(&loaded, &[("new head", after_head), ("upper half", after_thaw)]));
    Ok(())
}

fn training(net: Net) -> Result<Training<Net>> {
    let params = ParamsAdamW { lr: 1e-3, ..Default::default() };
    Ok(Training::new(net)?.optimizer(|vars| AdamW::with_names(vars, params))?)
}

/// Trains under a plan, and prints what it changed, what trains and the result.
fn stage(
    what: &str,
    mut run: Training<Net>,
    plan: &FreezePlan,
    args: &Args,
    data: &Dataset,
) -> Result<Training<Net>> {
    println!("{}\n", run.apply(plan)?);
    println!("{}\n", run.freezer().summary()?.for_terminal());
    let run = train(what, run, args, &data.train)?;
    println!("{what} trained: {}\n", score(&run, data)?);
    Ok(run)
}

/// Trains under the current plan for some more epochs.
fn train(what: &str, run: Training<Net>, args: &Args, images: &Images) -> Result<Training<Net>> {
    let (done, steps) = (run.elapsed().epoch, images.batches(args.batch_size));
    let bar = progress::bar(what, args.epochs * steps)?;
    let mut run = run.seed(args.seed).length(done + args.epochs, steps)?;
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(images.len(), args.batch_size) {
            let (pixels, classes) = images.pick(&which)?;
            run.step(&cross_entropy(&run.model().forward(&pixels)?, &classes)?)?;
            progress::step(&bar, run.freezer().plan());
        }
        run.epoch_end([])?;
    }
    bar.finish_and_clear();
    Ok(run)
}

fn score(run: &Training<Net>, data: &Dataset) -> Result<String> {
    let right = 100.0 * run.evaluate(|net| accuracy(net, &data.test))?;
    Ok(format!("test accuracy {right:.1} % of {} images", data.test.len()))
}
