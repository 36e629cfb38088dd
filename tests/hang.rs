//! Training beside evaluation in rayon's tasks comes to an end: no work under a lock of candle's waits
//! for threads that may wait for that lock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW, VarBuilder, VarMap};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, nn};

/// Wide enough for the update of one weight, and for a product with it, to be shared out.
const WIDTH: usize = 384;
const BATCH: usize = 32;

#[derive(Freezable)]
struct Net {
    front: nn::Linear,
    norm: nn::LayerNorm,
    drop: nn::Dropout,
    back: nn::Linear,
    /// Many small parameters, which are updated side by side.
    small: Vec<nn::Linear>,
}

impl Net {
    fn new() -> Self {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let linear = |name: &str, size| nn::linear(size, size, vb.pp(name)).expect("a layer");
        Self {
            front: linear("front", WIDTH),
            norm: nn::layer_norm(WIDTH, 1e-5, vb.pp("norm")).expect("a layer"),
            drop: nn::Dropout::new(0.1, 1).expect("a probability"),
            back: linear("back", WIDTH),
            small: (0..30).map(|i| linear(&format!("small.{i}"), 64)).collect(),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let x = self.norm.forward(&nn::ops::relu(&self.front.forward(x)?)?)?;
        let x = self.back.forward(&self.drop.forward_t(&x, train)?)?;
        let mut y = x.narrow(1, 0, 64)?;
        for layer in &self.small {
            y = (&y + layer.forward(&y)?)?;
        }
        y.sqr()?.mean_all()
    }
}

/// Ends the process with a message unless it is dropped in time.
struct Watchdog(Option<mpsc::Sender<()>>);

impl Watchdog {
    fn start(what: &'static str) -> Self {
        let (alive, gone) = mpsc::channel();
        std::thread::spawn(move || {
            if gone.recv_timeout(Duration::from_secs(240)) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what}: no end in sight, the threads wait for each other");
                std::process::abort();
            }
        });
        Self(Some(alive))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

fn input() -> Tensor {
    Tensor::randn(0f32, 1., (BATCH, WIDTH), &Device::Cpu).expect("an input")
}

fn step(net: &Net, opt: &mut AdamW, x: &Tensor) {
    let grads = net.forward(x, true).and_then(|loss| loss.backward()).expect("gradients");
    opt.step(&grads).expect("a step");
}

#[test]
fn steps_beside_evaluation_in_rayons_tasks() {
    let _watchdog = Watchdog::start("steps beside evaluation");
    let (net, x) = (Net::new(), input());
    let mut opt = AdamW::new(net.vars().expect("variables"), ParamsAdamW::default()).expect("one");
    let (done, evaluations) = (AtomicBool::new(false), AtomicUsize::new(0));
    let evaluate = || {
        while !done.load(SeqCst) {
            net.forward(&x, false).expect("a loss");
            evaluations.fetch_add(1, SeqCst);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rayon::scope(|tasks| {
                (0..2 * rayon::current_num_threads()).for_each(|_| tasks.spawn(|_| evaluate()));
            });
        });
        while evaluations.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        (0..60).for_each(|_| step(&net, &mut opt, &x));
        done.store(true, SeqCst);
    });
    assert!(evaluations.load(SeqCst) > 0);
}

#[test]
fn steps_in_rayons_tasks_beside_evaluation_in_others() {
    let _watchdog = Watchdog::start("steps in tasks");
    let (net, x) = (Net::new(), input());
    let opt = AdamW::new(net.vars().expect("variables"), ParamsAdamW::default()).expect("one");
    let (opt, steps) = (Mutex::new(opt), AtomicUsize::new(0));
    rayon::scope(|tasks| {
        for task in 0..240 {
            let (net, x, opt, steps) = (&net, &x, &opt, &steps);
            tasks.spawn(move |_| match task % 6 {
                0 => {
                    step(net, &mut opt.lock().expect("no panic elsewhere"), x);
                    steps.fetch_add(1, SeqCst);
                }
                _ => drop(net.forward(x, false).expect("a loss")),
            });
        }
    });
    assert_eq!(steps.into_inner(), 40);
}

/// A penalty, such as on weights that are not orthogonal, has one weight twice: no reading of it may wait for an update
/// that waits for the end of another.
#[test]
fn updates_beside_an_operation_that_has_a_weight_twice() {
    let _watchdog = Watchdog::start("a weight twice");
    let w = Var::ones((2, 2), DType::F32, &Device::Cpu).expect("a weight");
    let other = w.as_detached_tensor().copy().expect("its values");
    let (done, evaluations) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                nn::ops::mul(&w, &w).expect("squares");
                let row = w.narrow(0, 1, 1).expect("a row");
                nn::ops::linear(&w, &row, None).expect("products");
                evaluations.fetch_add(1, SeqCst);
            }
        });
        while evaluations.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        (0..300_000).for_each(|_| w.set(&other).expect("an update"));
        done.store(true, SeqCst);
    });
}
