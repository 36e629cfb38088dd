//! What steps take under a budget, against what was asked for, on the models of `benches/layers`.
//!
//! `cargo bench --bench budget` takes some three minutes; the name of a model (`mlp`, `convnet`,
//! `transformer`) measures only that one. `cargo test --bench budget` runs all of it once on small
//! models, whose figures mean nothing.

#[path = "layers/clock.rs"]
#[allow(dead_code)] // processor time
mod clock;
#[path = "budget/contest.rs"]
mod contest;
#[path = "layers/convnet.rs"]
#[allow(dead_code)] // candle's layers
mod convnet;
#[path = "layers/drawn.rs"]
mod drawn;
#[path = "layers/kit.rs"]
#[allow(dead_code)] // candle's layers
mod kit;
#[path = "layers/mlp.rs"]
mod mlp;
#[path = "budget/subject.rs"]
mod subject;
#[path = "layers/transformer.rs"]
#[allow(dead_code)] // candle's layers
mod transformer;

use std::alloc::System;

use candle_core::{Device::Cpu, Tensor};
use cap::Cap;
use freeze_core::Result;

use contest::Contest;
use drawn::{classes, seeded};
use kit::Ours;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How much is measured.
struct Sizes {
    width: usize,
    image: usize,
    batch: usize,
    model: usize,
    sequence: usize,
    rounds: usize,
}

const FULL: Sizes =
    Sizes { width: 1024, image: 32, batch: 64, model: 256, sequence: 64, rounds: 41 };
const TINY: Sizes = Sizes { width: 16, image: 8, batch: 8, model: 16, sequence: 4, rounds: 1 };

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    // Cargo passes it to benchmarks, and not to tests.
    let sizes = if given("--bench") { FULL } else { TINY };
    let some = ["mlp", "convnet", "transformer"].into_iter().any(given);
    println!("threads: {}; medians; ! marks a missed goal", rayon::current_num_threads());
    if !some || given("mlp") {
        mlp(&sizes)?;
    }
    if !some || given("convnet") {
        convnet(&sizes)?;
    }
    if !some || given("transformer") {
        transformer(&sizes)?;
    }
    Ok(())
}

fn mlp(sizes: &Sizes) -> Result<()> {
    let &Sizes { width, batch, rounds, .. } = sizes;
    let contest = Contest {
        title: format!("(i) {} x Linear({width}), batch {batch}", mlp::STAGES),
        input: Tensor::randn(0f32, 1., (batch, width), &Cpu)?,
        targets: classes(batch, width)?,
        stages: mlp::STAGES,
        rounds,
    };
    contest.run(|index| mlp::stage::<Ours>(index, width, seeded(index)))
}

fn convnet(sizes: &Sizes) -> Result<()> {
    let &Sizes { image, rounds, .. } = sizes;
    let batch = sizes.batch / 2;
    let contest = Contest {
        title: format!("(ii) residual CNN, 3 x {image} x {image}, batch {batch}"),
        input: Tensor::randn(0f32, 1., (batch, 3, image, image), &Cpu)?,
        targets: classes(batch, convnet::CLASSES)?,
        stages: convnet::STAGES,
        rounds,
    };
    contest.run(|index| convnet::stage::<Ours>(index, seeded(index)))
}

fn transformer(sizes: &Sizes) -> Result<()> {
    let &Sizes { model, sequence, rounds, .. } = sizes;
    let (layers, heads, vocabulary, batch) = (6, 4, 256, sizes.batch / 4);
    let shape = transformer::Shape { layers, model, heads, sequence, vocabulary };
    let contest = Contest {
        title: format!(
            "(iii) transformer encoder, {layers} layers, d {model}, {heads} heads, sequence {sequence}, \
             batch {batch}"
        ),
        input: classes(batch * sequence, vocabulary)?.reshape((batch, sequence))?,
        targets: classes(batch * sequence, vocabulary)?,
        stages: layers + 3,
        rounds,
    };
    contest.run(|index| transformer::stage::<Ours>(index, &shape, seeded(index)))
}
