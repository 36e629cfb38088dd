//! One optimizer step against candle's and against a plain copy of the same parameters.
//!
//! The contestants take turns within one run, so that what else the machine does hits all of them;
//! medians are printed, and ratios of medians.

use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::Optimizer;
use freeze_core::optim::{AdamW, GradClip, Momentum, ParamsSgd, Sgd};
use freeze_core::{Measures, PlanOptimizer};
use rayon::prelude::*;

/// The bytes AdamW has to move per parameter: it reads four numbers and writes three.
const ADAMW_BYTES: f64 = 28.0;
/// The bytes a copy moves per parameter.
const COPY_BYTES: f64 = 8.0;

/// All that an optimizer can measure within its step.
const NORMS: Measures =
    Measures { gradient: true, update: true, weight: true, relative_update: true };

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
    Case { name: "25M", tensors: 1, elements: 25_000_000, rounds: 9 },
    Case { name: "200 x 5k", tensors: 200, elements: 5_000, rounds: 100 },
];

/// The contestants, in the order in which they take their turns.
const CONTESTANTS: [&str; COUNT] =
    ["copy", "AdamW", "AdamW+norms", "AdamW+clip", "Sgd+mom", "Sgd+norms", "stock AdamW"];
const COUNT: usize = 7;

/// Runs every case and prints the tables.
pub(crate) fn run(allocator: &str) -> Result<()> {
    println!("allocator: {allocator}; threads: {}", rayon::current_num_threads());
    let times: Vec<[Vec<Time>; COUNT]> = CASES.iter().map(Case::run).collect::<Result<Vec<_>>>()?;
    // On a machine that does other work the fastest round is nearer to what the code can do, and
    // the time its threads spent on a processor, both together, nearer still.
    type Pick = fn(&[Time]) -> f64;
    let tables: [(&str, Pick); 3] = [
        ("median", |times| median(times.iter().map(|time| time.wall))),
        ("fastest", |times| fastest(times.iter().map(|time| time.wall))),
        ("cpu", |times| median(times.iter().map(|time| time.cpu))),
    ];
    for (what, pick) in tables {
        print!("{what:>9}");
        CONTESTANTS.iter().for_each(|name| print!(" {name:>12}"));
        println!(" | stock/AdamW  norms: AdamW  Sgd  AdamW/copy in GB/s");
        // The kernel's account is too coarse for short rounds.
        let told = |case: &Case| what != "cpu" || case.elements >= 1_000_000;
        for (case, times) in CASES.iter().zip(&times).filter(|(case, _)| told(case)) {
            case.show(times.each_ref().map(|times| pick(times)));
        }
    }
    Ok(())
}

impl Case {
    fn run(&self) -> Result<[Vec<Time>; COUNT]> {
        let vars = self.vars()?;
        let grads = self.grads(&vars)?;
        let mut stock = candle_nn::AdamW::new(vars.clone(), Default::default())?;
        let mut ours = AdamW::new(vars.clone(), Default::default())?;
        let mut clipped = AdamW::new(vars.clone(), Default::default())?;
        clipped.set_clip(GradClip::Norm(1.0))?;
        let momentum = Momentum::Heavy(0.9);
        let mut sgd = Sgd::new(vars.clone(), ParamsSgd { momentum, ..ParamsSgd::default() })?;
        let mut told = AdamW::new(vars.clone(), Default::default())?;
        let mut sgd_told = Sgd::new(vars.clone(), sgd.params().clone())?;
        assert!(told.measure_within_step(NORMS) && sgd_told.measure_within_step(NORMS));
        let source = vec![1f32; self.tensors * self.elements];
        let mut target = vec![0f32; self.tensors * self.elements];

        let mut times: [Vec<Time>; COUNT] = Default::default();
        for round in 0..=self.rounds {
            self.settle(&mut ours, &grads)?;
            let taken = [
                time(|| copy(&source, &mut target))?,
                time(|| ours.step(&grads))?,
                time(|| told.step(&grads))?,
                time(|| clipped.step(&grads))?,
                time(|| sgd.step(&grads))?,
                time(|| sgd_told.step(&grads))?,
                time(|| stock.step(&grads))?,
            ];
            // The first round makes the state and warms up.
            if round > 0 {
                times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
            }
        }
        Ok(times)
    }

    /// mimalloc gives memory back some time after it was freed, on the time of whoever allocates
    /// next: after candle's optimizer that is up to a gigabyte. A step that is not timed pays for it.
    fn settle(&self, ours: &mut AdamW, grads: &GradStore) -> Result<()> {
        if self.elements >= 1_000_000 {
            std::thread::sleep(Duration::from_millis(1_200));
        }
        ours.step(grads)
    }

    fn show(&self, seconds: [f64; COUNT]) {
        let [copy, ours, told, _, sgd, sgd_told, stock] = seconds;
        let elements = (self.tensors * self.elements) as f64;
        let rate = |bytes: f64, time: f64| elements * bytes / time / 1e9;
        let (copied, updated) = (rate(COPY_BYTES, copy), rate(ADAMW_BYTES, ours));
        print!("{:>9}", self.name);
        seconds.iter().for_each(|&seconds| print!(" {:>12}", show(seconds)));
        let ratio = updated / copied;
        print!(" | {:>10.1}x {:>12.2}x {:.2}x", stock / ours, told / ours, sgd_told / sgd);
        println!("  {updated:.1}/{copied:.1} = {ratio:.2}");
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

/// What a round took, in seconds.
#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

fn time(work: impl FnOnce() -> Result<()>) -> Result<Time> {
    let before = on_processor();
    let start = Instant::now();
    work()?;
    let wall = start.elapsed().as_secs_f64();
    Ok(Time { wall, cpu: on_processor() - before })
}

/// The seconds all threads have spent on a processor; NaN where Linux does not tell.
fn on_processor() -> f64 {
    let spent = |task: std::fs::DirEntry| {
        let told = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        told.split_whitespace().next()?.parse::<f64>().ok()
    };
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    tasks.flatten().filter_map(spent).sum::<f64>() / 1e9
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn fastest(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(f64::INFINITY, f64::min)
}

fn show(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.1} us", seconds * 1e6)
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}
