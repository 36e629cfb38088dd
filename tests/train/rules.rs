//! The rules above every policy, and what its decisions do besides freezing.

use std::sync::{Arc, Mutex};

use candle_core::Var;
use freeze_core::optim::{AdamW, StatePolicy};
use freeze_core::policy::{Moment, Needs, Observation, Output, Seen};
use freeze_core::train::Stopped;
use freeze_core::{
    Decision, Elapsed, FreezePlan, JsonLines, LayerFreezing, LeafState, Norms, Policy, Training,
};

use crate::rig::*;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Decides by a function of the completed steps, before the first one and after each.
struct By<F>(F);

impl<F: FnMut(usize, &FreezePlan) -> freeze_core::Result<Decision>> Policy for By<F> {
    fn is_due(&self, _: Elapsed, _: Moment) -> bool {
        true
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> freeze_core::Result<Decision> {
        (self.0)(at.step, base)
    }

    fn describe(&self) -> String {
        "by step".into()
    }
}

fn run() -> Result<Training<Net>> {
    Ok(Training::new(Net::new(1)?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .length(2, BATCHES)?)
}

fn steps(run: &mut Training<Net>, n: usize) -> Result {
    let epoch = run.next_epoch()?.ok_or("an epoch")?;
    for which in epoch.shuffled(SAMPLES, SIZE).take(n) {
        let loss = loss(run, &which)?;
        run.step(&loss)?;
    }
    Ok(())
}

fn all_frozen(_: usize, base: &FreezePlan) -> freeze_core::Result<Decision> {
    let mut plan = base.clone();
    plan.freeze("**")?;
    Ok(Decision::new(plan))
}

fn frozen(run: &Training<Net>) -> Vec<bool> {
    run.freezer().plan().states().iter().map(|state| state.is_frozen()).collect()
}

#[test]
fn the_last_leaf_that_can_train_does() -> Result {
    let mut plain = run()?.policy(By(all_frozen));
    let before = weights(&plain);
    steps(&mut plain, 1)?;
    assert_eq!(frozen(&plain), [true, true, true, true, false]);
    let after = weights(&plain);
    let moved: Vec<&str> = before
        .iter()
        .zip(&after)
        .filter(|((_, before), (_, after))| before != after)
        .map(|((name, _), _)| name.as_str())
        .filter(|name| !name.contains("running"))
        .collect();
    assert_eq!(moved, ["head.weight", "head.bias"]);

    let mut asked = run()?.policy(LayerFreezing::with_policy(By(all_frozen)).may_freeze_all());
    steps(&mut asked, 0)?;
    assert_eq!(frozen(&asked), [true; 5]);

    // Where the user froze the head, the last leaf that can is another one.
    let mut by_hand = run()?.policy(By(all_frozen));
    let mut plan = by_hand.freezer().plan().clone();
    plan.freeze("head")?.train("body.1", 0.5)?;
    by_hand.apply(&plan)?;
    steps(&mut by_hand, 1)?;
    assert_eq!(frozen(&by_hand), [true, true, true, false, true]);
    assert_eq!(by_hand.freezer().plan().state(3), Some(LeafState::Trained { lr_scale: 0.5 }));
    Ok(())
}

#[test]
fn what_the_user_froze_stays_frozen() -> Result {
    let thaws = |_: usize, base: &FreezePlan| {
        let mut plan = base.clone();
        plan.train("**", 1.0)?;
        Ok(Decision::new(plan))
    };
    let mut run = run()?.policy(By(thaws));
    let mut plan = run.freezer().plan().clone();
    plan.freeze("stem")?;
    run.apply(&plan)?;
    steps(&mut run, 2)?;
    assert_eq!(frozen(&run), [true, false, false, false, false]);
    Ok(())
}

/// How many updates each variable of the stem and of the head has had, and the bytes of all state.
fn updates(run: &Training<Net>) -> Result<(u64, u64, usize)> {
    let optimizer = run.optimizer_as::<AdamW>(0).ok_or("an optimizer")?;
    let vars: Vec<(String, Var)> = run.freezer().named_vars();
    let of = |name: &str| {
        let var = vars.iter().find(|(known, _)| known == name).map(|(_, var)| var);
        var.and_then(|var| optimizer.updates(var)).ok_or(format!("no `{name}`"))
    };
    Ok((of("stem.weight")?, of("head.weight")?, optimizer.state_bytes()))
}

#[test]
fn a_decision_says_what_becomes_of_optimizer_state() -> Result {
    // The stem rests after two steps and trains again after four.
    let rests = |state: Option<StatePolicy>| {
        move |step: usize, base: &FreezePlan| {
            let mut plan = base.clone();
            if (2..4).contains(&step) {
                plan.freeze("stem")?;
            }
            let decision = Decision::new(plan);
            Ok(match state {
                Some(state) => decision.keeping(state),
                None => decision,
            })
        }
    };
    let whole = {
        let mut run = run()?;
        steps(&mut run, 3)?;
        updates(&run)?.2
    };
    for (state, rested, woken) in [
        (None, 0, 1),
        (Some(StatePolicy::Drop), 0, 1),
        (Some(StatePolicy::Keep), 2, 3),
        (Some(StatePolicy::Offload), 2, 3),
    ] {
        let mut run = run()?.policy(By(rests(state)));
        steps(&mut run, 3)?;
        let (stem, head, bytes) = updates(&run)?;
        assert_eq!((stem, head), (rested, 3), "{state:?}");
        assert_eq!(bytes == whole, rested > 0, "{state:?}: {bytes} of {whole} bytes");
        // The plan is applied again at the next epoch and after a resume, and the state stays.
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("run.safetensors");
        run.save(&path)?;
        let mut later = self::run()?.policy(By(rests(state)));
        later.resume_from(&path)?;
        assert_eq!(updates(&later)?, (stem, head, bytes), "{state:?}");
        for run in [&mut run, &mut later] {
            steps(run, 2)?;
            assert_eq!(updates(run)?.0, woken, "{state:?}");
        }
        assert_same(&weights(&run), &weights(&later), &format!("{state:?}"));
    }
    Ok(())
}

#[test]
fn trained_leaves_restart_when_a_decision_says_so() -> Result {
    let restarts = |step: usize, base: &FreezePlan| {
        let decision = Decision::new(base.clone());
        Ok(if step == 3 { decision.restarting([4]) } else { decision })
    };
    let mut run = run()?.policy(By(restarts));
    steps(&mut run, 4)?;
    let (stem, head, _) = updates(&run)?;
    assert_eq!((stem, head), (4, 1));
    Ok(())
}

#[test]
fn a_policy_ends_the_run_and_the_last_state_is_saved() -> Result {
    for (step, epoch_end) in [(3, false), (BATCHES, true)] {
        let folder = tempfile::tempdir()?;
        let ends = move |at: usize, base: &FreezePlan| {
            let mut decision = Decision::new(base.clone());
            decision.ends_run = at == step;
            Ok(decision)
        };
        let manager = || freeze_core::checkpoint::Manager::new(folder.path());
        let mut run = run()?.policy(By(ends)).checkpoints(manager()?);
        let epoch = run.next_epoch()?.ok_or("an epoch")?;
        for (at, which) in epoch.shuffled(SAMPLES, SIZE).enumerate() {
            let loss = loss(&run, &which)?;
            let report = run.step(&loss)?;
            assert_eq!(report.stopped.is_some(), at + 1 >= step && !epoch_end, "{at}");
            assert_eq!(report.saved.is_some(), at + 1 == step && !epoch_end, "{at}");
        }
        let report = run.epoch_end([])?;
        assert_eq!(report.stopped, Some(Stopped::Policy));
        assert_eq!((run.elapsed().step, run.next_epoch()?), (step, None));
        let mut later = self::run()?.policy(By(ends)).checkpoints(manager()?);
        later.resume()?.ok_or("a checkpoint")?;
        assert_eq!((later.stopped(), later.next_epoch()?), (Some(Stopped::Policy), None));
    }
    Ok(())
}

#[test]
fn reasons_are_kept_saved_and_written() -> Result {
    let folder = tempfile::tempdir()?;
    let lines = folder.path().join("run.jsonl");
    let says = |step: usize, base: &FreezePlan| {
        let mut plan = base.clone();
        if step < 2 {
            return Ok(Decision::new(plan));
        }
        plan.freeze("stem")?;
        Ok(Decision::new(plan).because("stem", "froze: two steps are over"))
    };
    let mut run = run()?.policy(By(says)).metrics(JsonLines::create(&lines)?);
    steps(&mut run, 3)?;
    assert_eq!(run.freezer().why("stem"), Some("froze: two steps are over"));
    assert_eq!(run.freezer().why("head"), None);
    let text = std::fs::read_to_string(&lines)?;
    let line = r#"{"leaf":"stem","why":"froze: two steps are over","epoch":0,"epochs":2,"step":2,"steps":10}"#;
    assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{text}");
    let path = folder.path().join("run.safetensors");
    run.save(&path)?;
    let mut later = self::run()?.policy(By(says));
    later.resume_from(&path)?;
    assert_eq!(later.freezer().why("stem"), Some("froze: two steps are over"));
    // By hand nothing is decided.
    later.thaw()?;
    assert_eq!(later.freezer().why("stem"), None);
    Ok(())
}

#[test]
fn a_number_that_is_not_finite_is_an_error_by_name() {
    for value in [f64::NAN, f64::INFINITY] {
        let seen = Seen::new(0, "body.3.weight", 4).gradient(Norms { l1: 1.0, l2: value });
        let error = seen.gradient_norms().expect_err("not finite").to_string();
        assert!(error.contains("gradient of `body.3.weight`"), "{error}");
        let seen = Seen::new(0, "body.3.weight", 4).relative_update(value);
        let error = seen.mean_relative_update().expect_err("not finite").to_string();
        assert!(error.contains("relative update of `body.3.weight`"), "{error}");
    }
}

/// Remembers what it sees before the first step.
struct Starts(Needs, Arc<Mutex<Vec<Observation>>>);

impl Policy for Starts {
    fn needs(&self, at: Elapsed) -> Needs {
        if at.step == 0 { self.0 } else { Needs::NONE }
    }

    fn observe(&mut self, seen: &Observation) -> freeze_core::Result<()> {
        self.1.lock().expect("no panic").push(seen.clone());
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> freeze_core::Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "starts".into()
    }
}

#[test]
fn before_the_first_step_it_sees_tensors_a_probe_and_costs() -> Result {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let needs = Needs::TENSORS | Needs::OUTPUTS | Needs::COSTS;
    let (xs, ys) = data()?;
    let probe = xs.clone();
    let mut with_costs = run()?
        .policy(Starts(needs, Arc::clone(&seen)))
        .probe(move |net| {
            let stem = candle_nn::Module::forward(&net.stem, &probe)?;
            assert!(!stem.track_op(), "everything is frozen");
            Ok(vec![Output { leaves: 1, tensor: stem }])
        })
        .costs_of(move |net| {
            let scores = candle_core::ModuleT::forward_t(net, &xs, false)?;
            candle_nn::loss::cross_entropy(&scores, &ys)
        });
    let mut plain = run()?;
    for run in [&mut with_costs, &mut plain] {
        steps(run, 2)?;
    }
    let seen = seen.lock().expect("no panic");
    let start = &seen[0];
    assert!(start.is_at_start() && start.loss().is_none());
    let named = with_costs.freezer().named_vars();
    assert_eq!(start.tensors().len(), named.len());
    for (seen, (name, var)) in start.tensors().iter().zip(&named) {
        assert_eq!((seen.name(), seen.tensor().map(|var| var.id())), (&**name, Some(var.id())));
    }
    assert_eq!(start.stage_outputs().len(), 1);
    let costs = start.calibration().ok_or("costs")?;
    assert!(costs.forecast(with_costs.freezer().plan())?.gradient_bytes > 0);
    // To measure has changed nothing.
    assert_same(&weights(&with_costs), &weights(&plain), "after a calibration");
    assert_eq!(updates(&with_costs)?, updates(&plain)?);

    // An optimizer of which this loss reaches nothing has no update to measure.
    let optimizer = |vars| AdamW::with_names(vars, params());
    let mut parts = Training::new(Net::new(1)?)?
        .optimizer_for("head", optimizer)?
        .optimizer(optimizer)?
        .policy(Starts(Needs::COSTS, Arc::default()))
        .costs_of(|net| net.head.weight().sqr()?.sum_all())
        .length(1, BATCHES)?;
    assert!(parts.next_epoch()?.is_some());

    let mut without = run()?.policy(Starts(Needs::OUTPUTS, Arc::default()));
    let error = without.next_epoch().expect_err("no probe").to_string();
    assert!(error.contains("give the run one by `probe`"), "{error}");
    Ok(())
}
