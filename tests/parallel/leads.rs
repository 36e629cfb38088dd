//! Rank 0 decides, writes and reports.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::optim::AdamW;
use freeze_core::parallel::Group;
use freeze_core::policy::{Moment, Needs, Observation};
use freeze_core::train::JsonLines;
use freeze_core::{Decision, Elapsed, Error, FreezePlan, LayerFreezing, Policy, Result, Training};

use crate::net::*;

/// Freezes as many leaves as its rank plus 1 after two steps; fails at a step if asked to.
struct OfItsOwn {
    rank: usize,
    seen: usize,
    fails_at: usize,
}

impl Policy for OfItsOwn {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        // Each rank would act at another step.
        moment == Moment::Step && at.step == 2 + self.rank
    }

    fn needs(&self, _: Elapsed) -> Needs {
        Needs::GRADIENT
    }

    fn observe(&mut self, _: &Observation) -> Result<()> {
        self.seen += 1;
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        if at.step == self.fails_at {
            return Err(Error::from(candle_core::Error::Msg("cannot decide".into())));
        }
        let mut plan = base.clone();
        plan.freeze_front(self.rank + 1)?;
        Ok(Decision::new(plan)
            .because("stem", format!("froze: {} seen", self.seen))
            .metric("seen", 2.0))
    }

    fn describe(&self) -> String {
        "of its own".into()
    }
}

fn run(group: &Group, fails_at: usize) -> Result<Training<Net>> {
    let policy = OfItsOwn { rank: group.rank(), seen: 0, fails_at };
    Training::new(Net::new(0, DType::F32)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .policy(policy)
        .parallel(group.clone())
        .length(1, BATCHES)
}

#[test]
fn the_decision_of_rank_0_is_that_of_all() -> Result<()> {
    let ends: Vec<Result<_>> = on_ranks(3, |group| {
        let mut run = run(&group, 100)?;
        let mut frozen = Vec::new();
        drive(&mut run, |run| {
            frozen.push(run.freezer().plan().frozen_leaves());
            Ok(true)
        })?;
        Ok((frozen, run.freezer().why("stem").map(str::to_string)))
    });
    for end in ends {
        let (frozen, why): (Vec<usize>, Option<String>) = end?;
        assert_eq!(frozen, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(why.is_some_and(|why| why.contains("2 seen")));
    }
    Ok(())
}

/// A policy that comes when the ranks have met.
#[test]
fn rank_0_is_asked_of_a_policy_that_replaces_another() -> Result<()> {
    let ends: Vec<Result<_>> = on_ranks(2, |group| {
        let mut first = run(&group, 100)?.policy(LayerFreezing::new(0.5, 0.0)?);
        first.next_epoch()?;
        let mut run = first.policy(OfItsOwn { rank: group.rank(), seen: 0, fails_at: 100 });
        drive(&mut run, |_| Ok(true))?;
        Ok(run.freezer().plan().frozen_leaves())
    });
    for end in ends {
        assert_eq!(end?, 1);
    }
    Ok(())
}

#[test]
fn ranks_that_replace_others_are_refused() {
    for end in on_ranks(2, |group| {
        let mut first = run(&group, 100)?;
        first.next_epoch()?;
        first.parallel(group).next_epoch().map(drop)
    }) {
        let said = end.expect_err("an error").to_string();
        assert!(said.contains("after the ranks had met"), "{said}");
    }
}

#[test]
fn a_policy_that_fails_on_rank_0_fails_everywhere() {
    for (rank, end) in
        on_ranks(2, |group| drive(&mut run(&group, 2)?, |_| Ok(true))).iter().enumerate()
    {
        let said = end.as_ref().expect_err("an error").to_string();
        assert!(
            said.contains("cannot decide") && said.starts_with("rank 0: ") == (rank == 1),
            "{said}"
        );
    }
}

#[test]
fn only_rank_0_writes_and_watches() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, rank: usize| folder.path().join(format!("{name}.{rank}"));
    let ends = on_ranks(3, |group| {
        let (rank, watched) = (group.rank(), Arc::new(AtomicUsize::new(0)));
        let hook = LayerFreezing::new(0.1, 1.0)?.every_steps(1)?;
        let hook = hook.with_sink(JsonLines::create(path("policy", rank))?);
        let counted = watched.clone();
        let mut run = Training::new(Net::new(0, DType::F32)?)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .policy(hook)
            .metrics(JsonLines::create(path("run", rank))?)
            .watch(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            })
            .parallel(group)
            .length(2, BATCHES)?;
        drive(&mut run, |_| Ok(true))?;
        Ok((run.history().records().len(), watched.load(Ordering::Relaxed)))
    });
    let ends: Vec<(usize, usize)> = ends.into_iter().collect::<Result<_>>()?;
    assert!(ends.iter().all(|(records, _)| *records == ends[0].0 && *records > 0));
    assert_eq!([0, 1, 2].map(|rank| ends[rank].1), [2 * BATCHES, 0, 0]);
    for name in ["policy", "run"] {
        for rank in 0..3 {
            let lines = fs::read_to_string(path(name, rank)).map_or(0, |text| text.lines().count());
            assert_eq!(lines > 0, rank == 0, "{name} of rank {rank}: {lines} lines");
        }
    }
    Ok(())
}

/// Wants the costs of a run.
struct Costly;

impl Policy for Costly {
    fn needs(&self, _: Elapsed) -> Needs {
        Needs::COSTS
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "costly".into()
    }
}

#[test]
fn what_rank_0_fails_with_before_the_first_step_is_told_to_all() {
    let said = on_ranks(2, |group| {
        let run = || -> Result<Training<Net>> {
            Training::new(Net::new(0, DType::F32)?)?
                .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
                .policy(Costly)
                .costs_of(|_| Err(candle_core::Error::Msg("no costs".into())))
                .parallel(group)
                .length(EPOCHS, BATCHES)
        };
        let done = run().and_then(|mut run| drive(&mut run, |_| Ok(true)));
        done.expect_err("rank 0 has no costs").to_string()
    });
    said.iter().for_each(|said| assert!(said.contains("no costs"), "{said}"));
}
