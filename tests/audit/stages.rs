//! Stages that `run` passes over.

use std::collections::HashSet;

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, linear};
use freeze_core::audit::{Cause, Outcome, audit};
use freeze_core::{Freezable, Staged, Stages};

use crate::models::{WIDTH, batch, builder, freezer};

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    stem: Linear,
    blocks: Vec<[Linear; 2]>,
    head: Linear,
    #[freeze(skip)]
    passed_over: HashSet<NetStage>,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
        if self.passed_over.contains(&stage) {
            return Ok(xs);
        }
        match stage {
            NetStage::Stem => self.stem.forward(&xs)?.tanh(),
            NetStage::Blocks(i, j) => self.blocks[i][j].forward(&xs)?.tanh(),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

#[test]
fn a_stage_that_is_passed_over_is_named_by_its_leaves() {
    use NetStage::{Blocks, Head, Stem};
    for passed_over in [vec![], vec![Blocks(0, 1)], vec![Stem, Head], vec![Blocks(0, 0)]] {
        let vb = builder();
        let part = |name: &str| linear(WIDTH, WIDTH, vb.pp(name));
        let net = (|| {
            let blocks = vec![[part("a")?, part("b")?]];
            let passed_over = passed_over.iter().copied().collect();
            Ok(Net { stem: part("stem")?, blocks, head: part("head")?, passed_over })
        })();
        let (net, x) = (freezer(net), batch());
        let audit = audit(&net, |net| net.forward(x.clone(), &())?.sqr()?.mean_all());
        let audit = audit.expect("an audit");
        for stage in net.stages() {
            let expected = match passed_over.contains(&stage) {
                true => Outcome::Missing(Cause::Unused),
                false => Outcome::Trained,
            };
            let leaf = audit.leaf(&stage.to_string()).expect("a leaf");
            assert_eq!(leaf.outcome, expected, "{stage} of {passed_over:?}");
        }
        assert_eq!(audit.ensure_clean().is_ok(), passed_over.is_empty());
    }
}
