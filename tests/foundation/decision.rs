//! What a policy says beside its plan: a true sentence for each leaf that changed, and its metrics.

use freeze_core::policy::from_fn;
use freeze_core::train::LayerFreezing;
use freeze_core::{Decision, Elapsed, FreezePlan, Freezer, Policy, Result, Training};

use crate::support::Mlp;

const NAMES: [&str; 2] = [Decision::LAYERS_FROZEN, Decision::PERCENTAGE_FROZEN];

/// What `schedule` says at each progress in turn.
fn said(schedule: impl Policy, at: &[Elapsed]) -> Result<Vec<Vec<String>>> {
    let mut net = Freezer::new(Mlp::new(5, 2)?)?;
    let mut hook = LayerFreezing::with_policy(schedule);
    let mut turn = |&at| {
        let report = hook.epoch_end(&mut net, &mut [], at)?;
        let turned = report.change.frozen.len() + report.change.thawed.len();
        assert!(report.why.len() >= turned, "{report:?}");
        Ok(report.why.iter().map(ToString::to_string).collect())
    };
    at.iter().map(&mut turn).collect()
}

#[test]
fn the_linear_schedule_says_how_much_is_over_and_what_is_due() -> Result<()> {
    let linear = || freeze_core::policy::Linear::new(0.0, 1.0);
    assert_eq!(
        said(linear()?, &[0, 1, 1, 3].map(|epoch| Elapsed::new(epoch, 4)))?,
        [
            vec![],
            vec!["`layers.0` froze: 1 of 4 epochs are over, 1 of 5 leaves are due"],
            vec![],
            vec![
                "`layers.1` froze: 3 of 4 epochs are over, 3 of 5 leaves are due",
                "`layers.2` froze: 3 of 4 epochs are over, 3 of 5 leaves are due",
            ],
        ]
    );
    let step = Elapsed::new(0, 1).at_step(15, 20);
    let by_step = said(linear()?, &[step])?;
    assert_eq!(by_step[0][2], "`layers.2` froze: 15 of 20 steps are over, 3 of 5 leaves are due");
    Ok(())
}

/// Freezes, scales and thaws, and says why of some; also of what does not change.
struct Talks;

impl Policy for Talks {
    fn decide(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let mut plan = base.clone();
        if elapsed.epoch == 1 {
            plan.freeze("layers.[02]")?.train("layers.[34]", 0.5)?;
        }
        let decision = Decision::new(plan).metric("norm", elapsed.epoch as f64);
        Ok(decision
            .because("layers.4", "trains at half the rate: 2 < 3")
            .because("layers.1", "stays")
            .because("layers.2", "froze: 1 < 2")
            .because("none", "is no leaf"))
    }

    fn describe(&self) -> String {
        "talks(a=1)".into()
    }
}

#[test]
fn there_is_a_reason_for_each_leaf_that_turned_and_for_no_other() -> Result<()> {
    let [first, second] = [1, 2].map(|epoch| Elapsed::new(epoch, 4));
    assert_eq!(
        said(Talks, &[first, first, second])?,
        [
            vec![
                "`layers.0` froze, as talks(a=1) asks",
                "`layers.2` froze: 1 < 2",
                "`layers.4` trains at half the rate: 2 < 3",
            ],
            vec![],
            vec![
                "`layers.0` thawed, as talks(a=1) asks",
                "`layers.2` froze: 1 < 2",
                "`layers.4` trains at half the rate: 2 < 3",
            ],
        ]
    );
    let silent = from_fn("by hand", |_, base| {
        let mut plan = base.clone();
        plan.freeze("layers.3")?;
        Ok(plan)
    });
    assert_eq!(said(silent, &[first])?, [["`layers.3` froze, as by hand asks"]]);
    Ok(())
}

/// In the order of their names, to the policy's sink, the run's history and the report.
#[test]
fn metrics_of_the_policys_own_go_where_the_others_go() -> Result<()> {
    let mut seen = Vec::new();
    let mut net = Freezer::new(Mlp::new(5, 2)?)?;
    let hook = LayerFreezing::with_policy(Talks);
    let mut hook = hook.with_sink(|name: &str, value, _: Elapsed| {
        seen.push((name.to_string(), value));
    });
    let report = hook.epoch_end(&mut net, &mut [], Elapsed::new(1, 4))?;
    drop(hook);
    assert_eq!((report.depth(), report.percentage()), (1, 0.4));
    let expected = [(NAMES[0], 1.0), (NAMES[1], 0.4), ("norm", 1.0)];
    assert_eq!(seen, expected.map(|(name, value)| (name.to_string(), value)));
    assert!(report.metrics.into_iter().eq(seen));

    let mut run = Training::new(Mlp::new(5, 2)?)?
        .optimizer(|vars| freeze_core::optim::Sgd::with_names(vars, Default::default()))?
        .policy(LayerFreezing::with_policy(Talks))
        .length(2, 1)?;
    assert!(run.next_epoch()?.is_some());
    let loss = run.model().layers[4].weight().sqr()?.sum_all()?;
    run.step(&loss)?;
    let frozen = run.epoch_end([])?.frozen.expect("a policy");
    assert_eq!(frozen.why.len(), 3);
    for (name, value) in expected {
        assert_eq!(run.history().last(name), Some(value), "{name}");
    }
    Ok(())
}
