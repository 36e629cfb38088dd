//! Any row of calls beside a map; on the CPU, where slabs can lie as well.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::Card;
use crate::cache::store::Budget;

/// The elements of the first tensor of a row after so many stages; a large one fills a block in few rows.
const ELEMENTS: [usize; 4] = [0, 3, 50_000, 3];

/// Rows that belong to keys, stages and a time: one tensor of numbers, and one of bytes after stages of odd number.
fn rows(depth: usize, keys: &[u64], time: usize) -> Vec<Tensor> {
    let number = |key: &u64| (*key as usize + 100 * time) as f32;
    let numbers: Vec<f32> =
        keys.iter().flat_map(|key| vec![number(key); ELEMENTS[depth]]).collect();
    let shape = (keys.len(), ELEMENTS[depth]);
    let numbers = Tensor::from_vec(numbers, shape, &Device::Cpu).expect("numbers");
    let bytes = keys.iter().map(|key| *key as u8).collect();
    let bytes = Tensor::from_vec(bytes, (keys.len(), 1), &Device::Cpu).expect("bytes");
    if depth % 2 == 1 { vec![numbers, bytes] } else { vec![numbers] }
}

fn width(depth: usize) -> usize {
    4 * ELEMENTS[depth] + depth % 2
}

fn are_equal(one: &[Tensor], other: &[Tensor]) -> bool {
    let numbers = |tensor: &Tensor| {
        let tensor = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.to_vec2::<f32>());
        tensor.expect("numbers")
    };
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| numbers(one) == numbers(other))
}

#[derive(Clone, Debug)]
enum Call {
    Put(usize, Vec<u64>),
    Read(usize, Vec<u64>),
    Remove(u64),
    Beyond(usize),
    Wider(usize),
}

fn call() -> impl Strategy<Value = Call> {
    let keys = || btree_set(0u64..24, 1..8).prop_map(|keys| keys.into_iter().collect::<Vec<_>>());
    prop_oneof![
        5 => (1usize..4, keys().prop_shuffle()).prop_map(|(depth, keys)| Call::Put(depth, keys)),
        5 => (1usize..4, keys().prop_shuffle()).prop_map(|(depth, keys)| Call::Read(depth, keys)),
        1 => (0u64..24).prop_map(Call::Remove),
        1 => (0usize..4).prop_map(Call::Beyond),
        1 => (0usize..4).prop_map(|depth| Call::Wider(width(depth))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_read_is_what_was_put(
        calls in vec(call(), 0..40),
        limit in prop_oneof![0u64..60, 0u64..6_000_000],
    ) {
        let budget = Arc::new(Budget::new(limit));
        let mut card = Card::new(Arc::clone(&budget));
        // The stages and the time of each key's record.
        let mut expected: HashMap<u64, (usize, usize)> = HashMap::new();
        for (time, call) in calls.into_iter().enumerate() {
            match call {
                Call::Put(depth, keys) => {
                    let stored = card.put(depth, &keys, &rows(depth, &keys, time)).expect("put");
                    let stored = keys.iter().zip(stored).filter(|(_, stored)| *stored);
                    expected.extend(stored.map(|(key, _)| (*key, (depth, time))));
                }
                Call::Read(depth, keys) => {
                    let keys: Vec<u64> =
                        keys.into_iter().filter(|key| card.holds(*key, depth)).collect();
                    if !keys.is_empty() {
                        let one = |key: &u64| rows(depth, &[*key], expected[key].1);
                        let read = card.read(&keys).expect("a read").expect("rows");
                        for (i, key) in keys.iter().enumerate() {
                            let row: Vec<Tensor> =
                                read.iter().map(|part| part.narrow(0, i, 1).expect("a row")).collect();
                            prop_assert!(are_equal(&row, &one(key)), "{key} after {depth}");
                        }
                    }
                }
                Call::Remove(key) => {
                    card.remove(key);
                    expected.remove(&key);
                }
                Call::Beyond(depth) => {
                    card.drop_beyond(depth);
                    expected.retain(|_, (at, _)| *at <= depth);
                }
                Call::Wider(bytes) => {
                    let any = card.drop_wider(bytes);
                    let before = expected.len();
                    expected.retain(|_, (at, _)| width(*at) <= bytes);
                    prop_assert_eq!(any, expected.len() < before);
                }
            }
            let mut held: Vec<(u64, usize)> = card.records().collect();
            let mut all: Vec<(u64, usize)> =
                expected.iter().map(|(key, (depth, _))| (*key, *depth)).collect();
            held.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(held, all);
            prop_assert!(budget.used() <= limit);
            prop_assert!(!expected.is_empty() || budget.used() == 0, "memory that nothing uses");
        }
        drop(card);
        prop_assert_eq!(budget.used(), 0);
    }
}

/// Rows of 200 000 bytes, five in the first block; how many fit into budgets in bytes.
#[test]
fn as_many_rows_are_put_as_fit() {
    let width = width(2) as u64;
    for (limit, fit) in
        [(width - 1, 0), (width, 1), (7 * width + 9, 7), (40 * width, 40), (u64::MAX, 60)]
    {
        let budget = Arc::new(Budget::new(limit));
        let mut card = Card::new(Arc::clone(&budget));
        let keys: Vec<u64> = (0..60).collect();
        let mut stored = 0;
        for keys in keys.chunks(4) {
            let put = card.put(2, keys, &rows(2, keys, 0)).expect("put");
            stored += put.into_iter().filter(|stored| *stored).count();
        }
        assert_eq!(stored, fit, "{limit}");
        assert!(budget.used() <= limit && budget.used() >= fit as u64 * width, "{limit}");
        // From several blocks, backwards.
        let keys: Vec<u64> = (0..fit as u64).rev().collect();
        if fit > 0 {
            let read = card.read(&keys).expect("a read").expect("rows");
            assert!(are_equal(&read, &rows(2, &keys, 0)), "{limit}");
        }
    }
}

#[test]
fn on_the_cpu_nothing_is_taken() {
    let card = Card::new(Arc::new(Budget::new(u64::MAX)));
    assert!(!card.takes(&rows(1, &[1], 0)));
    assert!(!card.takes(&[]));
}
