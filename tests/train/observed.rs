//! What a policy gets to see of a run's steps, against numbers computed by hand.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{AdamW as Stock, ParamsAdamW};
use freeze_core::optim::{AdamW, ParamsSgd, PerParam, Sgd};
use freeze_core::policy::{Needs, Observation, Seen};
use freeze_core::{Decision, Elapsed, FreezePlan, Norms, Policy, Training};

use crate::rig::*;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
pub type Shared = Arc<Mutex<Vec<Observation>>>;

/// Asks for the same quantities at every step, or every second one, and remembers what it saw.
pub struct Watch {
    needs: Needs,
    every: usize,
    seen: Shared,
}

impl Watch {
    pub fn of(needs: Needs) -> (Self, Shared) {
        let seen = Shared::default();
        (Self { needs, every: 1, seen: Arc::clone(&seen) }, seen)
    }
}

impl Policy for Watch {
    fn needs(&self, at: Elapsed) -> Needs {
        match (at.step + 1).is_multiple_of(self.every) {
            true => self.needs,
            false => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> freeze_core::Result<()> {
        self.seen.lock().expect("no panic").push(seen.clone());
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> freeze_core::Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "watch".into()
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64));
    flat.and_then(|flat| flat.to_vec1()).expect("numbers")
}

fn copies(run: &Training<Net>) -> Vec<(String, Vec<f64>)> {
    let vars = run.freezer().named_vars().into_iter();
    vars.map(|(name, var)| (name, numbers(&var))).collect()
}

fn norms(of: impl Iterator<Item = f64> + Clone) -> Norms {
    let l2 = of.clone().map(|x| x * x).sum::<f64>().sqrt();
    Norms { l1: of.map(f64::abs).sum(), l2 }
}

#[track_caller]
fn assert_close(found: Option<Norms>, expected: Norms, context: &str) {
    let found = found.unwrap_or_else(|| panic!("{context} was not seen"));
    for (found, expected) in [(found.l1, expected.l1), (found.l2, expected.l2)] {
        let near = (found - expected).abs() <= 1e-5 * expected.abs() + 1e-12;
        assert!(near, "{context}: {found} and {expected}");
    }
}

fn with_sgd() -> Result<Training<Net>> {
    let params = ParamsSgd { lr: 0.1, ..Default::default() };
    Ok(Training::new(Net::new(1)?)?
        .optimizer(|vars| Sgd::with_names(vars, params))?
        .length(2, BATCHES)?)
}

fn with_fused() -> Result<Training<Net>> {
    Ok(Training::new(Net::new(1)?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .length(2, BATCHES)?)
}

fn with_stock() -> Result<Training<Net>> {
    let params = ParamsAdamW { lr: 0.02, ..Default::default() };
    Ok(Training::new(Net::new(1)?)?
        .optimizer(|vars| PerParam::<Stock>::with_names(vars, params))?
        .length(2, BATCHES)?)
}

/// Optimizers that measure in their own pass, and one that is measured from outside.
fn runs() -> Result<Vec<(&'static str, Training<Net>)>> {
    Ok(vec![("sgd", with_sgd()?), ("fused", with_fused()?), ("stock", with_stock()?)])
}

#[test]
fn norms_of_gradient_update_and_weight() -> Result {
    let needs = Needs::GRADIENT | Needs::UPDATE | Needs::WEIGHT | Needs::RELATIVE_UPDATE;
    for (kind, run) in runs()? {
        let (watch, seen) = Watch::of(needs);
        let mut run = run.policy(watch);
        let epoch = run.next_epoch()?.ok_or("an epoch")?;
        for which in epoch.shuffled(SAMPLES, SIZE) {
            let before = copies(&run);
            let loss = loss(&run, &which)?;
            let grads = loss.backward()?;
            run.step(&loss)?;
            let after = copies(&run);
            let last = seen.lock().expect("no panic").pop().ok_or("nothing was seen")?;
            assert_eq!(last.at(), run.elapsed(), "{kind}");
            assert_eq!(last.tensors().len(), before.len(), "{kind}");
            let vars = run.freezer().named_vars();
            for ((seen, (name, var)), ((_, before), (_, after))) in
                last.tensors().iter().zip(vars).zip(before.iter().zip(&after))
            {
                let context = format!("{kind} {name}");
                assert_eq!(seen.name(), name);
                let grad = numbers(grads.get(&var).ok_or("a gradient")?);
                let update: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
                assert_close(seen.gradient_norms()?, norms(grad.into_iter()), &context);
                assert_close(seen.update_norms()?, norms(update.iter().copied()), &context);
                assert_close(seen.weight_norms()?, norms(after.iter().copied()), &context);
                let shares = update.iter().zip(before).filter(|(_, before)| **before != 0.0);
                let mean = shares.map(|(u, b)| (u / b).abs()).sum::<f64>() / update.len() as f64;
                let found = seen.mean_relative_update()?.ok_or("a mean")?;
                assert!((found - mean).abs() <= 1e-4 * mean, "{context}: {found} and {mean}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_not_needed_is_absent() -> Result {
    type Getter = (Needs, fn(&Seen) -> bool);
    let getters: [Getter; 4] = [
        (Needs::GRADIENT, |seen| seen.gradient_norms().is_ok_and(|norms| norms.is_some())),
        (Needs::UPDATE, |seen| seen.update_norms().is_ok_and(|norms| norms.is_some())),
        (Needs::WEIGHT, |seen| seen.weight_norms().is_ok_and(|norms| norms.is_some())),
        (Needs::RELATIVE_UPDATE, |seen| seen.mean_relative_update().is_ok_and(|m| m.is_some())),
    ];
    for (kind, _) in runs()? {
        for (needs, _) in getters {
            let (watch, seen) = Watch::of(needs);
            let run = match kind {
                "sgd" => with_sgd()?,
                "fused" => with_fused()?,
                _ => with_stock()?,
            };
            drive(&mut run.policy(watch))?;
            let seen = seen.lock().expect("no panic");
            assert_eq!(seen.len(), 2 * BATCHES);
            for seen in seen.iter().flat_map(Observation::tensors) {
                for (other, is_there) in getters {
                    assert_eq!(is_there(seen), needs == other, "{kind} {needs:?} {other:?}");
                }
            }
        }
    }
    let (watch, seen) = Watch::of(Needs::NONE);
    drive(&mut with_fused()?.policy(watch))?;
    assert!(seen.lock().expect("no panic").is_empty());
    Ok(())
}

#[test]
fn changes_and_sums_since_they_were_last_needed() -> Result {
    let all = Needs::WEIGHT_CHANGE
        | Needs::GRADIENT_CHANGE
        | Needs::SUM_GRADIENTS
        | Needs::GRADIENT_SUM
        | Needs::LOSS_DROP
        | Needs::SIGNAL_TO_NOISE;
    for every in [1, 2] {
        seen_every(every, all)?;
    }
    Ok(())
}

/// Takes an epoch in which `needs` are needed in each step, or in every second one.
fn seen_every(every: usize, needs: Needs) -> Result {
    let (mut watch, seen) = Watch::of(needs);
    watch.every = every;
    let mut run = with_sgd()?.policy(watch);
    type Copies = Vec<Vec<f64>>;
    let mut kept: Option<(Copies, Copies, Copies)> = None;
    let epoch = run.next_epoch()?.ok_or("an epoch")?;
    for (step, which) in epoch.shuffled(SAMPLES, SIZE).enumerate() {
        let loss = loss(&run, &which)?;
        let grads = loss.backward()?;
        let vars: Vec<Var> = run.freezer().vars();
        let grads: Vec<Vec<f64>> =
            vars.iter().map(|var| numbers(grads.get(var).expect("a gradient"))).collect();
        let before: Vec<Vec<f64>> = vars.iter().map(|var| numbers(var)).collect();
        run.step(&loss)?;
        let last = seen.lock().expect("no panic").pop();
        assert_eq!(last.is_some(), (step + 1) % every == 0, "step {step}");
        let Some(last) = last else { continue };
        let after: Vec<Vec<f64>> = vars.iter().map(|var| numbers(var)).collect();
        for (at, seen) in last.tensors().iter().enumerate() {
            let context = format!("step {step} {}", seen.name());
            // Only the steps in which it is needed are summed.
            assert_close(seen.gradient_sum_norms()?, norms(grads[at].iter().copied()), &context);
            let Some((last_grads, last_before, last_after)) = &kept else {
                assert!(
                    seen.weight_change_norms()?.is_none()
                        && seen.gradient_change_norms()?.is_none()
                );
                assert!(seen.first_order_loss_drop()?.is_none(), "{context}");
                continue;
            };
            let minus = |a: &[f64], b: &[f64]| -> Vec<f64> {
                a.iter().zip(b).map(|(a, b)| a - b).collect()
            };
            let change = minus(&after[at], &last_after[at]);
            assert_close(seen.weight_change_norms()?, norms(change.into_iter()), &context);
            let change = minus(&grads[at], &last_grads[at]);
            assert_close(seen.gradient_change_norms()?, norms(change.into_iter()), &context);
            let moved = minus(&before[at], &last_before[at]);
            let drop = -grads[at].iter().zip(moved).map(|(g, dw)| g * dw).sum::<f64>();
            let found = seen.first_order_loss_drop()?;
            assert_eq!(found.is_some(), every == 1, "it is that of steps that follow each other");
            let Some(found) = found else { continue };
            assert!((found - drop).abs() < 1e-6 * drop.abs() + 1e-9, "{context}: {found} {drop}");
        }
        kept = Some((grads, before, after));
    }
    assert!(kept.is_some());
    Ok(())
}

/// Sums gradients, and takes the sums after every second step.
struct Windows(Shared);

impl Policy for Windows {
    fn needs(&self, at: Elapsed) -> Needs {
        let sums = Needs::SUM_GRADIENTS | Needs::GRADIENT | Needs::UPDATE;
        if at.step % 2 == 1 { sums | Needs::GRADIENT_SUM } else { sums }
    }

    fn observe(&mut self, seen: &Observation) -> freeze_core::Result<()> {
        self.0.lock().expect("no panic").push(seen.clone());
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> freeze_core::Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "windows".into()
    }
}

/// A window that ends with a step which does not reach a variable, as the other loss of a GAN does not.
#[test]
fn the_sum_of_what_the_last_step_does_not_reach_is_shown_and_begins_again() -> Result {
    let seen = Shared::default();
    let mut run = with_sgd()?.policy(Windows(Arc::clone(&seen)));
    let epoch = run.next_epoch()?.ok_or("an epoch")?;
    let mut all: Vec<Vec<Option<Vec<f64>>>> = Vec::new();
    for (step, which) in epoch.shuffled(SAMPLES, SIZE).take(4).enumerate() {
        let loss = match step {
            1 => run
                .model()
                .head
                .forward(&Tensor::ones((4, 8), DType::F32, &Device::Cpu)?)?
                .sqr()?
                .mean_all()?,
            _ => loss(&run, &which)?,
        };
        let grads = loss.backward()?;
        all.push(run.freezer().vars().iter().map(|var| grads.get(var).map(numbers)).collect());
        run.step(&loss)?;
    }
    let seen = seen.lock().expect("no panic");
    for (window, [first, second]) in [[0, 1], [2, 3]].into_iter().enumerate() {
        let tensors = seen[second].tensors();
        assert_eq!(tensors.len(), all[0].len(), "window {window}");
        for (at, tensor) in tensors.iter().enumerate() {
            let context = format!("window {window} {}", tensor.name());
            let sum: Vec<f64> = match (&all[first][at], &all[second][at]) {
                (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| a + b).collect(),
                (Some(a), None) => a.clone(),
                _ => panic!("{context}: no gradient"),
            };
            assert_close(tensor.gradient_sum_norms()?, norms(sum.into_iter()), &context);
            let reached = all[second][at].is_some();
            assert_eq!(reached, window == 1 || tensor.name().starts_with("head"), "{context}");
            assert_eq!(tensor.gradient_norms()?.is_some(), reached, "{context}");
            assert_eq!(tensor.update_norms()?.is_some(), reached, "{context}");
        }
    }
    Ok(())
}

#[test]
fn a_resumed_run_sees_what_the_whole_one_sees() -> Result {
    let needs =
        Needs::WEIGHT_CHANGE | Needs::GRADIENT_CHANGE | Needs::SUM_GRADIENTS | Needs::LOSS_DROP;
    for every in [1, 2] {
        resumed_every(every, needs)?;
    }
    Ok(())
}

fn resumed_every(every: usize, needs: Needs) -> Result {
    let run = |seed: u64| -> Result<(Training<Net>, Shared)> {
        let (mut watch, seen) = Watch::of(needs);
        watch.every = every;
        let run = Training::new(Net::new(seed)?)?
            .optimizer(|vars| AdamW::with_names(vars, params()))?
            .policy(watch)
            .seed(3)
            .length(2, BATCHES)?;
        Ok((run, seen))
    };
    let texts = |seen: &Shared| -> Vec<String> {
        seen.lock().expect("no panic").iter().map(|seen| format!("{seen:?}")).collect()
    };
    let folder = tempfile::tempdir()?;
    let path = |step: usize| folder.path().join(format!("{step}.safetensors"));
    let (mut whole, seen) = run(1)?;
    let mut counts = Vec::new();
    while let Some(epoch) = whole.next_epoch()? {
        for which in epoch.shuffled(SAMPLES, SIZE) {
            let loss = loss(&whole, &which)?;
            whole.step(&loss)?;
            counts.push(seen.lock().expect("no panic").len());
            whole.save(path(counts.len()))?;
        }
        whole.epoch_end([])?;
    }
    let all = texts(&seen);
    assert_eq!(all.len(), 2 * BATCHES / every);
    for (step, count) in counts.into_iter().enumerate() {
        let (mut later, seen) = run(50)?;
        later.resume_from(path(step + 1))?;
        if (step + 1) % BATCHES == 0 {
            later.epoch_end([])?;
        }
        drive(&mut later)?;
        assert_eq!(texts(&seen), all[count..], "resumed after step {}", step + 1);
    }
    Ok(())
}

#[test]
fn within_the_backward_what_is_measured_is_seen_and_the_rest_refused() -> Result {
    let needs = Needs::GRADIENT | Needs::WEIGHT;
    let mut texts = Vec::new();
    for within in [false, true] {
        let (watch, seen) = Watch::of(needs);
        let run = with_fused()?.policy(watch);
        let mut run = if within { run.update_in_backward() } else { run };
        drive(&mut run)?;
        let seen = seen.lock().expect("no panic");
        texts.push(seen.iter().map(|seen| format!("{:?}", seen.tensors())).collect::<Vec<_>>());
    }
    assert_eq!(texts[0].len(), 2 * BATCHES);
    assert_eq!(texts[0], texts[1]);
    let (watch, _) = Watch::of(Needs::SUM_GRADIENTS);
    let error = drive(&mut with_fused()?.policy(watch).update_in_backward()).expect_err("refused");
    assert!(error.to_string().contains("leave out `update_in_backward`"), "{error}");
    Ok(())
}
