//! `Recompute::within` keeps its word: a step's activations fit in the bytes.

use candle_core::{DType, Device, Module, Tensor, Var};
use freeze_core::init::Seeded;
use freeze_core::nn::ops::gelu;
use freeze_core::nn::{Linear, linear};
use freeze_core::{Freezable, Freezer, Recompute, Result, Staged, backward, forecast};

use super::{ALLOCATOR, SMALL, near, room, turn};

const WIDTH: usize = 128;
const ROWS: usize = 1024;
/// The bytes of what flows between stages.
const FLOW: usize = ROWS * WIDTH * 4;

/// Stages of one, two, .. layers with activations between.
#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Freezable)]
struct Block {
    layers: Vec<Linear>,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> candle_core::Result<Tensor> {
        match stage {
            NetStage::Blocks(i) => {
                let mut layers = self.blocks[i].layers.iter();
                layers.try_fold(xs, |xs, layer| gelu(&layer.forward(&xs)?))
            }
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

fn net() -> Result<Freezer<Net>> {
    let vb = Seeded::builder(5, DType::F32, &Device::Cpu);
    let layer = |i, j| linear(WIDTH, WIDTH, vb.pp(format!("{i}.{j}")));
    let block =
        |i| Ok(Block { layers: (0..1 + i % 4).map(|j| layer(i, j)).collect::<Result<_, _>>()? });
    let blocks = (0..10).map(block).collect::<Result<_>>()?;
    Freezer::new(Net { blocks, head: linear(WIDTH, 8, vb.pp("head"))? })
}

#[test]
fn activations_fit_in_the_bytes_that_were_asked_for() -> Result<()> {
    let _turn = turn();
    let xs = Tensor::ones((ROWS, WIDTH), DType::F32, &Device::Cpu)?;
    for frozen in [0, 6] {
        let mut net = net()?;
        net.freeze_front(frozen, &mut [])?;
        let gradients: usize = net.trained_vars().iter().map(|var| var.elem_count() * 4).sum();
        let peak = |choice: Option<&Recompute>| -> Result<usize> {
            let step = || -> Result<()> {
                let ys = match choice {
                    Some(choice) => choice.forward(&net, xs.clone(), ())?,
                    None => net.forward(xs.clone(), &())?,
                };
                backward(&ys.sqr()?.mean_all()?).map(drop)?;
                Ok(())
            };
            Ok(room(step)?.saturating_sub(gradients))
        };
        let plain = peak(None)?;
        let error = Recompute::within(&net, 1, &xs, &()).expect_err("too little").to_string();
        let least = error.split("the least is ").nth(1).and_then(|rest| rest.split(' ').next());
        let least: usize = least.and_then(|least| least.parse().ok()).expect("a number");
        assert!(2 * least < plain, "{least} of {plain} bytes, {frozen} frozen");
        for part in [0, 1, 3] {
            let bytes = least + (plain - least) * part / 4;
            let found = peak(Some(&Recompute::within(&net, bytes, &xs, &())?))?;
            // Beside them gradients of what flows: of an operation's result and input, and those that
            // candle adds up.
            let rest = 5 * FLOW + SMALL;
            assert!(found <= bytes + rest, "{found} of {bytes} bytes, {frozen} frozen");
        }
    }
    Ok(())
}

/// A stage keeps what the backwards of its operations read, and its output, whatever candle's graph shows of them.
#[test]
fn what_a_stage_keeps_is_what_stays_allocated() -> Result<()> {
    let _turn = turn();
    let net = net()?;
    let xs = Tensor::ones((ROWS, WIDTH), DType::F32, &Device::Cpu)?;
    for (i, stage) in forecast::stages(&net, &xs, &())?.stages().iter().enumerate().take(4) {
        let tracked = Var::from_tensor(&xs)?.as_tensor().clone();
        let run = || net.run(NetStage::Blocks(i), tracked.clone(), &());
        run()?;
        let before = ALLOCATOR.allocated();
        let ys = run()?;
        let held = ALLOCATOR.allocated() - before;
        drop(ys);
        assert_eq!(stage.kept_bytes, 2 * (1 + i) * FLOW, "{}", stage.path);
        assert!(near(stage.kept_bytes, held), "{}: {held}", stage.path);
    }
    Ok(())
}
