//! Any row of calls beside a map in memory.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Fault, faults, lift, lifted, row};

#[derive(Clone, Debug)]
enum Call {
    Write(Vec<u64>),
    Read(Vec<u64>),
    Lifted(Vec<u64>),
    Ahead(Vec<u64>, bool),
    Remove(u64),
    Fault(Fault),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let keys = || vec(0u64..12, 0..8);
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Forgets),
        1 => Just(Fault::Read),
        1 => Just(Fault::Flips),
    ];
    let call = prop_oneof![
        4 => keys().prop_map(Call::Write),
        4 => keys().prop_map(Call::Read),
        2 => keys().prop_map(Call::Lifted),
        3 => (keys(), any::<bool>()).prop_map(|(keys, lifts)| Call::Ahead(keys, lifts)),
        1 => (0u64..12).prop_map(Call::Remove),
        1 => fault.prop_map(Call::Fault),
    ];
    vec(call, 0..40)
}

proptest! {
    /// Every row that is read is the last one written, and on a disk without faults every row that
    /// found room is there until it is removed.
    #[test]
    fn what_is_read_is_what_was_written(
        calls in calls(),
        width in 5usize..9,
        memory in 0u64..60,
        disk in 0u64..60,
    ) {
        let (store, switch) = faults::store(memory, disk);
        let mut records = store.records(width);
        let mut expected: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut is_sound = true;
        for (time, call) in calls.into_iter().enumerate() {
            match call {
                Call::Fault(fault) => {
                    is_sound &= fault == Fault::None;
                    switch.set(fault);
                }
                Call::Ahead(keys, lifts) => {
                    records.read_ahead(&keys, lifts.then(|| lift(width)).as_ref());
                }
                Call::Lifted(keys) => {
                    if let Some(rows) = lifted(&mut records, &keys) {
                        let there: Vec<_> = keys.iter().map(|key| expected[key].clone()).collect();
                        prop_assert_eq!(rows, there);
                    }
                }
                Call::Remove(key) => {
                    records.remove(key);
                    expected.remove(&key);
                }
                Call::Write(keys) => {
                    let row = |i: usize| row(keys[i], (time * 100 + i) as u64, width);
                    let rows: Vec<u8> = (0..keys.len()).flat_map(row).collect();
                    let kept = records.write(&keys, &rows);
                    keys.iter().for_each(|key| drop(expected.remove(key)));
                    expected.extend((0..kept).map(|i| (keys[i], row(i))));
                    keys[kept..].iter().for_each(|key| drop(expected.remove(key)));
                    if kept < keys.len() {
                        let room = (memory + disk) as usize / width;
                        prop_assert!(records.len() + 2 + keys.len() > room, "{kept} of {}", keys.len());
                    }
                }
                Call::Read(keys) => {
                    let mut out = Vec::new();
                    let found = records.read(&keys, &mut out);
                    let rows: Vec<u8> = found.iter().flat_map(|&i| expected[&keys[i]].clone()).collect();
                    prop_assert_eq!(out, rows);
                    let there = |i: &usize| expected.contains_key(&keys[*i]);
                    if is_sound {
                        prop_assert_eq!(found, (0..keys.len()).filter(there).collect::<Vec<_>>());
                    }
                }
            }
            let usage = store.usage();
            prop_assert!(usage.memory <= memory && usage.disk <= disk);
            prop_assert!(!is_sound || records.len() == expected.len());
        }
        drop(records);
        prop_assert_eq!((store.usage().memory, store.usage().disk), (0, 0));
    }
}
