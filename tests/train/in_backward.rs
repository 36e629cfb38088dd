//! Updates within the backward pass: the weights of a run without, and nothing half-applied in silence.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Conv2dConfig, Optimizer, ParamsAdamW, VarBuilder, loss::cross_entropy};
use freeze_core::init::Seeded;
use freeze_core::nn::ops::{AttentionMask, gelu, linear, relu, scaled_dot_product_attention};
use freeze_core::nn::{self, Conv2d, Embedding, LayerNorm, Linear};
use freeze_core::optim::{
    Adam, AdamW, GradAccumulator, GradClip, Momentum, ParamsAdam, ParamsSgd, PerParam, Sgd,
};
use freeze_core::train::OnNonFinite;
use freeze_core::{Error, Freezable, FreezePlan, Freezer, Training};

/// Parts for losses of several kinds.
#[derive(Freezable)]
struct Net {
    words: Embedding,
    filters: Conv2d,
    norm: LayerNorm,
    body: Vec<Linear>,
    head: Linear,
}

type Run = Training<Net>;

fn net(dtype: DType) -> Result<Net> {
    let vb: VarBuilder<'_> = Seeded::builder(3, dtype, &Device::Cpu);
    let body = |i: usize| nn::linear(8, 8, vb.pp(format!("body.{i}")));
    Ok(Net {
        words: nn::embedding(8, 8, vb.pp("words"))?,
        filters: nn::conv2d(1, 2, 2, Conv2dConfig::default(), vb.pp("filters"))?,
        norm: nn::layer_norm(8, 1e-5, vb.pp("norm"))?,
        body: (0..4).map(body).collect::<Result<_>>()?,
        head: nn::linear(8, 8, vb.pp("head"))?,
    })
}

fn x(net: &Net) -> Result<Tensor> {
    let numbers = (0..32).map(|i| ((i * 7 % 11) as f32 - 5.) / 5.).collect::<Vec<_>>();
    Tensor::from_vec(numbers, (4, 8), &Device::Cpu)?.to_dtype(net.head.weight().dtype())
}

fn classes(scores: &Tensor) -> Result<Tensor> {
    cross_entropy(&scores.to_dtype(DType::F32)?, &Tensor::new(&[0u32, 3, 5, 1], &Device::Cpu)?)
}

fn perceptron(net: &Net) -> Result<Tensor> {
    let hidden = net.body.iter().try_fold(x(net)?, |x, layer| gelu(&layer.forward(&x)?))?;
    classes(&net.head.forward(&net.norm.forward(&hidden)?)?)
}

/// One layer in three places, with others between.
fn shared(net: &Net) -> Result<Tensor> {
    let [first, second, ..] = &net.body[..] else { panic!("four layers") };
    let order = [first, second, first, &net.head, first];
    classes(&order.into_iter().try_fold(x(net)?, |x, layer| relu(&layer.forward(&x)?))?)
}

/// The words are scored by their own embeddings.
fn tied(net: &Net) -> Result<Tensor> {
    let words = net.words.forward(&Tensor::new(&[1u32, 2, 7, 0], &Device::Cpu)?)?;
    let hidden = net.body[0].forward(&words)?;
    classes(&linear(&hidden, net.words.embeddings(), None)?)
}

fn convolution(net: &Net) -> Result<Tensor> {
    let image = x(net)?.reshape((4, 1, 2, 4))?.pad_with_zeros(3, 0, 1)?;
    let features = relu(&net.filters.forward(&image)?)?.flatten_from(1)?;
    classes(&net.head.forward(&net.body[0].forward(&features)?)?)
}

fn attention(net: &Net) -> Result<Tensor> {
    let x = net.body[3].forward(&x(net)?)?;
    let heads = |layer: &Linear| layer.forward(&x)?.reshape((1, 4, 2, 4))?.transpose(1, 2);
    let [q, k, v] = [heads(&net.body[0])?, heads(&net.body[1])?, heads(&net.body[2])?];
    let y = scaled_dot_product_attention(&q, &k, &v, AttentionMask::Causal, None)?;
    classes(&net.head.forward(&y.transpose(1, 2)?.reshape((4, 8))?)?)
}

/// candle's own operations have a part in some of the gradients, before ours and after.
fn by_candle_too(net: &Net) -> Result<Tensor> {
    let first = net.body[0].weight();
    let hidden = net.body[1].forward(&net.body[0].forward(&x(net)?)?)?;
    let hidden = hidden.matmul(first)?.matmul(&net.body[2].weight().t()?)?;
    classes(&net.head.forward(&hidden)?)? + (net.head.weight().sqr()?.mean_all()? * 0.1)?
}

/// Weights that are no variables, as large as those that are.
fn derived(net: &Net) -> Result<Tensor> {
    let sum = |i: usize, j: usize| net.body[i].weight() + net.body[j].weight();
    let low = linear(&net.body[0].forward(&x(net)?)?, &sum(0, 1)?, None)?.tanh()?;
    let low = linear(&net.body[1].forward(&low)?, &sum(1, 2)?, None)?.tanh()?;
    classes(&net.head.forward(&low)?)
}

/// The lowest operation reads a weight that is not tracked there and trains at the top.
fn read_again(net: &Net) -> Result<Tensor> {
    let low = linear(&net.body[0].forward(&x(net)?)?, &net.head.weight().detach(), None)?;
    let product = linear(&low, net.body[1].weight(), None)?;
    classes(&net.head.forward(&product)?)
}

/// Two stages run again in the backward, with a layer that both use.
fn recomputed(net: &Net) -> Result<Tensor> {
    let stage = |layers: [&Linear; 2]| {
        let layers = layers.map(Linear::clone);
        move |xs: Tensor| layers.iter().try_fold(xs, |xs, layer| gelu(&layer.forward(&xs)?))
    };
    let [first, second, third, _] = &net.body[..] else { panic!("four layers") };
    let low = freeze_core::recompute(first.forward(&x(net)?)?, stage([second, third]))?;
    let high = freeze_core::recompute(low, stage([third, first]))?;
    classes(&net.head.forward(&high)?)
}

type Loss = fn(&Net) -> Result<Tensor>;

const LOSSES: [(&str, Loss); 9] = [
    ("perceptron", perceptron),
    ("shared", shared),
    ("tied", tied),
    ("convolution", convolution),
    ("attention", attention),
    ("by candle too", by_candle_too),
    ("read again", read_again),
    ("derived", derived),
    ("recomputed", recomputed),
];

type Build = fn(Run) -> freeze_core::Result<Run>;

fn sgd(run: Run, momentum: Momentum) -> freeze_core::Result<Run> {
    run.optimizer(|vars| {
        Sgd::with_names(vars, ParamsSgd { lr: 0.1, momentum, ..Default::default() })
    })
}

fn adam_w(run: Run) -> freeze_core::Result<Run> {
    let params = ParamsAdamW { lr: 0.05, ..Default::default() };
    run.optimizer(|vars| AdamW::with_names(vars, params))
}

const OPTIMIZERS: [(&str, Build); 9] = [
    ("AdamW", adam_w),
    ("Adam", |run| run.optimizer(|vars| Adam::with_names(vars, ParamsAdam::default()))),
    ("SGD", |run| sgd(run, Momentum::None)),
    ("momentum", |run| sgd(run, Momentum::Heavy(0.9))),
    ("Nesterov", |run| sgd(run, Momentum::Nesterov(0.9))),
    ("candle's AdamW", |run| {
        let params = ParamsAdamW { lr: 0.05, ..Default::default() };
        run.optimizer(|vars| PerParam::<candle_nn::AdamW>::with_names(vars, params))
    }),
    ("candle's SGD", |run| {
        run.optimizer(|vars| {
            let vars = vars.into_iter().map(|var| var.var).collect();
            Ok(<candle_nn::SGD as candle_nn::Optimizer>::new(vars, 0.1)?)
        })
    }),
    ("two", |run| {
        sgd(
            run.optimizer_for("body.**", |vars| AdamW::with_names(vars, Default::default()))?,
            Momentum::None,
        )
    }),
    ("clipped by value", |run| adam_w(run.clip(GradClip::Value(0.01))?)),
];

const STEPS: usize = 3;

fn run(build: Build, dtype: DType) -> freeze_core::Result<Run> {
    build(Training::new(net(dtype)?)?)?.length(2, STEPS)
}

fn bits(run: &Run) -> Vec<(String, Vec<u64>)> {
    all_bits(run.freezer().named_tensors().expect("tensors"))
}

fn all_bits(tensors: Vec<(String, Tensor)>) -> Vec<(String, Vec<u64>)> {
    let bits = |tensor: &Tensor| -> Result<Vec<u64>> {
        let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        Ok(numbers.into_iter().map(f64::to_bits).collect())
    };
    let bits = |(name, tensor)| (name, bits(&tensor).expect("numbers"));
    tensors.into_iter().map(bits).collect()
}

fn drive(run: &mut Run, loss: Loss) -> freeze_core::Result<()> {
    while run.next_epoch()?.is_some() {
        for _ in 0..STEPS {
            let loss = loss(run.model())?;
            assert!(run.step(&loss)?.updated);
        }
        run.epoch_end([])?;
    }
    Ok(())
}

#[test]
fn weights_are_those_of_a_run_without_for_every_graph_and_optimizer() -> freeze_core::Result<()> {
    for (graph, loss) in LOSSES {
        for (optimizer, build) in OPTIMIZERS {
            let before = bits(&run(build, DType::F32)?);
            let mut plain = run(build, DType::F32)?;
            let mut eager = run(build, DType::F32)?.update_in_backward();
            drive(&mut plain, loss)?;
            drive(&mut eager, loss)?;
            assert_eq!(bits(&eager), bits(&plain), "{graph} by {optimizer}");
            assert_ne!(bits(&eager), before, "{graph} by {optimizer}");
        }
    }
    Ok(())
}

/// The memory of gradients lives on in a run, and not in a loop by hand.
#[test]
fn weights_are_those_of_a_loop_by_hand_for_every_graph() -> freeze_core::Result<()> {
    for (graph, loss) in LOSSES {
        for batches in [1, 3] {
            let mut run = run(adam_w, DType::F32)?.accumulate(batches)?;
            run.next_epoch()?;
            let whole = Freezer::new(net(DType::F32)?)?;
            let params = ParamsAdamW { lr: 0.05, ..Default::default() };
            let mut adam = AdamW::with_names(whole.planned_vars(), params)?;
            let mut sums = GradAccumulator::new(whole.vars());
            for step in 1..=STEPS {
                run.step(&loss(run.model())?)?;
                match batches {
                    1 => adam.step(&freeze_core::backward(&loss(&whole)?)?)?,
                    _ => sums.accumulate(&loss(&whole)?)?,
                }
                if batches > 1 && batches == step {
                    sums.step(&mut adam)?;
                }
            }
            let by_hand = whole.named_tensors()?;
            assert_eq!(bits(&run), all_bits(by_hand), "{graph}, {batches} batches a step");
        }
    }
    Ok(())
}

#[test]
fn plans_turns_rates_and_halves_change_nothing_about_it() -> freeze_core::Result<()> {
    for dtype in [DType::F32, DType::BF16] {
        let whole = |mode: fn(Run) -> Run| -> freeze_core::Result<_> {
            let mut run = mode(run(adam_w, dtype)?).turns(2)?.rate(|done| 1.0 - done);
            let mut plans = [1, 4, 0].into_iter();
            let mut findings = Vec::new();
            while run.next_epoch()?.is_some() {
                for _ in 0..STEPS {
                    for loss in [perceptron, shared] {
                        let loss = loss(run.model())?;
                        run.step(&loss)?;
                    }
                    if let Some(front) = plans.next() {
                        run.freeze_front(front)?;
                    }
                }
                findings.extend(run.epoch_end([])?.findings);
            }
            Ok((bits(&run), findings))
        };
        assert_eq!(whole(Training::update_in_backward)?, whole(|run| run)?, "{dtype:?}");
    }
    Ok(())
}

#[test]
fn a_leaf_that_is_frozen_reads_the_weight_that_another_one_trains() -> freeze_core::Result<()> {
    let tied = |mode: fn(Run) -> Run| -> freeze_core::Result<_> {
        let mut net = net(DType::F32)?;
        net.body[1] = net.head.clone();
        let run = sgd(Training::new(net)?, Momentum::None)?.length(2, STEPS)?;
        let mut run = mode(run);
        let mut plan = FreezePlan::all_trained(run.freezer().whole())?;
        plan.freeze("body.1")?;
        run.apply(&plan)?;
        drive(&mut run, |net| {
            // Through candle's own operation, of which nothing is seen.
            let low = net.body[0].forward(&x(net)?)?.matmul(net.body[1].weight())?;
            classes(&net.head.forward(&low)?)
        })?;
        Ok(bits(&run))
    };
    assert_eq!(tied(Training::update_in_backward)?, tied(|run| run)?);
    Ok(())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: freeze_core::Result<T>, words: &[&str]) {
    let error = result.expect_err("a mistake").to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` in: {error}");
    }
}

#[test]
fn what_needs_all_gradients_is_refused_by_name() -> freeze_core::Result<()> {
    let eager = || Ok::<_, Error>(run(adam_w, DType::F32)?.update_in_backward());
    let mode = "update_in_backward";
    refused(eager()?.clip(GradClip::Norm(1.0))?.next_epoch(), &[mode, "GradClip::Norm"]);
    refused(eager()?.accumulate(2)?.next_epoch(), &[mode, "accumulate"]);
    for policy in [OnNonFinite::Skip, OnNonFinite::Stop] {
        refused(eager()?.on_non_finite(policy).next_epoch(), &[mode, &format!("{policy:?}")]);
    }
    let mut run = eager()?;
    run.next_epoch()?;
    let before = bits(&run);
    run.optimizer_as_mut::<AdamW>(0).expect("one").set_clip(GradClip::Norm(1.0))?;
    let loss = perceptron(run.model())?;
    refused(run.step(&loss), &[mode, "AdamW as it is set"]);
    assert_eq!(bits(&run), before);
    run.optimizer_as_mut::<AdamW>(0).expect("one").set_clip(GradClip::None)?;
    assert!(run.step(&loss)?.updated);
    let elsewhere = Tensor::new(1f32, &Device::Cpu)?;
    refused(run.step(&elsewhere), &["no gradient reached"]);
    assert!(run.step(&perceptron(run.model())?)?.updated, "nothing had moved");
    Ok(())
}

fn zero_with_no_slope(x: &Tensor) -> Result<Tensor> {
    (x - x.detach())?.sqrt()
}

/// The gradients of the lower layer are NaN, the loss and those of the upper one are not.
fn no_number_below(net: &Net) -> Result<Tensor> {
    classes(&net.head.forward(&zero_with_no_slope(&net.body[0].forward(&x(net)?)?)?)?)
}

/// Of the head's gradient, candle makes a part.
fn with_penalty(net: &Net) -> Result<Tensor> {
    perceptron(net)? + net.head.weight().sqr()?.mean_all()?
}

#[test]
fn a_run_that_a_step_left_in_part_goes_on_from_a_checkpoint_alone() -> freeze_core::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.safetensors");
    let mut expected = run(adam_w, DType::F32)?;
    drive(&mut expected, perceptron)?;
    // What each step fails with, and whether the graph is another one than the run has seen.
    for (failing, words) in [
        (no_number_below as Loss, &["body.0.weight", "NaN"][..]),
        (with_penalty, &["before it was whole", "candle's"]),
        (read_again, &["before it was whole", "another operation"]),
    ] {
        let mut run = run(adam_w, DType::F32)?.update_in_backward();
        run.next_epoch()?;
        let loss = perceptron(run.model())?;
        run.step(&loss)?;
        run.save(&path)?;
        let loss = failing(run.model())?;
        let (before, error) = (bits(&run), run.step(&loss).expect_err("it fails"));
        assert!(matches!(error, Error::HalfUpdated { .. }), "{error:?}");
        refused::<()>(Err(error), words);
        refused::<()>(Err(run.step(&loss).expect_err("half")), &["resume the run"]);
        refused(run.save(&path), &["resume the run"]);
        refused(run.next_epoch(), &["resume the run"]);
        assert_ne!(bits(&run), before, "some have moved");
        run.resume_from(&path)?;
        while run.next_epoch()?.is_some() {
            let done = if run.elapsed().step < STEPS { run.elapsed().step } else { 0 };
            for _ in done..STEPS {
                let loss = perceptron(run.model())?;
                run.step(&loss)?;
            }
            run.epoch_end([])?;
        }
        assert_eq!(bits(&run), bits(&expected));
    }
    Ok(())
}

#[test]
fn a_graph_that_failed_is_analysed_before_it_is_taken_again() -> freeze_core::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.safetensors");
    for failing in [with_penalty as Loss, read_again] {
        let mut run = run(adam_w, DType::F32)?.update_in_backward();
        run.next_epoch()?;
        let loss = perceptron(run.model())?;
        run.step(&loss)?;
        run.save(&path)?;
        let loss = failing(run.model())?;
        run.step(&loss).expect_err("another graph");
        run.resume_from(&path)?;
        run.next_epoch()?;
        let loss = failing(run.model())?;
        assert!(run.step(&loss)?.updated);
    }
    Ok(())
}

#[test]
fn an_error_before_anything_moved_leaves_the_run_whole() -> freeze_core::Result<()> {
    let mut run = run(adam_w, DType::F32)?.update_in_backward();
    run.next_epoch()?;
    let before = bits(&run);
    // The highest gradients are at fault.
    let low = |net: &Net| classes(&zero_with_no_slope(&net.head.forward(&x(net)?)?)?);
    let error = run.step(&low(run.model())?).expect_err("NaN");
    assert!(matches!(error, Error::NonFinite { .. }), "{error:?}");
    assert_eq!(bits(&run), before);
    let loss = perceptron(run.model())?;
    assert!(run.step(&loss)?.updated);
    Ok(())
}

/// Each loss twice, the second time with the weights that the first step left, on a thread of its own.
#[test]
fn a_loss_that_is_used_again_elsewhere_gives_the_same_bits() -> freeze_core::Result<()> {
    for (name, loss) in [("perceptron", perceptron as Loss), ("shared", shared)] {
        let course = |build: fn(Run) -> Run| -> freeze_core::Result<_> {
            let run = Training::new(net(DType::F32)?)?.length(1, 4)?.retain_graph();
            let mut run = build(adam_w(run)?);
            run.next_epoch()?;
            for _ in 0..2 {
                let value = loss(run.model())?;
                run.step(&value)?;
                std::thread::scope(|scope| scope.spawn(|| run.step(&value).map(drop)).join())
                    .expect("no panic")?;
            }
            let tensors = run.freezer().named_tensors()?.into_iter();
            let numbers = tensors.map(|(_, tensor)| tensor.flatten_all()?.to_vec1::<f32>());
            Ok(numbers.collect::<Result<Vec<_>>>()?)
        };
        assert!(course(|run| run)? == course(Run::update_in_backward)?, "{name}");
    }
    Ok(())
}
