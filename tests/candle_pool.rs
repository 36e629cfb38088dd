//! Steps of models of `nn` layers leave candle's own threads alone, which spin while they wait.
//!
//! candle starts those threads when it first uses them, so a process in which none runs has used none. Only
//! Linux shows the threads of a process.
#![cfg(target_os = "linux")]
// The models have more than is used here.
#![allow(dead_code)]

#[path = "../benches/layers/convnet.rs"]
mod convnet;
#[path = "../benches/layers/kit.rs"]
mod kit;
#[path = "../benches/layers/mlp.rs"]
mod mlp;
#[path = "../benches/layers/transformer.rs"]
mod transformer;

use std::fs;
use std::process::Command;

use candle_core::{DType, Device::Cpu, Module, Result, Tensor};
use candle_nn::{Optimizer, VarBuilder, VarMap};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, backward, nn};
use kit::{Net, Ours};

/// Set in the process that looks at its own threads.
const CHILD: &str = "FREEZE_TEST_CANDLE_POOL";

/// From so many elements on candle uses its threads.
const MANY: usize = 1 << 16;

fn candles_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("candle-bp")).count()
}

/// Two steps of all stages, and of all but the first.
fn steps<S: Freezable + Module>(
    stages: usize,
    stage: impl Fn(usize, VarBuilder<'static>) -> Result<S>,
    input: &Tensor,
    classes: usize,
) -> Result<()> {
    let variables = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let net = Net { stages: (0..stages).map(|i| stage(i, variables())).collect::<Result<_>>()? };
    let first = net.stages[0].leaves()?.len();
    let mut optimizer = AdamW::new_lr(net.vars()?, 1e-3)?;
    for frozen in [0, first] {
        let view = net.freeze_upto(frozen)?;
        let scores = view.forward(input)?;
        let leading = &scores.dims()[..scores.rank() - 1];
        let labels = Tensor::zeros(leading, DType::U32, &Cpu)?;
        assert_eq!(scores.dims()[scores.rank() - 1], classes);
        let loss = nn::cross_entropy(&scores, &labels, None)?;
        optimizer.step(&backward(&loss)?)?;
        let large = loss.sorted_nodes().into_iter().filter(|node| node.elem_count() >= MANY);
        assert!(large.into_iter().all(Tensor::is_variable), "candle adds up gradients of results");
    }
    Ok(())
}

#[test]
fn steps_of_three_models_start_no_thread_of_candles() -> Result<()> {
    if std::env::var_os(CHILD).is_none() {
        // As many threads as on other machines; one would do all itself.
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "steps_of_three_models_start_no_thread_of_candles"])
            .env(CHILD, "1")
            .env("CANDLE_NUM_THREADS", "3")
            .output()?;
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return Ok(());
    }
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Cpu);
    let image = zeros(&[8, 3, 32, 32])?;
    steps(convnet::STAGES, convnet::stage::<Ours>, &image, convnet::CLASSES)?;
    assert_eq!(candles_threads(), 0, "after the convolutional network");

    steps(mlp::STAGES, |i, vb| mlp::stage::<Ours>(i, 256, vb), &zeros(&[256, 256])?, 256)?;
    assert_eq!(candles_threads(), 0, "after the perceptron");

    let shape = transformer::Shape { layers: 1, model: 64, heads: 4, sequence: 64, vocabulary: 64 };
    let tokens = Tensor::zeros((16, 64), DType::U32, &Cpu)?;
    steps(4, |i, vb| transformer::stage::<Ours>(i, &shape, vb), &tokens, 64)?;
    assert_eq!(candles_threads(), 0, "after the transformer");

    let many = zeros(&[MANY])?;
    (&many + &many)?;
    assert_eq!(candles_threads(), 2, "candle's own sum does start them");
    Ok(())
}
