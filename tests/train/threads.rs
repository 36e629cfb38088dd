//! `RAYON_NUM_THREADS` decides how many threads there are, one of them the caller's, and nothing else depends on it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor};
use candle_nn::{ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{
    self, Conv2d, Conv2dConfig, LayerNorm, Linear, MultiHeadAttention, MultiHeadAttentionConfig,
};
use freeze_core::optim::AdamW;
use freeze_core::policy::from_text;
use freeze_core::{Freezable, Training};

const SIZE: usize = 256;

/// Large enough that every kernel shares its work out, with many small parameters beside.
#[derive(Freezable)]
struct Net {
    filters: Conv2d,
    attention: MultiHeadAttention,
    norm: LayerNorm,
    body: Vec<Linear>,
    small: Vec<Linear>,
}

impl Net {
    fn new() -> freeze_core::Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(4, DType::F32, &Device::Cpu);
        let config = MultiHeadAttentionConfig { heads: 4, dropout: 0.1, ..Default::default() };
        let body = |i: usize| nn::linear(SIZE, SIZE, vb.pp(format!("body.{i}")));
        let small = |i: usize| nn::linear(48, 48, vb.pp(format!("small.{i}")));
        Ok(Self {
            filters: nn::conv2d(
                1,
                4,
                3,
                Conv2dConfig { padding: 1, ..Default::default() },
                vb.pp("f"),
            )?,
            attention: nn::multi_head_attention(SIZE, config, vb.pp("attention"))?,
            norm: nn::layer_norm(SIZE, 1e-5, vb.pp("norm"))?,
            body: (0..2).map(body).collect::<Result<_>>()?,
            small: (0..40).map(small).collect::<Result<_>>()?,
        })
    }

    fn loss(&self, xs: &Tensor) -> Result<Tensor> {
        let image = self.filters.forward(&xs.unsqueeze(1)?)?;
        let xs = self.attention.forward_t(&image.mean(1)?, true)?;
        let xs = self.body.iter().try_fold(xs, |xs, layer| nn::ops::gelu(&layer.forward(&xs)?))?;
        let xs = self.norm.forward(&xs)?.narrow(2, 0, 48)?;
        self.small.iter().try_fold(xs, |xs, layer| layer.forward(&xs))?.sqr()?.mean_all()
    }
}

/// A few steps under a policy that goes by every update, and what they make of the weights and of its
/// decisions.
fn train() -> freeze_core::Result<u64> {
    let mut run = Training::new(Net::new()?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .policy(from_text("ils:rate=0.3")?)
        .length(1, 3)?;
    let xs = (0..2 * 96 * SIZE).map(|i| ((i * 31 % 97) as f32 - 48.) / 48.).collect::<Vec<_>>();
    let xs = Tensor::from_vec(xs, (2, 96, SIZE), &Device::Cpu)?;
    run.next_epoch()?;
    for _ in 0..3 {
        let loss = run.model().loss(&xs)?;
        run.step(&loss)?;
    }
    let mut hash = DefaultHasher::new();
    assert!(run.freezer().plan().frozen_leaves() > 0, "it decides");
    for path in run.freezer().plan().paths() {
        run.freezer().why(path).hash(&mut hash);
    }
    for (_, tensor) in run.freezer().named_tensors()? {
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        numbers.into_iter().for_each(|number| number.to_bits().hash(&mut hash));
    }
    Ok(hash.finish())
}

/// How many threads of the process have a name that begins so.
#[cfg(target_os = "linux")]
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

#[test]
#[ignore = "the process with a number of threads of its own"]
#[cfg(target_os = "linux")]
fn a_run_alone_and_two_at_once() -> freeze_core::Result<()> {
    let alone = train()?;
    let count = || ["freeze-kernel", "candle-bp"].map(threads);
    let (all, counts) = (threads(""), count());
    let both = [(); 2].map(|()| std::thread::spawn(train));
    for run in both {
        assert_eq!(run.join().expect("no panic")?, alone, "two at once");
    }
    assert_eq!((threads(""), count()), (all, counts), "two at once have threads of their own");
    println!("weights {alone:x} threads {counts:?}");
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn one_setting_decides_how_many_threads_there_are_and_no_bit_of_the_weights() {
    let run = |count: usize| -> String {
        let mut child = Command::new(std::env::current_exe().expect("the test binary"));
        child.args(["--exact", "threads::a_run_alone_and_two_at_once", "--ignored", "--nocapture"]);
        child.env("RAYON_NUM_THREADS", count.to_string()).env_remove("CANDLE_NUM_THREADS");
        let output = child.output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let mut weights = Vec::new();
    for count in 1..=3 {
        let text = run(count);
        let said = text.split("weights ").nth(1).expect("what the child found");
        let (hash, rest) = said.split_once(" threads ").expect("both");
        let expected = format!("{:?}", [count - 1; 2]);
        assert_eq!(rest.lines().next(), Some(&*expected), "{count}");
        weights.push(hash.to_string());
    }
    assert!(weights.iter().all(|found| *found == weights[0]), "{weights:?}");
}
