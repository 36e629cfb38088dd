//! What a person sees: the summary table.

use candle_nn::Linear;
use freeze_core::{Freezable, FreezePlan, Freezer, LeafState};

use crate::support::{Mlp, Tied, randn};

#[test]
fn the_summary_lists_leaves_and_totals() {
    let mut net = Freezer::new(Mlp::new(3, 4).expect("a model")).expect("a freezer");
    let mut plan = FreezePlan::front_frozen(net.whole(), 1).expect("a plan");
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

#[test]
fn the_summary_says_what_a_tied_leaf_really_does() {
    let mut net = Freezer::new(Tied::new().expect("a model")).expect("a freezer");
    let scaled = |lr_scale| LeafState::Trained { lr_scale };
    let tie = "`embed.weight` trains with `head`, although it is frozen in `embed`";
    // (embed, head, what the table says of each, the tie, parameters that train)
    for (embed, head, of_embed, of_head, reported, trained) in [
        (scaled(1.0), scaled(1.0), "trained", "trained", None, 24),
        (
            LeafState::Frozen,
            scaled(1.0),
            "frozen, but weight trains with head",
            "trained",
            Some(tie),
            24,
        ),
        (
            LeafState::Frozen,
            scaled(0.5),
            "frozen, but weight trains with head, lr x 0.5",
            "trained, lr x 0.5",
            Some(tie),
            24,
        ),
        (
            scaled(1.0),
            scaled(0.5),
            "trained, but weight trains with head, lr x 0.5",
            "trained, lr x 0.5",
            None,
            24,
        ),
        (
            scaled(1.0),
            LeafState::Frozen,
            "trained",
            "frozen, but weight trains with embed",
            Some("`embed.weight` trains with `embed`, although it is frozen in `head`"),
            24,
        ),
        (LeafState::Frozen, LeafState::Frozen, "frozen", "frozen", None, 9),
    ] {
        let mut plan = FreezePlan::all_trained(net.whole()).expect("a plan");
        plan.set(0, embed).and_then(|plan| plan.set(2, head)).expect("a plan");
        let change = net.apply(&plan, &mut []).expect("applied");
        let ties: Vec<String> = change.ties.iter().map(ToString::to_string).collect();
        assert_eq!(ties, reported.map(String::from).into_iter().collect::<Vec<_>>());
        let summary = net.summary().expect("a summary");
        assert_eq!((summary.total(), summary.trained()), (24, trained));
        let text = summary.to_string();
        // A row of several lines, its cells put together.
        let said = |path: &str| {
            let rows = text.lines().skip_while(|line| !line.contains(&format!("   {path} ")));
            let own = rows.enumerate().take_while(|(i, line)| *i == 0 || line.starts_with("    "));
            own.map(|(_, line)| line.rsplit("  ").find(|cell| !cell.trim().is_empty()))
                .map(|cell| cell.unwrap_or_default().trim().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!((said("embed"), said("head")), (of_embed.into(), of_head.into()), "{text}");
        assert!(text.contains("weight [5, 3] = head.weight"), "{text}");
        assert!(text.contains("weight [5, 3] = embed.weight"), "{text}");
        assert_eq!(text.matches(" = ").count(), 2, "{text}");
    }
}
