//! Loss, gradients, running statistics and generators are bit for bit those without.

use candle_core::Result;

use super::chain::*;

#[test]
fn a_step_is_the_same_whatever_is_run_again() -> Result<()> {
    for (kind, make) in KINDS.into_iter().enumerate() {
        let len = make(0)?.stages.len();
        for frozen in [0, len / 2, len] {
            for whose in [Backward::Ours, Backward::Candles] {
                let plain = make(frozen)?;
                let expected = plain.step(&plain.stages, whose)?;
                for n in 1..=len {
                    let chain = make(frozen)?;
                    let stages = chain.with(&every(n, len), again);
                    let found = chain.step(&stages, whose)?;
                    assert_eq!(
                        found, expected,
                        "model {kind}, {frozen} frozen, every {n}, {whose:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn stages_are_run_again_within_stages_that_are() -> Result<()> {
    for make in KINDS {
        let (plain, chain) = (make(1)?, make(1)?);
        let expected = plain.step(&plain.stages, Backward::Ours)?;
        let inner =
            |stages: Vec<Stage>| again(stages.into_iter().map(|one| again(vec![one])).collect());
        let stages = chain.with(&[0..3, 3..4], inner);
        let stages = vec![again(stages[..2].to_vec()), again(stages[2..].to_vec())];
        assert_eq!(chain.step(&stages, Backward::Ours)?, expected);
    }
    Ok(())
}

#[test]
fn a_second_backward_and_a_later_step_are_the_same_too() -> Result<()> {
    let (plain, chain) = (mlp(0)?, mlp(0)?);
    let stages = chain.with(&every(2, 6), again);
    for _ in 0..3 {
        assert_eq!(
            chain.step(&stages, Backward::Ours)?,
            plain.step(&plain.stages, Backward::Ours)?
        );
    }
    let loss = chain.loss(&stages)?;
    let grads = [freeze_core::backward(&loss)?, freeze_core::backward(&loss)?];
    for var in &chain.vars {
        let [one, other] = grads.each_ref().map(|grads| grads.get(var).expect("a gradient"));
        assert_eq!(crate::support::flat(one), crate::support::flat(other));
    }
    Ok(())
}

#[test]
fn frozen_stages_leave_no_graph_and_others_few_nodes() -> Result<()> {
    let chain = mlp(3)?;
    let nodes =
        |stages: &[Stage]| Ok::<_, candle_core::Error>(chain.loss(stages)?.sorted_nodes().len());
    let plain = nodes(&chain.stages)?;
    // Frozen stages that are run in vain leave nothing either.
    assert_eq!(nodes(&chain.with(&[0..1, 1..3], again))?, plain);
    // A link for weight, bias and input, and an outlet.
    let again = chain.with(&every(2, 6)[2..], again);
    let own = 2 * 2 + 1 + 1;
    let inside = 2 * (1 + 1 + 1); // linear, gelu, dropout
    assert_eq!(nodes(&again)?, plain - inside + own);
    Ok(())
}
