//! Training steps with more and more of a model frozen: `freeze_core::nn` against candle's layers
//! and against the ideal, on three models that are generic over the layers.

mod attention;
mod beside;
mod clock;
mod contest;
mod convnet;
#[allow(dead_code)] // models that begin alike
mod drawn;
mod kit;
mod mlp;
mod peer;
mod table;
mod transformer;

use candle_core::{DType, Device::Cpu, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};

use beside::Goal;
use contest::Contest;
use drawn::classes;
use kit::{Ours, Stock};
use peer::Peer;

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
/// sizes, `--alternate` changes the contestant after every step, the name of a model (`mlp`,
/// `convnet`, `transformer`) measures that one alone, and `--peer` measures beside PyTorch and nothing
/// else; then there is `attention`, too.
pub(crate) fn run(allocator: &str) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let sizes = if given("--quick") { QUICK } else { FULL };
    let sizes = Sizes { alternate: given("--alternate"), ..sizes };
    let names = ["mlp", "convnet", "transformer", "attention"];
    let some = names.into_iter().any(given);
    let wanted = |name| !some || given(name);
    println!("allocator: {allocator}; threads: {}", rayon::current_num_threads());
    let mut peer = match given("--peer") {
        false => None,
        true => match Peer::start("layers.py") {
            Ok(peer) => Some(peer),
            Err(missing) => {
                println!("skipped: {missing}");
                return Ok(());
            }
        },
    };
    if wanted("mlp") {
        mlp(&sizes, peer.as_mut())?;
    }
    if wanted("convnet") {
        convnet(&sizes, peer.as_mut())?;
    }
    if wanted("transformer") {
        transformer(&sizes, peer.as_mut())?;
    }
    if let Some(peer) = peer.as_mut().filter(|_| wanted("attention")) {
        attention::beside(peer)?;
    }
    Ok(())
}

fn mlp(sizes: &Sizes, peer: Option<&mut Peer>) -> Result<()> {
    let (width, rows) = (sizes.width, sizes.batch);
    let contest = Contest {
        title: format!("(i) {} x Linear({width}), batch {rows}", mlp::STAGES),
        input: Tensor::randn(0f32, 1., (rows, width), &Cpu)?,
        targets: classes(rows, width)?,
        stages: mlp::STAGES,
        alternate: sizes.alternate,
        seconds: sizes.seconds,
        ideal: 1.05,
        backward: None,
        ends: Some(1. / 0.4),
    };
    let ours = |index| mlp::stage::<Ours>(index, width, variables());
    match peer {
        Some(peer) => contest.beside(peer, ("mlp", Goal { step: 1.0, all_but_last: 1.0 }), ours),
        None => contest.run(ours, |index| mlp::stage::<Stock>(index, width, variables())),
    }
}

fn convnet(sizes: &Sizes, peer: Option<&mut Peer>) -> Result<()> {
    let (image, rows) = (sizes.image, sizes.batch / 2);
    let contest = Contest {
        title: format!("(ii) residual CNN with batch norm, 3 x {image} x {image}, batch {rows}"),
        input: Tensor::randn(0f32, 1., (rows, 3, image, image), &Cpu)?,
        targets: classes(rows, convnet::CLASSES)?,
        stages: convnet::STAGES,
        alternate: sizes.alternate,
        seconds: sizes.seconds,
        ideal: 1.10,
        backward: Some(2.),
        ends: None,
    };
    let ours = |index| convnet::stage::<Ours>(index, variables());
    match peer {
        Some(peer) => {
            contest.beside(peer, ("convnet", Goal { step: 1.5, all_but_last: 1.2 }), ours)
        }
        None => contest.run(ours, |index| convnet::stage::<Stock>(index, variables())),
    }
}

fn transformer(sizes: &Sizes, peer: Option<&mut Peer>) -> Result<()> {
    let (layers, heads, vocabulary) = (6, 4, 256);
    let &Sizes { model, sequence, batch, .. } = sizes;
    let (rows, stages) = (batch / 4, layers + 3);
    let shape = transformer::Shape { layers, model, heads, sequence, vocabulary };
    let contest = Contest {
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
    };
    let ours = |index| transformer::stage::<Ours>(index, &shape, variables());
    match peer {
        Some(peer) => {
            contest.beside(peer, ("transformer", Goal { step: 1.1, all_but_last: 1.1 }), ours)
        }
        None => contest.run(ours, |index| transformer::stage::<Stock>(index, &shape, variables())),
    }
}

/// A builder whose tensors are fresh variables.
fn variables() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu)
}
