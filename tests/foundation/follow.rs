//! What a hook makes of its schedule: refusals that are not counted, progress that goes on, functions.

use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};
use freeze_core::optim::PerParam;
use freeze_core::policy::from_fn;
use freeze_core::{Elapsed, FreezePlan, Freezer, LayerFreezing, PlanOptimizer, Policy};

use crate::support::{Mlp, OneMore};

fn adamw(net: &Freezer<Mlp>) -> PerParam<AdamW> {
    PerParam::new(net.vars(), ParamsAdamW::default()).expect("an optimizer")
}

/// Whoever refuses, optimizer, freezer or the schedule itself half-way, what it remembers stays.
#[test]
fn a_refused_plan_is_not_counted() {
    let mut net = Freezer::new(Mlp::new(3, 2).expect("a model")).expect("a freezer");
    let mut opt = adamw(&net);
    let mut hook: LayerFreezing<Box<dyn Policy + Send>> =
        LayerFreezing::with_policy(Box::new(OneMore::up_to(usize::MAX)));
    let at = |epoch| Elapsed::new(epoch, 9);
    hook.epoch_end(&mut net, &mut [&mut opt], at(1)).expect("one");
    let plan = net.plan().clone();
    let mut foreign = SGD::new(Vec::new(), 0.1).expect("an optimizer");
    hook.epoch_end(&mut net, &mut [&mut foreign], at(2)).expect_err("no owner");
    hook.epoch_end(&mut net, &mut [], at(2)).expect_err("left out");
    assert_eq!((net.plan(), hook.policy().state()), (&plan, 1.into()));
    let report = hook.epoch_end(&mut net, &mut [&mut opt], at(2)).expect("two");
    assert_eq!((report.depth(), report.change.frozen), (2, vec!["layers.1".to_string()]));
    hook.epoch_end(&mut net, &mut [&mut opt], at(3)).expect("three");
    hook.epoch_end(&mut net, &mut [&mut opt], at(4)).expect_err("there is no fourth leaf");
    // The last leaf trains, whatever the policy says.
    assert_eq!((net.plan().frozen_leaves(), hook.policy().state()), (2, 3.into()));
}

/// What is said one after the other, whether between steps, and what the last answer is.
#[test]
fn progress_goes_on_or_is_refused() {
    let (epoch, step) =
        (|e| (false, Elapsed::new(e, 4)), |e, s| (true, Elapsed::new(e, 4).at_step(s, 40)));
    let within = |e, s| (true, Elapsed::new(e, 4).at_step(s, 10));
    let nothing = "";
    let rows: Vec<(Vec<(bool, Elapsed)>, &str)> = vec![
        (vec![step(0, 1), step(0, 2), step(0, 10), epoch(1), step(1, 11), epoch(2)], nothing),
        (vec![epoch(1), epoch(1)], nothing),
        (vec![step(0, 5), step(0, 5)], nothing),
        (vec![epoch(2), epoch(4)], nothing),
        (
            vec![within(0, 9), within(0, 10), epoch(1), within(1, 1)],
            "`step` goes back from 10 of 10 to 1 of 10; it counts completed ones over the whole run, and may",
        ),
        (vec![step(0, 9), step(0, 8)], "`step` goes back from 9 of 40 to 8 of 40"),
        (vec![epoch(3), epoch(2)], "`epoch` goes back from 3 of 4 to 2 of 4"),
        (vec![epoch(3), step(2, 30)], "`epoch` goes back from 3 of 4 to 2 of 4"),
        (vec![(true, Elapsed::new(0, 4))], "`steps` is 0, expected the steps of the whole run"),
        (vec![epoch(2), (false, Elapsed::new(3, 6))], nothing),
        (vec![epoch(2), (false, Elapsed::new(3, 8))], "`epoch` goes back from 2 of 4 to 3 of 8"),
        (vec![(true, Elapsed::default().at_step(1, 40)), step(0, 2), epoch(1)], nothing),
        (vec![step(0, 41)], "`step` is 41, expected at most the total of the run"),
        (vec![epoch(5)], "`epoch` is 5, expected at most the total of the run"),
    ];
    for (said, expected) in rows {
        let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
        let mut opt = adamw(&net);
        let hook = LayerFreezing::new(0.0, 1.0).and_then(|hook| hook.every_steps(5));
        let mut hook = hook.expect("a hook");
        let mut say = |(between, at): (bool, Elapsed), net: &mut Freezer<Mlp>| match between {
            true => hook.step_end(net, &mut [&mut opt], at).map(drop),
            false => hook.epoch_end(net, &mut [&mut opt], at).map(drop),
        };
        let (last, before) = said.split_last().expect("something");
        before.iter().for_each(|&at| say(at, &mut net).expect("it goes on"));
        let plan = net.plan().clone();
        match say(*last, &mut net) {
            Ok(()) => assert_eq!(expected, nothing, "{said:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains(expected), "{said:?}: {error}");
                assert_eq!(net.plan(), &plan, "{said:?}");
                if error.contains("goes back") {
                    hook.rewind();
                    let (between, at) = *last;
                    let opts: &mut [&mut dyn PlanOptimizer] = &mut [&mut opt];
                    match between {
                        true => hook.step_end(&mut net, opts, at).map(drop),
                        false => hook.epoch_end(&mut net, opts, at).map(drop),
                    }
                    .expect("after a rewind");
                }
            }
        }
    }
    // No step is completed yet: nothing is due, whatever the interval.
    let mut net = Freezer::new(Mlp::new(3, 2).expect("a model")).expect("a freezer");
    let mut hook =
        LayerFreezing::with_policy(OneMore::up_to(usize::MAX)).every_steps(1).expect("a hook");
    let none = hook.step_end(&mut net, &mut [], Elapsed::new(0, 4).at_step(0, 40));
    assert!(none.expect("no step").is_none());
    assert!(hook.step_end(&mut net, &mut [], step(0, 1).1).expect("a step").is_some());
}

#[test]
fn a_function_is_a_schedule() {
    let mut net = Freezer::new(Mlp::new(4, 2).expect("a model")).expect("a freezer");
    let odd = from_fn("odd leaves from epoch 2 on", |elapsed, base| {
        let mut plan = base.clone();
        if elapsed.epoch >= 2 {
            plan.freeze("layers.0")?.freeze("layers.1")?.freeze("layers.3")?;
        }
        Ok(plan)
    });
    let mut hook = LayerFreezing::with_policy(odd);
    assert_eq!(hook.policy().describe(), "odd leaves from epoch 2 on");
    for (epoch, depth, percentage) in [(1, 0, 0.0), (2, 2, 0.75)] {
        let report = hook.epoch_end(&mut net, &mut [], Elapsed::new(epoch, 4)).expect("a report");
        assert_eq!((report.depth(), report.percentage()), (depth, percentage), "epoch {epoch}");
    }
    let refusing = from_fn("refuses", |_, _| FreezePlan::front_frozen(&net.whole().layers, 5));
    let mut other = Freezer::new(Mlp::new(4, 2).expect("a model")).expect("a freezer");
    let mut hook = LayerFreezing::with_policy(refusing);
    hook.epoch_end(&mut other, &mut [], Elapsed::new(1, 4)).expect_err("too deep");
    assert_eq!(other.plan().frozen_leaves(), 0);
}
