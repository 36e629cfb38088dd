//! The models and the tables.

mod contestant;
#[allow(dead_code)] // models of the CPU's benchmark
#[path = "../layers/convnet.rs"]
mod convnet;
#[allow(dead_code)]
#[path = "../layers/kit.rs"]
mod kit;
#[path = "../layers/mlp.rs"]
mod mlp;
mod optim;
#[allow(dead_code)]
#[path = "../layers/peer.rs"]
mod peer;
#[allow(dead_code)]
#[path = "../layers/transformer.rs"]
mod transformer;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, VarBuilder, VarMap};
use freeze_core::Freezable;

use contestant::{Contestant, Times, Whose};
use kit::{Ours, Stock};
use peer::Peer;

/// A model's name, which PyTorch's side knows as well, and what it is measured on.
struct Task {
    name: String,
    input: Tensor,
    targets: Tensor,
    stages: usize,
    /// Steps of a turn, and turns.
    steps: usize,
    rounds: usize,
}

pub(crate) fn run() -> Result<()> {
    let card = match Device::new_cuda(0) {
        Ok(card) => card,
        Err(error) => {
            println!("skipped: no CUDA card: {error}");
            return Ok(());
        }
    };
    freeze_core::cuda::prepare(&card)?;
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let tf32 = arguments.iter().any(|word| word == "tf32");
    freeze_core::cuda::allow_tf32(tf32);
    let once = arguments.iter().any(|word| word == "once");
    let rounds = if once { 1 } else { 5 };
    let steps = |steps| if once { 1 } else { steps };
    let settings = ["f32", "tf32", "once"];
    let names: Vec<&String> =
        arguments.iter().filter(|word| !settings.contains(&word.as_str())).collect();
    let wanted =
        |name: &str| names.is_empty() || names.iter().any(|some| name.starts_with(some.as_str()));
    let numbers = if tf32 { "tf32" } else { "f32" };
    let mut peer = match Peer::start_with("cuda.py", numbers) {
        Ok(peer) => Some(peer),
        Err(missing) => {
            println!("without PyTorch: {missing}");
            None
        }
    };
    println!("{}", peer.as_ref().map_or("", |peer| &peer.name));
    println!("products of f32 in {numbers}");
    if wanted("optimizers") {
        optim::run(&card)?;
    }
    for (width, rows) in [(1024, 64), (4096, 1024)] {
        let task = Task {
            name: format!("mlp-{width}-{rows}"),
            input: Tensor::randn(0f32, 1., (rows, width), &card)?,
            targets: classes(rows, width, &card)?,
            stages: mlp::STAGES,
            steps: steps(if width > 1024 { 10 } else { 50 }),
            rounds,
        };
        if wanted(&task.name) {
            let ours = |index| mlp::stage::<Ours>(index, width, variables(&card));
            let stock = |index| mlp::stage::<Stock>(index, width, variables(&card));
            task.measure(&mut peer, ours, stock)?;
        }
    }
    for rows in [32, 256] {
        let task = Task {
            name: format!("convnet-{rows}"),
            input: Tensor::randn(0f32, 1., (rows, 3, 32, 32), &card)?,
            targets: classes(rows, convnet::CLASSES, &card)?,
            stages: convnet::STAGES,
            steps: steps(20),
            rounds,
        };
        if wanted(&task.name) {
            let ours = |index| convnet::stage::<Ours>(index, variables(&card));
            let stock = |index| convnet::stage::<Stock>(index, variables(&card));
            task.measure(&mut peer, ours, stock)?;
        }
    }
    for (layers, model, heads, sequence, rows) in [(6, 256, 4, 64, 16), (12, 768, 12, 256, 32)] {
        let vocabulary = 256;
        let shape = transformer::Shape { layers, model, heads, sequence, vocabulary };
        let task = Task {
            name: format!("transformer-{layers}-{model}-{heads}-{sequence}-{rows}"),
            input: classes(rows * sequence, vocabulary, &card)?.reshape((rows, sequence))?,
            targets: classes(rows * sequence, vocabulary, &card)?,
            stages: layers + 3,
            steps: steps(if layers > 6 { 5 } else { 20 }),
            rounds,
        };
        if wanted(&task.name) {
            let ours = |index| transformer::stage::<Ours>(index, &shape, variables(&card));
            let stock = |index| transformer::stage::<Stock>(index, &shape, variables(&card));
            task.measure(&mut peer, ours, stock)?;
        }
    }
    Ok(())
}

impl Task {
    /// Prints the table of the model at three depths, and behind a cache.
    fn measure<O: Freezable + Module, S: Freezable + Module>(
        &self,
        peer: &mut Option<Peer>,
        ours: impl Fn(usize) -> Result<O>,
        stock: impl Fn(usize) -> Result<S>,
    ) -> Result<()> {
        let rounds = self.rounds;
        println!("\n{}; {rounds} rounds of {} steps; milliseconds, MB", self.name, self.steps);
        println!(
            "{:>14} {:>14} | {:>8} {:>8} {:>8} {:>8} {:>8} | {:>6}",
            "frozen", "by", "forward", "backward", "update", "step", "peak", "ratio"
        );
        let depths = [("nothing", 0), ("half", self.stages / 2), ("all but last", self.stages - 1)];
        for (label, frozen) in depths {
            let mut taken: Vec<(&str, Vec<Times>)> = Vec::new();
            let mut one = Contestant::new(&ours, self.stages, frozen, Whose::Ours)?;
            taken.push(("ours", (0..rounds).map(|_| one.take(self)).collect::<Result<_>>()?));
            if frozen + 1 == self.stages {
                one.cache(self)?;
                taken.push((
                    "ours, cached",
                    (0..rounds).map(|_| one.take(self)).collect::<Result<_>>()?,
                ));
            }
            match one.replayed(self) {
                Ok(ms) => println!("{label:>14} {:>14} | {ms:.3} forward and backward", "replayed"),
                Err(error) => println!("{label:>14} cannot be replayed: {error}"),
            }
            drop(one);
            let mut one = Contestant::new(&stock, self.stages, frozen, Whose::Candles)?;
            taken.push((
                "candle",
                (0..rounds.min(2)).map(|_| one.take(self)).collect::<Result<_>>()?,
            ));
            drop(one);
            if let Some(peer) = peer {
                for (who, compiled) in [("torch", false), ("torch compiled", true)] {
                    // It takes longer to compile than to measure.
                    if compiled && std::env::var_os("PEER_EAGER").is_some() {
                        continue;
                    }
                    let line =
                        format!("{}\t{frozen}\t{}\t{}", self.name, self.steps, u8::from(compiled));
                    let turn = || peer.ask(&line).map(Times::of);
                    let turns = std::iter::repeat_with(turn).take(rounds);
                    let turns = turns.collect::<std::io::Result<_>>();
                    taken.push((who, turns.map_err(candle_core::Error::wrap)?));
                }
            }
            let rows: Vec<(&str, Times)> =
                taken.iter().map(|(who, turns)| (*who, Times::median(turns))).collect();
            let torch = rows.iter().find(|(who, _)| *who == "torch").map(|(_, times)| times.step);
            for (who, times) in rows {
                let ratio = torch.map_or("-".into(), |torch| format!("{:.2}", times.step / torch));
                println!("{label:>14} {who:>14} | {times} | {ratio:>6}");
            }
        }
        Ok(())
    }
}

/// A builder whose tensors are fresh variables.
fn variables(card: &Device) -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, card)
}

/// So many of `classes` classes, drawn at random.
fn classes(count: usize, classes: usize, card: &Device) -> Result<Tensor> {
    let drawn = Var::rand(0f32, classes as f32, count, card)?;
    drawn.as_detached_tensor().to_dtype(DType::U32)?.clamp(0u32, classes as u32 - 1)
}
