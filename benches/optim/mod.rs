//! One optimizer step against candle's and against a plain copy of the same parameters.
//!
//! The contestants take turns within one run, so that what else the machine does hits all of them;
//! medians are printed, and ratios of medians.

use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::Optimizer;
use freeze_core::optim::{AdamW, Momentum, ParamsSgd, Sgd};
use rayon::prelude::*;

/// The bytes AdamW has to move per parameter: it reads four numbers and writes three.
const ADAMW_BYTES: f64 = 28.0;
/// The bytes a copy moves per parameter.
const COPY_BYTES: f64 = 8.0;

/// A set of tensors to train.
struct Case {
    name: &'static str,
    tensors: usize,
    elements: usize,
    rounds: usize,
}

const CASES: [Case; 4] = [
    Case { name: "1k", tensors: 1, elements: 1_000, rounds: 2_000 },
    Case { name: "100k", tensors: 1, elements: 100_000, rounds: 500 },
    Case { name: "25M", tensors: 1, elements: 25_000_000, rounds: 15 },
    Case { name: "200 x 5k", tensors: 200, elements: 5_000, rounds: 100 },
];

/// Runs every case and prints the table.
pub(crate) fn run(allocator: &str) -> Result<()> {
    println!("allocator: {allocator}; threads: {}", rayon::current_num_threads());
    println!(
        "{:>9} {:>12} {:>12} {:>12} {:>12} | {:>9} {:>10} {:>12}",
        "params", "copy", "AdamW", "Sgd+mom", "stock AdamW", "stock/us", "copy GB/s", "AdamW GB/s"
    );
    CASES.iter().try_for_each(Case::run)
}

impl Case {
    fn run(&self) -> Result<()> {
        let vars = self.vars()?;
        let grads = self.grads(&vars)?;
        let mut stock = candle_nn::AdamW::new(vars.clone(), Default::default())?;

        let mut ours = AdamW::new(vars.clone(), Default::default())?;
        let momentum = Momentum::Heavy(0.9);
        let sgd = ParamsSgd { momentum, ..ParamsSgd::default() };
        let mut sgd = Sgd::new(vars.clone(), sgd)?;
        let source = vec![1f32; self.tensors * self.elements];
        let mut target = vec![0f32; self.tensors * self.elements];

        let mut times: [Vec<Duration>; 4] = Default::default();
        for round in 0..=self.rounds {
            let taken = [
                time(|| copy(&source, &mut target))?,
                time(|| ours.step(&grads))?,
                time(|| sgd.step(&grads))?,
                time(|| stock.step(&grads))?,
            ];
            // The first round makes the state and warms up.
            if round > 0 {
                times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
            }
        }
        let [copy, ours, sgd, stock] = times.map(median);
        let elements = (self.tensors * self.elements) as f64;
        let rate = |bytes: f64, time: f64| elements * bytes / time / 1e9;
        println!(
            "{:>9} {:>12} {:>12} {:>12} {:>12} | {:>8.1}x {:>10.1} {:>12.1}",
            self.name,
            show(copy),
            show(ours),
            show(sgd),
            show(stock),
            stock / ours,
            rate(COPY_BYTES, copy),
            rate(ADAMW_BYTES, ours),
        );
        Ok(())
    }

    fn vars(&self) -> Result<Vec<Var>> {
        let var = |_| Var::randn(0f32, 1., self.elements, &Device::Cpu);
        (0..self.tensors).map(var).collect()
    }

    fn grads(&self, vars: &[Var]) -> Result<GradStore> {
        let mut grads = GradStore::default();
        for var in vars {
            grads.insert(var, Tensor::randn(0f32, 1., self.elements, &Device::Cpu)?);
        }
        Ok(grads)
    }
}

/// As many threads as the optimizer has, so that the comparison is fair.
fn copy(source: &[f32], target: &mut [f32]) -> Result<()> {
    const CHUNK: usize = 1 << 16;
    if source.len() <= CHUNK {
        target.copy_from_slice(source);
    } else {
        let pairs = target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        pairs.for_each(|(target, source)| target.copy_from_slice(source));
    }
    std::hint::black_box(target);
    Ok(())
}

fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

fn show(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.1} us", seconds * 1e6)
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}
