use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Result;
use crate::model::{DropoutState, Freezable, LeafTree, Mapper, Skipped, inspect};
use crate::nn::Dropout;

/// A model that implements only `map_params`.
struct ByHand<M>(M);

impl<M: Freezable> Freezable for ByHand<M> {
    const LEAVES: LeafTree = M::LEAVES;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        Ok(Self(self.0.map_params(mapper)?))
    }
}

fn generators<M: Freezable>(model: &M) -> Vec<(String, DropoutState)> {
    let found = inspect::generators(&|mapper| model.visit_params(mapper)).unwrap();
    found.into_iter().map(|(path, generator)| (path, generator.state())).collect()
}

#[test]
fn both_walks_pass_the_same_generators() {
    let dropout = |seed| Dropout::new(0.5, seed).unwrap();
    let shared = dropout(9);
    let model = ByHand((
        dropout(0),
        vec![dropout(1), shared.cloned()],
        [dropout(2), shared],
        BTreeMap::from([("key".to_string(), dropout(3))]),
        (Some(dropout(4)), None::<Dropout>),
        (Box::new(dropout(5)), Rc::new(dropout(6))),
    ));
    let found = generators(&model.0);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["0", "1.0", "1.1", "2.0", "2.1", "3.key", "4.0", "5.0", "5.1"]);
    let seeds: Vec<u64> = found.iter().map(|(_, state)| state.seed).collect();
    assert_eq!(seeds, [0, 1, 9, 2, 9, 3, 4, 5, 6]);
    assert_eq!(generators(&model), found);
}
