//! Files changed at random: no panic, no hang, and never a run that is half restored.

use freeze_core::Result;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;

use crate::child::count;
use crate::craft::Parts;
use crate::rig::{Kind, Run, Trace, When, folder};

/// One change to a file.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    /// One of the header's first bytes, or its length, where most is decided.
    Front(usize, u8),
    Length(u64),
    Cut(Index),
    Extend(Vec<u8>),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Copy(Index, Index, usize),
    /// A number of the header's text becomes another.
    Number(Index, u64),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..16);
    prop_oneof![
        4 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (0usize..64, any::<u8>()).prop_map(|(at, byte)| Mutation::Front(at, byte)),
        1 => any::<u64>().prop_map(Mutation::Length),
        1 => any::<Index>().prop_map(Mutation::Cut),
        1 => bytes().prop_map(Mutation::Extend),
        1 => (any::<Index>(), 0usize..64).prop_map(|(at, len)| Mutation::Remove(at, len)),
        1 => (any::<Index>(), bytes()).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>(), 0usize..64)
            .prop_map(|(from, to, len)| Mutation::Copy(from, to, len)),
        4 => (any::<Index>(), prop_oneof![0u64..300, any::<u64>()])
            .prop_map(|(at, number)| Mutation::Number(at, number)),
    ]
}

impl Mutation {
    fn apply(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        let len = file.len();
        match self {
            Self::Flip(at, bit) => file[at.index(len)] ^= 1 << bit,
            Self::Set(at, byte) => file[at.index(len)] = *byte,
            Self::Front(at, byte) => file[at % len] = *byte,
            Self::Length(claim) if len >= 8 => file[..8].copy_from_slice(&claim.to_le_bytes()),
            Self::Length(_) => {}
            Self::Cut(at) => file.truncate(at.index(len)),
            Self::Extend(bytes) => file.extend_from_slice(bytes),
            Self::Remove(at, count) => {
                let at = at.index(len);
                drop(file.drain(at..len.min(at + count)));
            }
            Self::Insert(at, bytes) => {
                let at = at.index(len);
                drop(file.splice(at..at, bytes.iter().copied()));
            }
            Self::Copy(from, to, count) => {
                let (from, to) = (from.index(len), to.index(len));
                let count = (*count).min(len - from).min(len - to);
                file.copy_within(from..from + count, to);
            }
            Self::Number(at, number) => {
                // The first digits from there on, and the header's length with them.
                let at = at.index(len).max(8).min(len);
                let Some(start) = file[at..].iter().position(u8::is_ascii_digit) else { return };
                let start = at + start;
                let digits = file[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let text = number.to_string();
                if let Some(claim) = file.get(..8).and_then(|word| word.try_into().ok()) {
                    let claim = u64::from_le_bytes(claim);
                    let claim = claim.wrapping_add(text.len() as u64).wrapping_sub(digits as u64);
                    file[..8].copy_from_slice(&claim.to_le_bytes());
                }
                drop(file.splice(start..start + digits, text.bytes()));
            }
        }
    }
}

/// One change to the state, behind which all checksums are made to agree again.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Replace(Junk),
}

#[derive(Clone, Debug)]
enum Junk {
    Null,
    Bool,
    Integer(i64),
    Float(f64),
    Text(String),
    List,
    Map,
}

fn change() -> impl Strategy<Value = (Index, Change)> {
    let junk = prop_oneof![
        Just(Junk::Null),
        Just(Junk::Bool),
        any::<i64>().prop_map(Junk::Integer),
        any::<f64>().prop_map(Junk::Float),
        "[a-z0-9./]{0,12}".prop_map(Junk::Text),
        Just(Junk::List),
        Just(Junk::Map),
    ];
    let change = prop_oneof![1 => Just(Change::Remove), 4 => junk.prop_map(Change::Replace)];
    (any::<Index>(), change)
}

impl Change {
    fn apply(&self, at: &Index, state: &mut Value) {
        let mut places = Vec::new();
        list(state, String::new(), &mut places);
        let place = &places[at.index(places.len())];
        let (parent, key) = place.rsplit_once('/').unwrap_or_default();
        match (self, state.pointer_mut(parent)) {
            (Self::Remove, Some(Value::Object(map))) => {
                drop(map.remove(&key.replace("~1", "/").replace("~0", "~")));
            }
            (Self::Remove, Some(Value::Array(items))) => drop(items.pop()),
            (Self::Replace(junk), Some(_)) => {
                if let Some(value) = state.pointer_mut(place) {
                    *value = junk.value();
                }
            }
            _ => {}
        }
    }
}

impl Junk {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool => true.into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => text.clone().into(),
            Self::List => Value::Array(vec![0.into()]),
            Self::Map => serde_json::json!({"a": {}}),
        }
    }
}

/// Every place of a JSON value but the root, as pointers.
fn list(value: &Value, at: String, places: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (key, value) in children {
        let place = format!("{at}/{key}");
        places.push(place.clone());
        list(value, place, places);
    }
}

struct Bench {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    run: Run,
    now: Trace,
    refused: usize,
}

impl Bench {
    fn new() -> Result<Self> {
        let dir = folder();
        let path = dir.path().join("run");
        let mut run = Run::of_width(1, Kind::AdamW, When::OneMoreByEpoch, 1)?;
        run.train(4, |_| Ok(()))?;
        run.save(&path)?;
        let bytes = std::fs::read(&path).expect("the file");
        let mut run = Run::of_width(1, Kind::AdamW, When::OneMoreByEpoch, 2)?;
        run.train(1, |_| Ok(()))?;
        let now = run.trace()?;
        Ok(Self { dir, bytes, run, now, refused: 0 })
    }

    /// Whether a file is taken; if it is not, nothing may have changed. What has stays changed, so
    /// looking at every hundredth refused file sees it too.
    fn takes(&mut self, file: &[u8]) -> Result<bool> {
        let path = self.dir.path().join("mutated");
        std::fs::write(&path, file).expect("a file");
        let taken = self.run.resume(&path).is_ok();
        if taken {
            self.now = self.run.trace()?;
        } else {
            self.refused += 1;
            if self.refused.is_multiple_of(100) {
                self.unchanged()?;
            }
        }
        Ok(taken)
    }

    fn unchanged(&mut self) -> Result<()> {
        assert_eq!(self.run.trace()?, self.now, "changed by one of the last refused files");
        Ok(())
    }
}

/// `FREEZE_FUZZ_FILES=1000000` for the full run.
fn runner(default: usize) -> TestRunner {
    let cases = count("FREEZE_FUZZ_FILES", default) as u32;
    let rng_seed = match std::env::var("FREEZE_FUZZ_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => RngSeed::Fixed(seed),
        None => RngSeed::Random,
    };
    TestRunner::new(Config { cases, rng_seed, failure_persistence: None, ..Config::default() })
}

#[test]
fn a_mutated_file_is_an_error_or_the_same_run() -> Result<()> {
    let mut bench = Bench::new()?;
    assert!(bench.takes(&bench.bytes.clone())?);
    let saved = bench.run.trace()?;
    let bench = std::cell::RefCell::new(bench);
    let taken = std::cell::Cell::new(0);
    let mutations = proptest::collection::vec(mutation(), 1..4);
    let result = runner(2_000).run(&mutations, |mutations| {
        let mut bench = bench.borrow_mut();
        let mut file = bench.bytes.clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut file));
        if bench.takes(&file).map_err(|error| TestCaseError::fail(error.to_string()))? {
            taken.set(taken.get() + 1);
            prop_assert_eq!(&bench.now, &saved);
        }
        Ok(())
    });
    println!("{} mutated files were the same run", taken.get());
    result.unwrap_or_else(|error| panic!("{error}"));
    bench.into_inner().unchanged()
}

/// As an enemy would write it: any state, with checksums that agree.
#[test]
fn a_crafted_state_is_an_error_or_a_run() -> Result<()> {
    let mut bench = Bench::new()?;
    assert!(bench.takes(&bench.bytes.clone())?);
    let parts = Parts::of(&bench.bytes);
    let state = parts.state();
    let bench = std::cell::RefCell::new(bench);
    let changes = proptest::collection::vec(change(), 1..4);
    let taken = std::cell::Cell::new(0);
    let result = runner(2_000).run(&changes, |changes| {
        let (mut parts, mut state) = (parts.clone(), state.clone());
        changes.iter().for_each(|(at, change)| change.apply(at, &mut state));
        parts.seal(&state);
        let mut bench = bench.borrow_mut();
        if bench.takes(&parts.to_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))? {
            taken.set(taken.get() + 1);
        }
        Ok(())
    });
    println!("{} crafted files were taken", taken.get());
    result.unwrap_or_else(|error| panic!("{error}"));
    bench.into_inner().unchanged()
}
