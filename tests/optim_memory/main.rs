//! What optimizers and attention allocate and give back, by the allocator's own count. The tests of this file
//! take turns, since they share the allocator.

mod graph;
mod within;

use std::alloc::System;
use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Optimizer, ParamsAdamW};
use cap::Cap;
use freeze_core::nn::Dropout;
use freeze_core::nn::ops::{
    AttentionMask, attention_side_by_side, gelu, linear, scaled_dot_product_attention,
    scaled_dot_product_attention_dropout,
};
use freeze_core::optim::{
    AdamW, GradAccumulator, ParamsSgd, PerParam, PlanOptimizer, Sgd, StatePolicy,
};
use freeze_core::policy::from_json;
use freeze_core::{Freezable, Freezer, Result, Training, backward, recompute};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

static TURN: Mutex<()> = Mutex::new(());

/// What lists, names and handles may take beside the tensors.
const SMALL: usize = 64 << 10;

const WIDTH: usize = 512;
/// The bytes of one layer without a bias.
const LAYER: usize = WIDTH * WIDTH * 4;

#[derive(Freezable)]
struct Net {
    layers: Vec<Linear>,
}

fn net(layers: usize) -> Result<Freezer<Net>> {
    let weight = |_| Tensor::randn(0f32, 1., (WIDTH, WIDTH), &Device::Cpu);
    let layers = (0..layers).map(|i| Ok(Linear::new(weight(i)?, None)));
    Freezer::new(Net { layers: layers.collect::<Result<_>>()? }.into_trainable()?)
}

fn loss(net: &Net) -> Result<Tensor> {
    let squares = net.layers.iter().map(|layer| layer.weight().sqr()?.sum_all());
    Ok(Tensor::stack(&squares.collect::<candle_core::Result<Vec<_>>>()?, 0)?.sum_all()?)
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn near(found: usize, expected: usize) -> bool {
    found.abs_diff(expected) <= SMALL
}

#[test]
fn freezing_half_of_a_model_gives_back_half_of_the_state() -> Result<()> {
    let _turn = turn();
    for (policy, given_back) in
        [(StatePolicy::Drop, 2 * 2 * LAYER), (StatePolicy::Keep, 0), (StatePolicy::Offload, 0)]
    {
        let mut net = net(4)?;
        let mut opt = AdamW::new(net.vars(), ParamsAdamW::default())?;
        opt.set_state_policy(policy);
        let empty = ALLOCATOR.allocated();
        {
            let grads = loss(&net)?.backward()?;
            opt.step(&grads)?;
        }
        let stepped = ALLOCATOR.allocated();
        assert!(near(stepped, empty + 4 * 2 * LAYER), "two moments for each of four layers");

        net.freeze_front(2, &mut [])?;
        let prepared = opt.prepare_plan(&net.planned_vars())?;
        assert!(near(ALLOCATOR.allocated(), stepped), "preparing gives nothing back");
        let released = prepared.commit();
        let frozen = ALLOCATOR.allocated();
        assert!(near(frozen + given_back, stepped), "{frozen} of {stepped} under {policy:?}");
        assert_eq!(released.state_bytes, Some(given_back));
        assert_eq!(opt.state_bytes(), 4 * 2 * LAYER - given_back);
    }
    Ok(())
}

/// candle's AdamW, one instance a variable: two moments of 4 bytes for each f32 parameter.
#[test]
fn freezing_under_candles_adamw_gives_back_eight_bytes_a_parameter() -> Result<()> {
    let _turn = turn();
    let mut net = net(4)?;
    let mut opt = PerParam::<candle_nn::AdamW>::new(net.vars(), ParamsAdamW::default())?;
    opt.step(&loss(&net)?.backward()?)?;
    for (frozen, tensors) in [(1, 1), (1, 0), (4, 3)] {
        let before = ALLOCATOR.allocated();
        let change = net.freeze_front(frozen, &mut [&mut opt])?;
        let after = ALLOCATOR.allocated();
        let expected = tensors * WIDTH * WIDTH * 8;
        // Lists of names may have grown beside.
        assert!(
            (after + expected).abs_diff(before) <= 512 * tensors.max(1),
            "{before} before, {after} after, {expected} to be given back"
        );
        assert_eq!(change.state_bytes_released, Some(expected));
    }
    Ok(())
}

#[test]
fn building_costs_nothing_and_a_step_needs_no_room_to_work_in() -> Result<()> {
    let _turn = turn();
    let net = net(3)?;
    let before = ALLOCATOR.allocated();
    let mut opt = AdamW::new(net.vars(), ParamsAdamW::default())?;
    assert!(near(ALLOCATOR.allocated(), before));

    let grads = loss(&net)?.backward()?;
    opt.step(&grads)?;
    // The high-water mark cannot be set back: push it to a known height first.
    let high = {
        let _pad = vec![1u8; 16 * LAYER];
        ALLOCATOR.max_allocated()
    };
    let room = high - ALLOCATOR.allocated();
    let pad = vec![1u8; room];
    assert!(near(ALLOCATOR.allocated(), ALLOCATOR.max_allocated()));
    opt.step(&grads)?;
    assert!(near(ALLOCATOR.max_allocated(), high), "a step took room of its own");
    drop(pad);
    Ok(())
}

#[test]
fn accumulating_keeps_one_sum_for_each_trained_layer() -> Result<()> {
    let _turn = turn();
    let mut net = net(4)?;
    net.freeze_front(3, &mut [])?;
    let mut sums = GradAccumulator::new(net.vars());
    let before = ALLOCATOR.allocated();
    for _ in 0..3 {
        sums.accumulate(&loss(&net)?)?;
        assert!(near(ALLOCATOR.allocated(), before + LAYER));
    }
    let dtype = sums.take()?.get(&net.trained_vars()[0]).map(|grad| grad.dtype());
    assert_eq!(dtype, Some(DType::F32));
    assert!(near(ALLOCATOR.allocated(), before));
    Ok(())
}

#[test]
fn the_gradient_of_a_weight_is_allocated_once() -> Result<()> {
    let _turn = turn();
    let net = net(1)?;
    let x = Tensor::ones((1, WIDTH), DType::F32, &Device::Cpu)?;
    let loss = linear(&x, net.layers[0].weight(), None)?.sum_all()?;
    let allocated = |run: &dyn Fn() -> candle_core::Result<GradStore>| -> Result<usize> {
        let before = ALLOCATOR.total_allocated();
        drop(run()?);
        Ok(ALLOCATOR.total_allocated() - before)
    };
    let (ours, candles) = (allocated(&|| backward(&loss))?, allocated(&|| loss.backward())?);
    // candle's: zeros, what the operation returns, and their sum.
    assert!(near(ours, LAYER) && near(candles, 3 * LAYER), "{ours} {candles} of {LAYER}");
    Ok(())
}

/// The room that a step takes beside what is there before it.
fn room(run: impl Fn() -> Result<()>) -> Result<usize> {
    // Threads and what they keep are there from the first step on.
    run()?;
    let high = ALLOCATOR.max_allocated();
    let _pad = vec![1u8; high - ALLOCATOR.allocated()];
    run()?;
    Ok(ALLOCATOR.max_allocated() - high)
}

const LAYERS: usize = 8;

type Run = Training<Net>;
type Mode = fn(Run) -> Result<Run>;

/// A run of linear layers, and a step of it; whatever is called before the run begins is `mode`.
fn run(mode: Mode) -> Result<RefCell<Run>> {
    let mut run = mode(Training::of(net(LAYERS)?))?.length(1, 9)?;
    run.next_epoch()?;
    Ok(RefCell::new(run))
}

fn step(run: &RefCell<Run>) -> Result<()> {
    let mut run = run.borrow_mut();
    let x = Tensor::ones((1, WIDTH), DType::F32, &Device::Cpu)?;
    let mut layers = run.model().layers.iter();
    let y = layers.try_fold(x, |x, layer| linear(&x, layer.weight(), None))?;
    let loss = (y.mean_all()? * 1e-6)?;
    run.step(&loss).map(drop)
}

fn sgd(run: Run) -> Result<Run> {
    run.optimizer(|vars| Sgd::with_names(vars, ParamsSgd::default()))
}

#[test]
fn updating_within_the_backward_has_two_gradients_at_a_time() -> Result<()> {
    let _turn = turn();
    let peak = |mode| -> Result<usize> {
        // Memory that lives on is part of it.
        let before = ALLOCATOR.allocated();
        let run = run(mode)?;
        let weights = ALLOCATOR.allocated() - before;
        let room = room(|| step(&run))?;
        Ok(room + (ALLOCATOR.allocated() - before) - weights)
    };
    let (plain, eager) = (peak(sgd)?, peak(|run| sgd(run.update_in_backward()))?);
    assert!(near(plain, LAYERS * LAYER), "{plain} of {LAYER} each");
    assert!(eager <= 2 * LAYER + SMALL, "{eager} of {LAYER} each");
    Ok(())
}

#[test]
fn a_steady_step_allocates_no_gradient() -> Result<()> {
    let _turn = turn();
    let allocated = |mode| -> Result<usize> {
        let run = run(mode)?;
        (0..2).try_for_each(|_| step(&run))?;
        let before = ALLOCATOR.total_allocated();
        step(&run)?;
        Ok(ALLOCATOR.total_allocated() - before)
    };
    for (mode, gradients) in [
        (sgd as Mode, 0),
        (|run| sgd(run.update_in_backward()), 0),
        // What another optimizer keeps is not known.
        (|run| run.optimizer(|vars| PerParam::<KeepsAll>::with_names(vars, ())), LAYERS),
    ] {
        let found = allocated(mode)?;
        // Lists, and what products work in.
        let rest = found - gradients * LAYER;
        assert!(rest < LAYER / 4, "{found} beside {gradients} times {LAYER}");
    }
    Ok(())
}

/// Twelve equal blocks and one layer that always trains: two moments of each that trains, and never more,
/// not even while the turn passes on.
#[test]
fn in_turns_there_is_the_state_of_one_block_and_of_what_always_trains() -> Result<()> {
    const BLOCKS: usize = 12;
    let _turn = turn();
    for (settings, resting) in [
        (r#"{"policy": "badam", "switch-every": 2, "also-trains": ["layers.12"]}"#, 0),
        (r#"{"policy": "lisa", "every": 2, "blocks": 2, "state": "drop"}"#, 0),
        (r#"{"policy": "hift", "state": "keep", "blocks": 2}"#, BLOCKS + 1 - 2),
    ] {
        let mut run = Training::of(net(BLOCKS + 1)?)
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .policy(from_json(settings)?)
            .length(1, 8 * BLOCKS)?;
        run.next_epoch()?;
        let run = RefCell::new(run);
        let before = ALLOCATOR.allocated();
        let round = |most: &mut usize| -> Result<()> {
            for _ in 0..2 * BLOCKS {
                step(&run)?;
                *most = ALLOCATOR.allocated().saturating_sub(before).max(*most);
            }
            Ok(())
        };
        let mut most = 0;
        round(&mut most)?;
        // Between steps: the state, gradients whose memory is used again, and what products work in.
        let (state, beside) = (2 * (2 + resting) * LAYER, 2 * LAYER + LAYER / 4);
        assert!(most <= state + beside, "{settings}: {most} of {LAYER} each");
        assert!(most + 2 * LAYER >= 2 * 2 * LAYER, "{settings}: {most} is less than the state");
        let bytes = || run.borrow().optimizer_as::<AdamW>(0).map_or(0, AdamW::state_bytes);
        assert!(bytes() <= state, "{settings}: {} of {LAYER} each", bytes());

        let held = ALLOCATOR.allocated() - before;
        let within = held + room(|| round(&mut 0))?;
        assert!(within <= state + beside, "{settings}: {within} of {LAYER} each");
    }
    Ok(())
}

/// Updates nothing.
struct KeepsAll;

impl Optimizer for KeepsAll {
    type Config = ();

    fn new(_: Vec<Var>, (): ()) -> candle_core::Result<Self> {
        Ok(Self)
    }

    fn step(&mut self, _: &GradStore) -> candle_core::Result<()> {
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        0.1
    }

    fn set_learning_rate(&mut self, _: f64) {}
}

#[test]
fn attention_needs_memory_in_proportion_to_the_sequence() -> Result<()> {
    const HEADS: usize = 4;
    let _turn = turn();
    let peak = |length: usize, p: f32| -> Result<usize> {
        let dropout = Dropout::new(p, 1)?;
        let operand = || Var::randn(0f32, 1., (1, HEADS, length, 16), &Device::Cpu);
        let (q, k, v) = (operand()?, operand()?, operand()?);
        let step = || {
            let mask = AttentionMask::None;
            let y = scaled_dot_product_attention_dropout(&q, &k, &v, mask, None, &dropout)?;
            y.sum_all()?.backward()
        };
        room(|| {
            step()?;
            Ok(())
        })
    };
    for p in [0.0, 0.1] {
        let (short, long) = (peak(512, p)?, peak(1024, p)?);
        let scores = HEADS * 1024 * 1024 * 4;
        assert!(2 * long < 5 * short && long < scores / 4, "{p}: {short} {long} of {scores}");
    }
    Ok(())
}

#[test]
fn attention_copies_no_operand() -> Result<()> {
    const SHAPE: (usize, usize, usize) = (2, 256, 512);
    let _turn = turn();
    let operand = || Tensor::randn(0f32, 1., SHAPE, &Device::Cpu);
    let t = [operand()?, operand()?, operand()?];
    let [q, k, v] = t.each_ref();
    let in_heads = |t: &Tensor| t.reshape((2, 256, 8, 64))?.transpose(1, 2);
    let views = [in_heads(q)?, in_heads(k)?, in_heads(v)?];
    let [apart_q, apart_k, apart_v] = views.each_ref();
    let rows = [
        room(|| {
            attention_side_by_side([q, k, v], [8; 2], AttentionMask::None, None, None)?;
            Ok(())
        })?,
        room(|| {
            scaled_dot_product_attention(apart_q, apart_k, apart_v, AttentionMask::None, None)?;
            Ok(())
        })?,
    ];
    // The result, two numbers for each query of a head, and a block of scores and queries for each thread.
    let (result, stats) = (2 * 256 * 512 * 4, 2 * 8 * 256 * 16);
    let blocks =
        (64 * 256 + 64 * 64) * 4 * std::thread::available_parallelism().map_or(1, usize::from);
    for found in rows {
        assert!(found < result + stats + blocks + SMALL, "{found} {result} {stats} {blocks}");
    }
    Ok(())
}

/// Twelve stages of three layers with activations between, so that a stage keeps much more than flows.
#[test]
fn what_is_run_again_is_not_kept() -> Result<()> {
    const STAGES: usize = 12;
    let _turn = turn();
    let var = |_| Ok(Var::randn(0f32, 0.1, (128, 128), &Device::Cpu)?.into_inner());
    let weights: Vec<Tensor> = (0..STAGES * 3).map(var).collect::<Result<_>>()?;
    let xs = Tensor::randn(0f32, 1., (1024, 128), &Device::Cpu)?;
    let stage = |weights: &[Tensor], xs: Tensor| {
        weights.iter().try_fold(xs, |xs, weight| gelu(&linear(&xs, weight, None)?))
    };
    let peak = |every: Option<usize>| -> Result<usize> {
        let step = || -> Result<GradStore> {
            let run = |xs: Tensor, weights: &[Tensor]| {
                let weights = weights.to_vec();
                let run = move |xs| stage(&weights, xs);
                if every.is_some() { recompute(xs, run) } else { run(xs) }
            };
            let mut pieces = weights.chunks(3 * every.unwrap_or(1));
            Ok(backward(&pieces.try_fold(xs.clone(), run)?.sum_all()?)?)
        };
        // All gradients are there in the end, which are not activations.
        Ok(room(|| step().map(drop))?.saturating_sub(weights.len() * 128 * 128 * 4))
    };
    let plain = peak(None)?;
    for every in [1, 2, 3] {
        let again = peak(Some(every))?;
        assert!(5 * again <= 2 * plain, "{again} of {plain} bytes, every {every}");
    }
    Ok(())
}
