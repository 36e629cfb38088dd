//! The line of leaves beside a progress bar.

use candle_core::{DType, Device};
use candle_nn::{Linear, VarBuilder, linear};
use freeze_core::{Freezer, init::Seeded};

use crate::common::progress::leaves;

#[test]
fn one_character_says_how_a_leaf_trains() {
    let net = |count| -> Vec<Linear> {
        let vb: VarBuilder<'_> = Seeded::builder(1, DType::F32, &Device::Cpu);
        (0..count).map(|at| linear(2, 2, vb.pp(at)).unwrap()).collect()
    };
    let mut plan = Freezer::new(net(4)).unwrap().plan().clone();
    assert_eq!(leaves(&plan), "████");
    plan.freeze_front(2).unwrap().train("2", 0.5).unwrap();
    assert_eq!(leaves(&plan), "··▒█");
    // Many: three leaves to a character, which shows the one that trains most.
    let mut plan = Freezer::new(net(60)).unwrap().plan().clone();
    plan.freeze_front(5).unwrap();
    assert_eq!(leaves(&plan), format!("·{}", "█".repeat(19)));
}
