//! One run under one policy.

use std::time::{Duration, Instant};

use candle_core::Var;
use candle_nn::ParamsAdamW;
use freeze_core::models::TextContext;
use freeze_core::models::llama::{Config, LlamaForCausalLM, causal_lm_loss};
use freeze_core::optim::{AdamW, GradClip, ParamGroups};
use freeze_core::policy::Output;
use freeze_core::{Staged, Training};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ALLOCATOR;
use crate::args::{ALL, Args};
use crate::common::{Result, policy::policy, progress};
use crate::model;
use crate::text::{Text, Tokens};

/// Steps in which the learning rate rises.
const WARM_UP: f64 = 20.0;
/// Steps that no time is enough for.
const ENDLESS: usize = 1_000_000;
/// Rows of validation text that are looked at.
const CHECKED: usize = 128;
/// No label, as for models of Hugging Face.
const IGNORED: i64 = -100;

/// What came of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) steps: usize,
    pub(crate) seconds: f64,
    /// The parameters that trained in a step, on average, as a share of all.
    pub(crate) trained: f64,
    /// Whether the plan ever was another than at first.
    pub(crate) changed: bool,
    /// Mean cross-entropy of a validation token before and after; JSON has no infinite one.
    pub(crate) before: Option<f64>,
    pub(crate) after: Option<f64>,
    /// The most bytes that were allocated at a time.
    pub(crate) peak: usize,
}

/// Trains for the time, or the steps, that the command line sets.
///
/// # Errors
///
/// Weights or texts cannot be read, or a setting of the run is wrong.
pub(crate) fn run(args: &Args, name: &str, config: &Config, tokens: &Tokens) -> Result<Outcome> {
    let text = Text::read(args.data.as_deref(), tokens, args.length)?;
    let (steps, time) = match args.steps {
        Some(steps) => (steps, Duration::MAX),
        None => (ENDLESS, Duration::from_secs(args.seconds as u64)),
    };
    let typical =
        text.batch(args.batch_size, args.length, &mut ChaCha8Rng::seed_from_u64(args.seed))?;
    let probe = typical.clone();
    let mut run = set_up(args, name, model::net(args, config)?)?
        .length(1, steps)?
        .probe(move |net| Output::of_stages(net, &probe, &TextContext::new()))
        .costs_of(move |net| {
            let scores = net.forward(typical.clone(), &TextContext::new().train(true))?;
            causal_lm_loss(&scores, &typical, IGNORED)
        });
    let before = run.evaluate(|net| check(net, args, &text))?;
    let (first, mut changed) = (run.freezer().plan().clone(), false);
    let unit = args.steps.unwrap_or(args.seconds);
    let bar = progress::bar(name, unit)?;
    let (start, mut done, mut trained) = (Instant::now(), 0, 0.0);
    if let Some(epoch) = run.next_epoch()? {
        let mut rng = epoch.rng();
        while done < steps && start.elapsed() < time {
            let batch = text.batch(args.batch_size, args.length, &mut rng)?;
            trained += share(&run);
            changed |= *run.freezer().plan() != first;
            let keys: Vec<u64> = (0..args.batch_size as u64).collect();
            let scores = run.forward(&keys, batch.clone(), &TextContext::new().train(true))?;
            let step = run.step(&causal_lm_loss(&scores, &batch, IGNORED)?)?;
            done += 1;
            let at = args.steps.map_or(start.elapsed().as_secs() as usize, |_| done);
            bar.set_position(at.min(unit) as u64);
            let leaves = progress::leaves(run.freezer().plan());
            bar.set_message(format!("{leaves}  loss {:.3}", step.loss));
            if step.stopped.is_some() {
                break;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let after = run.evaluate(|net| check(net, args, &text))?;
    let trained = trained / done.max(1) as f64;
    let [before, after] = [before, after].map(|loss| Some(loss).filter(|loss| loss.is_finite()));
    let peak = ALLOCATOR.max_allocated();
    Ok(Outcome { steps: done, seconds, trained, changed, before, after, peak })
}

fn set_up(args: &Args, name: &str, net: LlamaForCausalLM) -> Result<Training<LlamaForCausalLM>> {
    let params = ParamsAdamW { lr: args.lr, weight_decay: 0.1, ..Default::default() };
    let steps = args.steps.unwrap_or(ENDLESS) as f64;
    let run = Training::new(net)?
        .optimizer(|vars| {
            let mut adamw = AdamW::with_names(vars, params)?;
            adamw.set_groups(ParamGroups::new().no_decay_on_biases_and_norms())?;
            Ok(adamw)
        })?
        .rate(move |share| (share * steps / WARM_UP).min(1.0))
        .clip(GradClip::Norm(1.0))?
        .seed(args.seed);
    Ok(match name {
        ALL => run,
        text => run.policy(policy(text)?),
    })
}

/// The share of parameters that train now.
fn share(run: &Training<LlamaForCausalLM>) -> f64 {
    let count = |vars: Vec<Var>| vars.iter().map(|var| var.elem_count()).sum::<usize>() as f64;
    count(run.freezer().trained_vars()) / count(run.freezer().vars())
}

/// The mean cross-entropy of the validation text.
fn check(net: &LlamaForCausalLM, args: &Args, text: &Text) -> candle_core::Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for batch in text.check(args.batch_size, args.length, CHECKED)? {
        let (rows, length) = batch.dims2()?;
        let scores = net.forward(batch.clone(), &TextContext::new())?;
        let loss = causal_lm_loss(&scores, &batch, IGNORED)?.to_scalar::<f32>()?;
        let tokens = rows * (length - 1);
        (sum, count) = (sum + f64::from(loss) * tokens as f64, count + tokens);
    }
    Ok(sum / count.max(1) as f64)
}
