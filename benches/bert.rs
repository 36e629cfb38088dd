//! Training steps of MiniLM beside those of PyTorch's transformers, in turns: `cargo bench --bench bert`. Without
//! PyTorch only ours are measured, and a line says what is missing; `-- --quick` takes one shape.

#[allow(dead_code, reason = "medians and milliseconds alone")]
#[path = "layers/clock.rs"]
mod clock;
#[path = "layers/drawn.rs"]
mod drawn;
#[allow(dead_code, reason = "whole steps alone")]
#[path = "layers/peer.rs"]
mod peer;

use std::time::Instant;

use candle_core::{Device::Cpu, Tensor};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::models::bert::{BertForSequenceClassification, Config};
use freeze_core::models::{Pooling, TextContext};
use freeze_core::nn::cross_entropy;
use freeze_core::optim::AdamW;
use freeze_core::{BatchNormPolicy, Freezer, Result, Staged, backward};

use clock::{median, ms};
use drawn::{classes, seeded};
use peer::Peer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const STEPS: usize = 3;

/// At most so many times PyTorch's step, as for the transformer of `benches/layers`.
const GOAL: f64 = 1.1;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    println!("allocator: mimalloc; threads: {}", rayon::current_num_threads());
    let mut peer = match Peer::start("bert.py") {
        Ok(peer) => Some(peer),
        Err(missing) => {
            println!("not beside PyTorch: {missing}");
            None
        }
    };
    let name = peer.as_ref().map_or(String::new(), |peer| format!("; {}", peer.name));
    println!("\nMiniLM, 6 layers of 384, AdamW, dropout 0.1; {ROUNDS} rounds of {STEPS}{name}");
    println!(
        "{:>8} {:>9} | {:>8} {:>8} {:>6} {:>5} | {:>9} {:>9}",
        "texts", "frozen", "ours", "torch", "ratio", "goal", "tokens/s", "torch"
    );
    let widths: &[usize] = if quick { &[16] } else { &[16, 32, 64, 128] };
    for &width in widths {
        for frozen in [None, Some(3)] {
            row((32, width), frozen, peer.as_mut())?;
        }
    }
    Ok(())
}

/// Measures one shape, `(texts, tokens)`, and prints its row.
fn row(shape: (usize, usize), frozen: Option<usize>, mut peer: Option<&mut Peer>) -> Result<()> {
    let mut ours = Contestant::new(shape, frozen)?;
    let (texts, depth) = (
        format!("{}x{}", shape.0, shape.1),
        match frozen {
            None => "nothing".to_string(),
            Some(layers) => layers.to_string(),
        },
    );
    ours.step()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut steps = Vec::new();
        // The first finds caches and allocator as the other contestant left them.
        ours.step()?;
        for _ in 0..STEPS {
            steps.push(ours.step()?);
        }
        let torch = match &mut peer {
            Some(peer) => peer.take(&texts, &depth, STEPS).map_err(candle_core::Error::wrap)?.step,
            None => f64::NAN,
        };
        rounds.push((median(steps), torch));
    }
    let of = |part: fn(&(f64, f64)) -> f64| median(rounds.iter().map(part).collect());
    let (step, torch) = (of(|(ours, _)| *ours), of(|(_, torch)| *torch));
    let ratio = of(|(ours, torch)| ours / torch);
    let mark = if ratio > GOAL { "!" } else { " " };
    let rate = |seconds: f64| (shape.0 * shape.1) as f64 / seconds;
    println!(
        "{texts:>8} {depth:>9} | {:>8} {:>8} {ratio:>6.2} {GOAL:>4.1}{mark} | {:>9.0} {:>9.0}",
        ms(step),
        ms(torch),
        rate(step),
        rate(torch)
    );
    Ok(())
}

/// The model, its optimizer and a batch.
struct Contestant {
    model: Freezer<BertForSequenceClassification>,
    optimizer: AdamW,
    tokens: Tensor,
    classes: Tensor,
    context: TextContext,
}

impl Contestant {
    fn new((texts, width): (usize, usize), frozen: Option<usize>) -> Result<Self> {
        let config = Config {
            hidden_size: 384,
            num_hidden_layers: 6,
            num_attention_heads: 12,
            intermediate_size: 1536,
            ..Config::default()
        };
        let net = BertForSequenceClassification::new(&config, 2, Pooling::Cls, seeded(0))?;
        let mut model = Freezer::new(net)?;
        let params = ParamsAdamW { lr: 1e-5, ..Default::default() };
        let mut optimizer = AdamW::with_names(model.planned_vars(), params)?;
        model.set_batch_norm(BatchNormPolicy::Inference)?; // no dropout in what is frozen
        if let Some(layers) = frozen {
            let leaf = model.leaf_before(&format!("bert.encoder.layer.{layers}"))?;
            model.freeze_front(leaf, &mut [&mut optimizer])?;
        }
        let mask = (0..texts * width).map(|at| u32::from(at % width < width - 3)).collect();
        let mask = Tensor::from_vec::<_, u32>(mask, (texts, width), &Cpu)?;
        Ok(Self {
            model,
            optimizer,
            tokens: classes((texts, width), 30522)?,
            classes: classes(texts, 2)?,
            context: TextContext::padded(&mask)?.train(true),
        })
    }

    /// The seconds of a step.
    fn step(&mut self) -> Result<f64> {
        let start = Instant::now();
        let scores = self.model.forward(self.tokens.clone(), &self.context)?;
        let grads = backward(&cross_entropy(&scores, &self.classes, None)?)?;
        self.optimizer.step(&grads)?;
        drop((grads, scores));
        Ok(start.elapsed().as_secs_f64())
    }
}
