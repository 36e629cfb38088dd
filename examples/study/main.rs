//! What freezing pays: the rows of a TOML, each trained in a process of its own, as a CSV; and from the CSV
//! alone a table, a page and a picture.
//!
//! `cargo run --release --example study -- run examples/study/fashion.toml --results fashion.csv`

#[allow(dead_code, reason = "the study takes a part of the batches")]
#[path = "../finetune/batches.rs"]
mod batches;
#[allow(dead_code, reason = "each example uses a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod driver;
#[allow(dead_code, reason = "the study saves no model")]
#[path = "../finetune/folder.rs"]
mod folder;
mod images;
mod job;
mod measure;
mod plan;
mod residual;
mod results;
mod row;
mod show;
#[allow(dead_code, unused_imports, reason = "the study takes rated sentences")]
#[path = "../finetune/task/mod.rs"]
mod task;
mod text;
#[allow(dead_code, reason = "the study counts no tokens")]
#[path = "../finetune/tokens.rs"]
mod tokens;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};

use common::Result;
use common::rated::fetched;
use driver::How;
use job::Places;
use results::Results;
use show::Show;

// candle allocates and frees large temporaries at every step, which glibc returns to the kernel
// each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares policies with training all layers, also for fewer epochs.
#[derive(Parser)]
enum Study {
    /// Train the rows of a TOML whose results are not in the CSV yet
    Run(Run),
    /// Make the table, the page and the picture of a CSV
    Show(Show),
    /// Train one row and print what came of it, as `run` has it done
    #[command(hide = true)]
    Row(One),
}

#[derive(Args)]
struct Run {
    /// The TOML with the rows
    #[arg(value_name = "TOML")]
    rows: PathBuf,
    /// The CSV that results are appended to; it is created if it is not there
    #[arg(long, value_name = "CSV")]
    results: PathBuf,
    /// Only the task of this name
    #[arg(long, value_name = "TASK")]
    only: Option<String>,
    /// Begin no run after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Write each run as a page to this folder
    #[arg(long, value_name = "DIR")]
    pages: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

#[derive(Args)]
struct One {
    row: String,
    #[arg(long)]
    page: Option<PathBuf>,
    #[arg(long)]
    kept: PathBuf,
    #[command(flatten)]
    data: Data,
}

#[derive(Args)]
struct Data {
    /// Folder of the four IDX files of Fashion-MNIST, such as /usr/share/datasets/fashion-mnist of Debian's
    /// package dataset-fashion-mnist; without it, an embedded subset is used
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder that examples/finetune/fetch.sh filled
    #[arg(long, value_name = "DIR", default_value_os_t = fetched(), hide_default_value = true)]
    texts: PathBuf,
}

fn main() -> ExitCode {
    common::exit(match Study::parse() {
        Study::Run(run) => run.run(),
        Study::Show(show) => show.run(),
        Study::Row(one) => one.run(),
    })
}

impl Run {
    fn run(self) -> Result<()> {
        let planned = plan::read(&self.rows)?;
        let mut results = Results::open(&self.results)?;
        let option = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let mut arguments = vec![option("texts", self.data.texts)];
        arguments.extend(self.data.images.map(|folder| option("images", folder)));
        let at_most = self.minutes.map(|minutes| Duration::from_secs(60 * minutes));
        let kept = self.results.with_extension("kept");
        let how = How { arguments, only: self.only, at_most, pages: self.pages, kept };
        driver::drive(&planned, &mut results, &how)
    }
}

impl One {
    fn run(self) -> Result<()> {
        driver::end_with_study();
        let row = serde_json::from_str(&self.row)?;
        let Data { images, texts } = self.data;
        let places = Places { images, texts, kept: self.kept };
        println!("{}", serde_json::to_string(&train::train(&row, &places, self.page.as_deref())?)?);
        Ok(())
    }
}
