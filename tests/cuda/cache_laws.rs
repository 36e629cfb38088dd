//! Whatever is frozen, set, budgeted, told and asked for: the scores are those without a cache.

use candle_core::Var;
use freeze_core::{ActivationCache, Freezer, Staged};
use proptest::prelude::*;

use crate::cache::{Net, batch};
use crate::card;
use crate::support::flat;

#[derive(Clone, Debug)]
enum Turn {
    Freeze(usize),
    Set(usize),
    Clear,
    Told(Vec<u32>),
    /// Told, and then asked for.
    Both(Vec<u32>),
    Forward(Vec<u32>),
}

fn turn() -> impl Strategy<Value = Turn> {
    let some = || prop::collection::vec(0..8u32, 2..7);
    prop_oneof![
        2 => (0..6usize).prop_map(Turn::Freeze),
        1 => (0..6usize).prop_map(Turn::Set),
        1 => Just(Turn::Clear),
        2 => some().prop_map(Turn::Told),
        4 => some().prop_map(Turn::Both),
        4 => some().prop_map(Turn::Forward),
    ]
}

/// A batch of another size may add up in another order on a card.
fn are_close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cached_forward_is_the_forward(
        turns in prop::collection::vec(turn(), 1..24),
        on_card in prop::sample::select(vec![0u64, 60, 1 << 20]),
        memory in prop::sample::select(vec![0u64, 24, 70, 1 << 20]),
        on_disk in prop::sample::select(vec![0u64, 100, 1 << 20]),
        kept in any::<bool>(),
    ) {
        let Some(card) = card() else { return Ok(()) };
        let folder = tempfile::tempdir().expect("a folder");
        let cache = ActivationCache::new().device_memory(on_card).memory(memory);
        let mut cache = match kept {
            true => cache.kept(folder.path(), on_disk),
            false => cache.folder(folder.path(), on_disk),
        };
        let mut net = Freezer::new(Net::new(&card).expect("a net")).expect("a freezer");
        for turn in &turns {
            let which = match turn {
                Turn::Freeze(leaves) => {
                    net.freeze_front(*leaves, &mut []).expect("a plan");
                    continue;
                }
                Turn::Set(leaf) => {
                    let var: &Var = &net.vars()[2 * leaf];
                    var.set(&(var.as_tensor() * -0.9).expect("a tensor")).expect("set");
                    // A card's weights are not glanced at.
                    cache.recheck();
                    continue;
                }
                Turn::Clear => {
                    cache.clear();
                    continue;
                }
                Turn::Told(which) | Turn::Both(which) | Turn::Forward(which) => which,
            };
            let (keys, xs, _) = batch(which, &card).expect("a batch");
            if !matches!(turn, Turn::Forward(_)) {
                cache.read_ahead(&keys);
            }
            if !matches!(turn, Turn::Told(_)) {
                let state = net.dropout.state();
                let plain = net.forward(xs.clone(), &()).expect("a forward");
                net.dropout.set_state(state);
                let cached = cache.forward(&net, &keys, xs, &()).expect("a forward");
                prop_assert!(are_close(&flat(&cached), &flat(&plain)), "{:?}", turns);
            }
        }
    }
}
