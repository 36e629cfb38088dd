//! What the official codes decide: `tests/data/policies/rotation.json`.

use freeze_core::policy::{
    BAdam, BAdamOrder, BAdamSettings, HiFtOrder, HiFtSettings, LisaSettings, Moment, Settings,
};
use freeze_core::{Decision, Elapsed, Policy};
use serde_json::Value;

use super::rig::*;

fn recorded() -> Value {
    let path = "tests/data/policies/rotation.json";
    let text = std::fs::read_to_string(path).expect("the recorded decisions");
    serde_json::from_str(&text).expect("JSON")
}

fn rows(of: &Value) -> Vec<&Vec<Value>> {
    let rows = of["rows"].as_array().expect("rows");
    rows.iter().map(|row| row.as_array().expect("a row")).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().expect("numbers").iter().map(number).collect()
}

fn is_marked(marks: &Value, mark: &str) -> bool {
    marks.as_array().expect("marks").iter().any(|found| found == mark)
}

fn policy_of(every: &Value, order: &Value, start: &Value) -> freeze_core::Result<BAdam> {
    let order: BAdamOrder = serde_json::from_value(order.clone()).expect("an order");
    let start = start.as_u64().map(|start| start as usize);
    BAdamSettings { switch_every: number(every), order, start, ..Default::default() }.policy()
}

/// The steps at which everything starts again.
fn restarts(policy: &mut impl Policy, blocks: usize, steps: usize) -> Vec<usize> {
    let (base, mut found) = (body(blocks), Vec::new());
    for step in 0..steps {
        let now = Elapsed::new(0, 1).at_step(step, steps);
        let decision = |policy: &mut dyn Policy| policy.decide(now, &base).expect("a decision");
        let moment = if step == 0 { Moment::Start } else { Moment::Step };
        let Decision { plan, restarts, .. } = decision(policy);
        assert_eq!(policy.is_due(now, moment), !restarts.is_empty(), "{step}");
        if !restarts.is_empty() {
            let trains = |leaf: &usize| !plan.states()[*leaf].is_frozen();
            let trained: Vec<usize> = (0..base.len()).filter(trains).collect();
            assert_eq!(restarts, trained);
            found.push(step);
        }
    }
    found
}

/// The official first block is one step short, which `active_corrected` is not.
#[test]
fn badam() {
    let recorded = recorded();
    let mut short = 0;
    for row in rows(&recorded["badam"]) {
        let [blocks, every, order, start, error, official, corrected, resets, marks] = &row[..]
        else {
            panic!("{row:?}");
        };
        let policy = policy_of(every, order, start);
        if is_marked(marks, "fixed_needs_start") {
            assert_eq!(error, "AttributeError");
            let refused = policy.expect_err("no start").to_string();
            assert!(refused.contains("the order `fixed` needs `start`"), "{refused}");
            continue;
        }
        let (mut policy, corrected) = (policy.expect("a policy"), numbers(corrected));
        for (step, &block) in corrected.iter().enumerate() {
            let found = policy.block(step, number(blocks)).expect("a block");
            assert_eq!(found, Some(block), "{row:?}: {step}");
        }
        let every = number(every);
        let ours = restarts(&mut policy, number(blocks), corrected.len());
        let turns: Vec<usize> = (0..corrected.len()).step_by(every).collect();
        assert_eq!(ours, turns);
        match is_marked(marks, "first_block_short") {
            true => {
                short += 1;
                let early = |step: &usize| if *step == 0 { 0 } else { step - 1 };
                let officials: Vec<usize> = (0..=corrected.len()).step_by(every).collect();
                let officials = officials.iter().map(early).filter(|s| *s < corrected.len());
                assert_eq!(numbers(resets), officials.collect::<Vec<_>>());
                let late = |step: usize| corrected.get(step + 1);
                let officials = numbers(official);
                assert!((0..corrected.len() - 1).all(|at| late(at) == officials.get(at)));
            }
            false => assert_eq!((numbers(official), numbers(resets)), (corrected, ours)),
        }
    }
    assert!(short > 0, "no row shows the fault");
}

#[test]
fn hift() {
    let recorded = recorded();
    let cases = recorded["hift"]["cases"].as_array().expect("cases");
    for case in cases {
        let order: HiFtOrder = serde_json::from_value(case["strategy"].clone()).expect("an order");
        let (blocks, groups) = (number(&case["layers_per_step"]), number(&case["n_groups"]));
        let policy = HiFtSettings { blocks, order, ..Default::default() }.policy();
        let policy = policy.expect("a policy");
        if is_marked(&case["marks"], "more_than_groups") {
            // There it ends; here all train in every step.
            assert_eq!(case["error"], "KeyError");
            let all: Vec<usize> = (0..groups).collect();
            assert!((0..5).all(|step| policy.group(step, groups) == all));
            continue;
        }
        let wraps = is_marked(&case["marks"], "remainder_wraps");
        for row in rows(case) {
            let (step, expected) = (number(&row[0]), numbers(&row[1]));
            let found = (policy.group(step, groups), policy.cycle(step, groups));
            if !wraps {
                assert_eq!(found, (expected, number(&row[2])), "{case}: {step}");
                continue;
            }
            // There, groups take the last blocks and the first together, and cycles drift. Here
            // they are the same in each cycle: full but for the last one.
            let in_cycle = groups.div_ceil(blocks);
            assert_eq!(found.1, step / in_cycle);
            assert_eq!(found.0, policy.group(step % in_cycle, groups));
            let last = step % in_cycle == in_cycle - 1;
            assert_eq!(found.0.len(), if last { groups - blocks * (in_cycle - 1) } else { blocks });
            assert!(last || step >= in_cycle || found.0 == expected, "{case}: {step}");
        }
    }
}

#[test]
fn lisa() {
    let recorded = recorded();
    for row in rows(&recorded["lisa"]) {
        let [layers, blocks, every, steps, error, redraws, active, _, marks] = &row[..] else {
            panic!("{row:?}");
        };
        let (layers, blocks, steps) = (number(layers), number(blocks), number(steps));
        let settings = LisaSettings { blocks, every: number(every), ..Default::default() };
        let mut policy = settings.policy().expect("a policy");
        let base = body(layers);
        if is_marked(marks, "more_than_layers") {
            // There it ends; here all train, and the metric says how many.
            assert_eq!(error, "ValueError");
            let decision = policy.decide(at(0, steps), &base).expect("a decision");
            assert_eq!(decision.plan, base);
            assert_eq!(decision.metrics["lisa/blocks"], layers as f64);
            continue;
        }
        assert_eq!(restarts(&mut policy, layers, steps), numbers(redraws), "{row:?}");
        for step in 0..steps {
            let now = Elapsed::new(0, 1).at_step(step, steps);
            let plan = policy.decide(now, &base).expect("a decision").plan;
            let trained = trained(&plan);
            // Both ends, and two leaves for each block.
            assert_eq!(trained.len(), 2 + 2 * number(active), "{row:?}: {step}");
            assert!(trained.contains(&"embed") && trained.contains(&"head"));
            let drawn = policy.drawn(step, layers);
            let names: Vec<String> = drawn.iter().map(|block| format!("body.{block}.a")).collect();
            assert!(names.iter().all(|name| trained.contains(&name.as_str())));
        }
    }
}

#[test]
fn defaults_are_those_of_the_official_codes() {
    let defaults = &recorded()["defaults"];
    let badam = serde_json::to_value(BAdamSettings::default()).expect("settings");
    assert_eq!(badam["switch-every"], defaults["badam"]["switch_every"]);
    assert_eq!(badam["order"], defaults["badam"]["switch_mode"]);
    let hift = serde_json::to_value(HiFtSettings::default()).expect("settings");
    assert_eq!(hift["blocks"], defaults["hift"]["layers_per_step"]);
    assert_eq!(hift["order"], defaults["hift"]["strategy"]);
    let lisa = serde_json::to_value(LisaSettings::default()).expect("settings");
    assert_eq!(lisa["blocks"], defaults["lisa"]["n_active"]);
    assert_eq!(lisa["every"], defaults["lisa"]["interval"]);
}
