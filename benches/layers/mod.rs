//! Training steps with more and more of a model frozen: `freeze_core::nn` against candle's layers
//! and against the ideal, on three models that are generic over the layers.

mod clock;
mod contest;
mod convnet;
mod kit;
mod mlp;
mod table;
mod transformer;

use candle_core::{DType, Device::Cpu, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

use contest::Contest;
use kit::{Ours, Stock};

/// The sizes of the models, and how long to measure each; the last one takes three times as long.
struct Sizes {
    width: usize,
    image: usize,
    batch: usize,
    model: usize,
    sequence: usize,
    seconds: u64,
    alternate: bool,
}

const FULL: Sizes = Sizes {
    width: 1024,
    image: 32,
    batch: 64,
    model: 256,
    sequence: 64,
    seconds: 75,
    alternate: false,
};
const QUICK: Sizes = Sizes {
    width: 256,
    image: 16,
    batch: 16,
    model: 64,
    sequence: 16,
    seconds: 4,
    alternate: false,
};

/// Measures the three models and prints their tables. Of the command line, `--quick` takes small
/// sizes, `--alternate` changes the contestant after every step, and the name of a model (`mlp`,
/// `convnet`, `transformer`) measures that one alone.
pub(crate) fn run(allocator: &str) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let sizes = if given("--quick") { QUICK } else { FULL };
    let sizes = Sizes { alternate: given("--alternate"), ..sizes };
    let names = ["mlp", "convnet", "transformer"];
    let some = names.into_iter().any(given);
    let wanted = |name| !some || given(name);
    println!("allocator: {allocator}; threads: {}", rayon::current_num_threads());
    if wanted("mlp") {
        mlp(&sizes)?;
    }
    if wanted("convnet") {
        convnet(&sizes)?;
    }
    if wanted("transformer") {
        transformer(&sizes)?;
    }
    Ok(())
}

fn mlp(sizes: &Sizes) -> Result<()> {
    let (width, rows) = (sizes.width, sizes.batch);
    Contest {
        title: format!("(i) {} x Linear({width}), batch {rows}", mlp::STAGES),
        input: Tensor::randn(0f32, 1., (rows, width), &Cpu)?,
        targets: classes(rows, width)?,
        stages: mlp::STAGES,
        alternate: sizes.alternate,
        seconds: sizes.seconds,
        ideal: 1.05,
        backward: None,
        ends: Some(1. / 0.4),
    }
    .run(
        |index| mlp::stage::<Ours>(index, width, variables()),
        |index| mlp::stage::<Stock>(index, width, variables()),
    )
}

fn convnet(sizes: &Sizes) -> Result<()> {
    let (image, rows) = (sizes.image, sizes.batch / 2);
    Contest {
        title: format!("(ii) residual CNN with batch norm, 3 x {image} x {image}, batch {rows}"),
        input: Tensor::randn(0f32, 1., (rows, 3, image, image), &Cpu)?,
        targets: classes(rows, convnet::CLASSES)?,
        stages: convnet::STAGES,
        alternate: sizes.alternate,
        seconds: sizes.seconds,
        ideal: 1.10,
        backward: Some(2.),
        ends: None,
    }
    .run(
        |index| convnet::stage::<Ours>(index, variables()),
        |index| convnet::stage::<Stock>(index, variables()),
    )
}

fn transformer(sizes: &Sizes) -> Result<()> {
    let (layers, heads, vocabulary) = (6, 4, 256);
    let &Sizes { model, sequence, batch, .. } = sizes;
    let (rows, stages) = (batch / 4, layers + 3);
    let shape = transformer::Shape { layers, model, heads, sequence, vocabulary };
    Contest {
        title: format!(
            "(iii) transformer encoder, {layers} layers, d {model}, {heads} heads, sequence \
             {sequence}, batch {rows}"
        ),
        input: classes(rows * sequence, vocabulary)?.reshape((rows, sequence))?,
        targets: classes(rows * sequence, vocabulary)?,
        stages,
        alternate: sizes.alternate,
        seconds: 3 * sizes.seconds,
        ideal: 1.05,
        backward: Some(1.3),
        ends: None,
    }
    .run(
        |index| transformer::stage::<Ours>(index, &shape, variables()),
        |index| transformer::stage::<Stock>(index, &shape, variables()),
    )
}

/// A builder whose tensors are fresh variables.
fn variables() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu)
}

/// `count` classes of `classes`, drawn at random.
fn classes(count: usize, classes: usize) -> Result<Tensor> {
    let drawn = Var::rand(0f32, classes as f32, count, &Cpu)?;
    drawn.as_detached_tensor().to_dtype(DType::U32)?.clamp(0u32, classes as u32 - 1)
}
