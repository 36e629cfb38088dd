//! Whatever is frozen, set, budgeted and asked for: the scores are those without a cache.

use candle_core::Var;
use freeze_core::cache::Boundary;
use freeze_core::{ActivationCache, Freezer, Staged};
use proptest::prelude::*;

use super::net::*;

#[derive(Clone, Debug)]
enum Turn {
    Freeze(usize),
    Set(usize),
    Clear,
    Told(Vec<u32>),
    Forward(Vec<u32>),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        2 => (0..5usize).prop_map(Turn::Freeze),
        1 => (0..5usize).prop_map(Turn::Set),
        1 => Just(Turn::Clear),
        3 => prop::collection::vec(0..8u32, 2..7).prop_map(Turn::Told),
        6 => prop::collection::vec(0..8u32, 2..7).prop_map(Turn::Forward),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cached_forward_is_the_forward(
        turns in prop::collection::vec(turn(), 1..24),
        memory in prop::sample::select(vec![0u64, 24, 32, 70, 130, 1 << 20]),
        on_disk in prop::sample::select(vec![0u64, 24, 100]),
        boundary in prop::sample::select(vec![
            Boundary::Deepest,
            Boundary::Cheapest,
            Boundary::Before("blocks.1".into()),
            Boundary::Before("stem".into()),
        ]),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut cache = ActivationCache::new().memory(memory).boundary(boundary);
        if on_disk > 0 {
            cache = cache.folder(folder.path(), on_disk);
        }
        let mut net = Freezer::new(Net::new(1).expect("a net")).expect("a freezer");
        for turn in &turns {
            match turn {
                Turn::Freeze(leaves) => drop(net.freeze_front(*leaves, &mut []).expect("a plan")),
                Turn::Set(leaf) => {
                    let var: &Var = &net.vars()[2 * leaf];
                    var.set(&(var.as_tensor() * -0.9).expect("a tensor")).expect("set");
                }
                Turn::Clear => cache.clear(),
                Turn::Told(which) => cache.read_ahead(&batch(which).expect("a batch").0),
                Turn::Forward(which) => {
                    let (keys, xs, _) = batch(which).expect("a batch");
                    let state = net.dropout.state();
                    let plain = net.forward(xs.clone(), &()).expect("a forward");
                    let drawn = net.dropout.state();
                    net.dropout.set_state(state);
                    let cached = cache.forward(&net, &keys, xs, &()).expect("a forward");
                    prop_assert_eq!(bits(&cached), bits(&plain), "{:?}", turns);
                    prop_assert_eq!(net.dropout.state(), drawn);
                }
            }
        }
    }
}
