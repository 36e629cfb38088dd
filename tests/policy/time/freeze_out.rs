//! FreezeOut against what its official code recorded, and by hand.

use freeze_core::policy::{Acts, By, FreezeOut, FreezeOutSettings, Moment, Settings, Spacing};
use freeze_core::{Elapsed, LeafState, Policy};
use serde_json::Value;

use super::rig::{
    always, count, decided, frozen, is_marked, leaves, net, number, rates, recorded, refused, rows,
    step,
};

fn golden() -> Value {
    recorded(include_str!("../../data/policies/freezeout.json"))
}

fn policy(t0: f64, how: &Value, scaled: bool) -> FreezeOut {
    let how = serde_json::from_value(how.clone()).expect("a spacing");
    let settings = FreezeOutSettings { t0, how, scaled, ..Default::default() };
    settings.policy().expect("a policy")
}

#[test]
fn equals_every_recorded_row() {
    let (mut compared, mut froze) = (0, 0);
    for case in golden()["cases"].as_array().expect("cases") {
        if ["one_layer", "t0_zero", "thousand_iterations"]
            .iter()
            .any(|fault| is_marked(&case["marks"], fault))
        {
            continue;
        }
        let (n, total) = (count(&case["n_layers"]), count(&case["total_steps"]));
        let (t0, lr) = (number(&case["t_0"]), number(&case["base_lr"]));
        let mut policy = policy(t0, &case["how_scale"], case["scale_lr"] == true);
        let ends = policy.ends(n);
        for (end, recorded) in ends.iter().zip(case["t_i"].as_array().expect("ends")) {
            assert!((end - number(recorded)).abs() <= 1e-15, "{end} for {recorded}");
        }
        let base = leaves(n);
        for row in rows(&case["rows"]) {
            let at = step(count(&row[0]), total);
            let plan = policy.decide(at, &base).expect("a decision").plan;
            let flags = plan.states().iter().map(|state| Value::Bool(state.is_frozen()));
            assert_eq!(Value::Array(flags.collect()), row[3], "{n} layers, {t0}, {at:?}");
            for ((rate, expected), end) in rates(&plan).into_iter().zip(rows_of(&row[2])).zip(&ends)
            {
                let Some(expected) = expected else {
                    froze += 1;
                    continue;
                };
                let error = (rate.expect("trained") * lr - expected).abs();
                assert!(error <= 1e-12 * lr / end, "{rate:?} for {expected} at {at:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500 && froze > 500, "{compared} rates and {froze} frozen ones");
}

fn rows_of(rates: &Value) -> impl Iterator<Item = Option<f64>> {
    rates.as_array().expect("rates").iter().map(Value::as_f64)
}

/// The recorded code counts 1000 steps for an epoch of 900 and never freezes the last layers. Here
/// time is the share of the steps there are.
#[test]
fn shorter_epochs_end_every_cosine() {
    let golden = golden();
    let mut cases = golden["cases"].as_array().expect("cases").iter();
    let case = cases.find(|case| is_marked(&case["marks"], "thousand_iterations")).expect("a case");
    let (n, total) = (count(&case["n_layers"]), count(&case["total_steps"]));
    let mut policy = policy(number(&case["t_0"]), &case["how_scale"], true);
    let last = rows(&case["rows"]).last().expect("a row");
    assert!(last[3].as_array().expect("flags").iter().filter(|flag| **flag == false).count() > 1);
    let end = policy.decide(step(total, total), &leaves(n)).expect("a decision").plan;
    assert_eq!(end.frozen_leaves(), n - 1);
    assert_eq!(rates(&end)[n - 1], Some(0.0), "the last cosine ends with the run");
    for (leaf, share) in policy.ends(n).into_iter().enumerate().take(n - 1) {
        let last = (share * total as f64).floor() as usize;
        let plan =
            |at| policy.clone().decide(step(at, total), &leaves(n)).expect("a decision").plan;
        assert!(
            !plan(last).states()[leaf].is_frozen() && plan(last + 1).states()[leaf].is_frozen()
        );
    }
}

#[test]
fn what_divides_by_zero_there_has_a_meaning_here() {
    let base = leaves(1);
    for at in [0, 500, 1000] {
        let one = decided(FreezeOutSettings::default(), step(at, 1000), &base).expect("one leaf");
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * at as f64 / 1000.0).cos());
        assert!((rates(&one.plan)[0].expect("trained") - cosine).abs() < 1e-15);
    }
    for how in [Spacing::Linear, Spacing::Squared, Spacing::Cubic] {
        for scaled in [true, false] {
            let settings = FreezeOutSettings { t0: 0.0, how, scaled, ..Default::default() };
            let plan = decided(settings, step(0, 100), &leaves(3)).expect("a decision").plan;
            assert_eq!(frozen(&plan), ["0"], "from the start");
        }
    }
    let tiny = FreezeOutSettings { t0: 1e-110, ..Default::default() };
    assert_eq!(frozen(&decided(tiny, step(0, 100), &leaves(3)).expect("a decision").plan), ["0"]);
    assert!(
        decided(FreezeOutSettings::default(), step(5, 10), &leaves(0))
            .expect("none")
            .plan
            .is_empty()
    );
}

/// The recorded estimate is that of ends of one leaf more, times 1.3 where they are linear.
#[test]
fn the_time_saved_is_estimated() {
    let golden = golden();
    for row in rows(&golden["speedup"]["rows"]) {
        let costs: Vec<f64> = row[4].as_array().expect("costs").iter().map(number).collect();
        let policy = policy(number(&row[2]), &row[3], true);
        let ends = policy.ends(costs.len() + 1);
        let theirs = FreezeOut::time_saved(&costs, &ends[..costs.len()]).expect("an estimate");
        let factor = if row[3] == "linear" { 1.3 } else { 1.0 };
        assert!((factor * theirs - number(&row[5])).abs() < 1e-12, "{row:?}");
        let ours = FreezeOut::time_saved(&costs, &policy.ends(costs.len())).expect("an estimate");
        assert!(ours < theirs, "every leaf ends a little later than they assume");
    }
    for (costs, ends, what) in [
        (&[1.0, 2.0][..], &[1.0][..], "`ends` is 1, expected as many as costs"),
        (&[0.0], &[1.0], "`costs` is 0, expected a finite number above 0"),
        (&[f64::NAN], &[1.0], "`costs` is NaN, expected a finite number above 0"),
    ] {
        assert_eq!(refused(FreezeOut::time_saved(costs, ends)), what);
    }
}

#[test]
fn refines_what_was_set_by_hand_and_leaves_alone_what_is_always() {
    let mut base = leaves(4);
    base.set(2, LeafState::Frozen).and_then(|p| p.train("3", 0.5)).expect("a plan");
    let settings = FreezeOutSettings { t0: 0.2, scaled: false, ..Default::default() };
    let plan = decided(settings.clone(), step(50, 100), &base).expect("a decision").plan;
    assert_eq!(frozen(&plan), ["0", "1", "2"]);
    assert_eq!(rates(&plan)[3], Some(0.25));
    let plan = decided(settings, step(50, 100), &always()).expect("a decision").plan;
    assert_eq!((frozen(&plan), rates(&plan)[0]), (vec!["second"], Some(0.5)));
}

#[test]
fn leaves_of_a_block_end_together() {
    let settings =
        FreezeOutSettings { how: Spacing::Linear, t0: 0.0, by: By::Block, ..Default::default() };
    let decision = decided(settings, step(40, 100), &net(2)).expect("a decision");
    assert_eq!(frozen(&decision.plan), ["embed", "body.0.a", "body.0.b"]);
    let why: Vec<String> = decision.why.iter().map(ToString::to_string).collect();
    let because = "40 of 100 steps are over, its rate falls to 0 at";
    assert_eq!(why[1], format!("`body.0.a` froze: {because} 0.333 of the run"));
    assert_eq!(why.len(), 3);
}

#[test]
fn acts_from_the_start_after_every_step() {
    let policy = FreezeOutSettings::default().policy().expect("a policy");
    for moment in [Moment::Start, Moment::Step, Moment::Epoch] {
        assert!(policy.is_due(step(usize::from(moment != Moment::Start), 10), moment));
    }
    let no_steps = Elapsed::new(1, 2);
    assert!(policy.is_due(no_steps, Moment::Epoch), "to say what it lacks");
    let error = refused(policy.clone().decide(no_steps, &leaves(2)));
    assert_eq!(
        error,
        "`steps` is 0, expected the steps of the whole run: `Elapsed::at_step(step, steps)`"
    );
    let epochs = FreezeOutSettings { acts: Acts::AT_EPOCHS, ..Default::default() };
    let plan = decided(epochs, Elapsed::new(3, 4), &leaves(3)).expect("by epochs").plan;
    assert_eq!(frozen(&plan), ["0", "1"]);
}

#[test]
fn refuses_settings_that_make_no_sense() {
    for (settings, what) in [
        (
            FreezeOutSettings { t0: 1.1, ..Default::default() },
            "`t0` is 1.1, expected a number from 0 to 1",
        ),
        (
            FreezeOutSettings { t0: -0.1, ..Default::default() },
            "`t0` is -0.1, expected a number from 0 to 1",
        ),
        (
            FreezeOutSettings { t0: f64::NAN, ..Default::default() },
            "`t0` is NaN, expected a number from 0 to 1",
        ),
        (
            FreezeOutSettings { acts: Acts { epochs: false, steps: 0 }, ..Default::default() },
            "`steps` is 0, expected at least 1 where `epochs` is false",
        ),
    ] {
        assert_eq!(refused(settings.policy()), what);
    }
    let unmatched =
        FreezeOutSettings { by: By::Patterns(vec!["tail".into()]), ..Default::default() };
    assert!(refused(decided(unmatched, step(0, 1), &net(1))).starts_with("no leaf matches `tail`"));
}
