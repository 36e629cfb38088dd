//! What the activation cache saves and costs, on the models of `benches/layers`.
//!
//! `cargo bench --bench cache` takes three minutes; the name of a model (`mlp`, `convnet`, `transformer`), or `inputs`,
//! measures only that one, `--peer` measures PyTorch's step too. `cargo test --bench cache` runs all of it
//! once on small models, whose figures mean nothing. Both compare the losses with and without the cache.

#[path = "layers/clock.rs"]
#[allow(dead_code)] // of the layers' benchmark alone
mod clock;
#[path = "cache/contest.rs"]
mod contest;
#[path = "cache/contestant.rs"]
mod contestant;
#[path = "layers/convnet.rs"]
#[allow(dead_code)] // candle's layers
mod convnet;
#[path = "cache/data.rs"]
mod data;
#[path = "layers/drawn.rs"]
mod drawn;
#[path = "cache/inputs.rs"]
mod inputs;
#[path = "layers/kit.rs"]
#[allow(dead_code)] // candle's layers
mod kit;
#[path = "layers/mlp.rs"]
mod mlp;
#[path = "layers/peer.rs"]
#[allow(dead_code)] // of the layers' benchmark alone
mod peer;
#[path = "layers/transformer.rs"]
#[allow(dead_code)] // candle's layers
mod transformer;

use candle_core::Result;

use contest::{Contest, Goals};
use data::Data;
use drawn::seeded;
use kit::Ours;
use peer::Peer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
struct Sizes {
    width: usize,
    image: usize,
    batch: usize,
    model: usize,
    sequence: usize,
    batches: usize,
    rounds: usize,
    runs: usize,
}

const FULL: Sizes = Sizes {
    width: 1024,
    image: 32,
    batch: 64,
    model: 256,
    sequence: 64,
    batches: 16,
    rounds: 5,
    runs: 10,
};
const TINY: Sizes =
    Sizes { width: 16, image: 8, batch: 8, model: 16, sequence: 4, batches: 3, rounds: 1, runs: 2 };

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    // Cargo passes it to benchmarks, and not to tests.
    let sizes = if given("--bench") { FULL } else { TINY };
    let some = ["mlp", "convnet", "transformer", "inputs"].into_iter().any(given);
    println!("threads: {}; ms, medians; ! marks a missed goal", rayon::current_num_threads());
    let mut peer = match given("--peer").then(|| Peer::start("layers.py")) {
        Some(Err(missing)) => {
            println!("skipped: {missing}");
            return Ok(());
        }
        Some(Ok(peer)) => Some(peer),
        None => None,
    };
    if !some || given("mlp") {
        mlp(&sizes, peer.as_mut())?;
    }
    if !some || given("convnet") {
        convnet(&sizes, peer.as_mut())?;
    }
    if !some || given("transformer") {
        transformer(&sizes, peer.as_mut())?;
    }
    if !some || given("inputs") {
        let shapes = [(256, 784), (32, 3 * 224 * 224)];
        inputs::inputs(if given("--bench") { &shapes } else { &[(9, 40)] }, sizes.runs * 3)?;
    }
    Ok(())
}

fn mlp(sizes: &Sizes, peer: Option<&mut Peer>) -> Result<()> {
    let &Sizes { width, batch, batches, rounds, runs, .. } = sizes;
    let contest = Contest {
        name: "mlp",
        title: format!("(i) {} x Linear({width}), batch {batch}", mlp::STAGES),
        goals: Goals { cached: 0.3, kept: 0.3, peer: 0.3 },
        stages: mlp::STAGES,
        data: Data::numbers((batch, batches), &[width], (1, width))?,
        rounds,
        runs,
    };
    contest.run(peer, |index| mlp::stage::<Ours>(index, width, seeded(index)))
}

fn convnet(sizes: &Sizes, peer: Option<&mut Peer>) -> Result<()> {
    let &Sizes { image, batches, rounds, runs, .. } = sizes;
    let batch = sizes.batch / 2;
    let contest = Contest {
        name: "convnet",
        title: format!("(ii) residual CNN, 3 x {image} x {image}, batch {batch}"),
        goals: Goals { cached: 0.25, kept: 0.25, peer: 0.3 },
        stages: convnet::STAGES,
        data: Data::numbers((batch, batches), &[3, image, image], (1, convnet::CLASSES))?,
        rounds,
        runs,
    };
    contest.run(peer, |index| convnet::stage::<Ours>(index, seeded(index)))
}

fn transformer(sizes: &Sizes, peer: Option<&mut Peer>) -> Result<()> {
    let &Sizes { model, sequence, batches, rounds, runs, .. } = sizes;
    let (layers, heads, vocabulary, batch) = (6, 4, 256, sizes.batch / 4);
    let shape = transformer::Shape { layers, model, heads, sequence, vocabulary };
    let contest = Contest {
        name: "transformer",
        title: format!(
            "(iii) transformer encoder, {layers} layers, d {model}, {heads} heads, sequence {sequence}, \
             batch {batch}"
        ),
        goals: Goals { cached: 0.2, kept: 0.2, peer: 0.25 },
        stages: layers + 3,
        data: Data::words((batch, batches), sequence, vocabulary)?,
        rounds,
        runs,
    };
    contest.run(peer, |index| transformer::stage::<Ours>(index, &shape, seeded(index)))
}
