//! Trains a small network on Fashion-MNIST with all layers trained, on schedules of several lengths, and
//! with the front layers freezing during training; compares accuracy and time.
//!
//! `cargo run --release --example fashion`; built with the feature `mpi`, `mpirun -np 2` shares it between two processes.

#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod contest;
mod curve;
mod net;
mod record;
mod table;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use freeze_core::policy::{Boxed, FreezeAtSettings, Front, Linear, Milestone, Settings, When};

use common::dataset::Dataset;
use common::policy::policy;
use common::ranks::Ranks;
use common::{Result, count};
use contest::Contest;

// candle allocates and frees large temporaries at every step, which glibc returns to the kernel
// each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a small CNN on Fashion-MNIST from the same weights: with all layers trained, for all epochs
/// and for fewer, and with the front layers freezing as training goes on.
#[derive(Parser)]
struct Args {
    /// Folder of the four published IDX files of Fashion-MNIST or MNIST, gzipped or not, such as
    /// /usr/share/datasets/fashion-mnist of Debian's package dataset-fashion-mnist; without it, an
    /// embedded subset of 2600 training and 700 test images is used
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images in the longest runs
    #[arg(long, default_value_t = 6, value_parser = count())]
    epochs: usize,
    /// Freeze by this policy: a name with settings such as `geometric:alpha=0.3`, or a .toml or .json
    /// file; without one, all but the last convolution and the head freeze after a third of the run
    #[arg(long, value_name = "TEXT_OR_FILE", conflicts_with_all = ["freeze_start", "freeze_level"])]
    policy: Option<String>,
    /// Freeze linearly instead, from this share of the run on: at least 0 and less than 1, by default 0.25
    #[arg(long, allow_negative_numbers = true)]
    freeze_start: Option<f64>,
    /// Freeze linearly instead, up to this share of the layers, 0 to 1; the last always trains
    #[arg(long, allow_negative_numbers = true)]
    freeze_level: Option<f64>,
    /// Decides the initial weights and the order of the images
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Repeat everything with this many seeds, from the first one on: with several, means have a
    /// standard error
    #[arg(long, default_value_t = 3, value_parser = count())]
    seeds: usize,
    /// The highest learning rate: it rises over the first tenth of a run and falls along half a cosine
    #[arg(long, default_value_t = 4e-3)]
    lr: f64,
    /// Images in a training step
    #[arg(long, default_value_t = 32, value_parser = count())]
    batch_size: usize,
    /// Use only the first images of either set
    #[arg(long, value_name = "IMAGES", value_parser = count())]
    limit: Option<usize>,
    /// Folder to keep a checkpoint of each run in, after every epoch
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// Compute the outputs of frozen layers again in every epoch instead of storing them
    #[arg(long)]
    no_cache: bool,
    /// Go on from the latest checkpoints of the folder, with the settings that its runs have
    #[arg(long, requires = "checkpoint_dir")]
    resume: bool,
}

fn main() -> ExitCode {
    common::exit(compare(&Args::parse()))
}

fn compare(args: &Args) -> Result<()> {
    args.freezing()?;
    let mut data = Dataset::load(args.data.as_deref())?;
    if let Some(limit) = args.limit {
        data = data.limited(limit)?;
    }
    let ranks = Ranks::start()?;
    let say = |text: &dyn std::fmt::Display| {
        if ranks.leads() {
            println!("{text}");
        }
    };
    let (train, test) = (data.train.len(), data.test.len());
    say(&format_args!("{train} training images, {test} test images\n"));

    let contest = |seed| Contest::of(args, &data, seed, &ranks);
    let first = contest(args.seed)?;
    say(&format_args!("\n{}\n", table::epochs(&first.all, &first.freezing)));
    say(&format_args!("{}\n", table::totals(&first.all, &first.freezing)));
    let mut contests = vec![first];
    for more in 1..args.seeds as u64 {
        contests.push(contest(args.seed.wrapping_add(more))?);
    }
    say(&format_args!("\n{}\n", table::contests(&contests)));
    say(&curve::draw(&contests));
    say(&contest::verdict(&contests));
    Ok(())
}

impl Args {
    /// The policy that freezes.
    fn freezing(&self) -> Result<Boxed> {
        let third = When::Share(1.0 / 3.0);
        let milestones = vec![Milestone { at: third, freeze: Front::UpTo("conv3".into()) }];
        Ok(match (&self.policy, self.freeze_start, self.freeze_level) {
            (Some(text), ..) => policy(text)?,
            (None, None, None) => Box::new(FreezeAtSettings { milestones }.policy()?),
            (None, start, level) => {
                Box::new(Linear::new(start.unwrap_or(0.25), level.unwrap_or(1.0))?)
            }
        })
    }
}
