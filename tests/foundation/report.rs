//! What a person sees: the summary table.

use candle_nn::Linear;
use freeze_core::{Freezable, FreezePlan, Freezer};

use crate::support::{Mlp, randn};

#[test]
fn the_summary_lists_leaves_and_totals() {
    let mut net = Freezer::new(Mlp::new(3, 4).expect("a model")).expect("a freezer");
    let mut plan = FreezePlan::upto(net.whole(), 1).expect("a plan");
    plan.train("layers.2", 0.1).expect("a plan");
    net.apply(&plan, &mut []).expect("applied");
    let summary = net.summary().expect("a summary");
    assert_eq!((summary.total(), summary.trained()), (60, 40));
    let text = summary.to_string();
    let row =
        |path: &str| text.lines().find(|line| line.contains(path)).expect("a row").to_string();
    for (path, words) in [
        ("layers.0", ["Linear", "weight [4, 4]", "20", "frozen"]),
        ("layers.1", ["Linear", "weight [4, 4]", "20", "trained"]),
        ("layers.2", ["Linear", "weight [4, 4]", "20", "trained, lr x 0.1"]),
    ] {
        for word in words {
            assert!(row(path).contains(word), "{word} in {}", row(path));
        }
    }
    assert!(text.ends_with("3 leaves, 60 parameters: 40 trained, 20 not"), "{text}");
}

#[test]
fn plain_tensors_are_said_to_be_no_variables() {
    let plain = vec![Linear::new(randn((2, 2)), None)];
    let summary = plain.summary().expect("a summary");
    assert_eq!((summary.total(), summary.trained()), (4, 0));
    assert!(summary.to_string().contains("no variables"), "{summary}");
}
