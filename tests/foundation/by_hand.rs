//! The hook in a loop that is written by hand.

use freeze_core::{Elapsed, Freezer, LayerFreezing, LeafState, Result, freeze_layers};

use crate::support::Mlp;

#[test]
fn the_functional_form_trains_the_last_leaf_that_can() -> Result<()> {
    let mut net = Freezer::new(Mlp::new(3, 2)?)?;
    let mut plan = net.plan().clone();
    plan.freeze("layers.[12]")?;
    net.apply(&plan, &mut [])?;
    freeze_layers(&mut net, &mut [], 1.0, 0.0, 1.0)?;
    assert_eq!(net.plan().state(0), Some(LeafState::TRAINED));
    assert_eq!(net.plan().frozen_leaves(), 2);
    LayerFreezing::new(0.0, 1.0)?.epoch_end(&mut net, &mut [], Elapsed::new(1, 1))?;
    assert_eq!(net.plan(), &plan, "as the hook");
    Ok(())
}
