//! What a generator, a schedule or a history says is read back as it was, or refused when saving.

use candle_nn::Linear;
use freeze_core::checkpoint::{Checkpoint, Goal, Manager, MetricHistory};
use freeze_core::{Decision, Elapsed, Error, FreezePlan, Freezer, Policy, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn net() -> Result<Freezer<Linear>> {
    let weight =
        candle_core::Var::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    Freezer::new(Linear::new(weight.into_inner(), None))
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Numbers {
    wide: Vec<f64>,
    narrow: Vec<f32>,
    best: Option<f64>,
    count: u128,
}

impl Numbers {
    fn bits(&self) -> (Vec<u64>, Vec<u32>, Option<u64>, u128) {
        let wide = self.wide.iter().map(|x| x.to_bits()).collect();
        let narrow = self.narrow.iter().map(|x| x.to_bits()).collect();
        (wide, narrow, self.best.map(f64::to_bits), self.count)
    }
}

#[test]
fn a_generator_may_hold_any_number() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let payload = f64::from_bits(0x7ff8_0000_dead_beef);
    let wide = [f64::NAN, payload, f64::INFINITY, -f64::INFINITY, -0.0, 5e-324, 0.1, f64::MAX];
    let narrow = [f32::NAN, f32::INFINITY, -f32::INFINITY, -0.0, 1e-45, 0.1, f32::MAX];
    for best in [None, Some(f64::NAN), Some(0.1)] {
        let (wide, narrow) = (wide.to_vec(), narrow.to_vec());
        let mut saved = Numbers { wide, narrow, best, count: u128::MAX };
        Checkpoint::of(&mut net()?).random("numbers", &mut saved).save(&path)?;
        let mut read = Numbers::default();
        Checkpoint::of(&mut net()?).random("numbers", &mut read).resume(&path)?;
        assert_eq!(read.bits(), saved.bits());
    }
    Ok(())
}

/// A state that is written otherwise than it is read.
#[derive(Clone)]
struct OneWay;

impl Serialize for OneWay {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("x")
    }
}

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|_| Self)
    }
}

/// Remembers a score as JSON has it: NaN is `null`.
struct Remembers {
    score: f64,
    depth: usize,
}

impl Policy for Remembers {
    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "remembers".into()
    }

    fn state(&self) -> Value {
        (0..self.depth).fold(json!(self.score), |inner, _| json!([inner]))
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let inner = (0..self.depth).fold(state, |state, _| &state[0]);
        let fault = || Error::PolicyState { policy: self.describe(), why: "no number".into() };
        self.score = inner.as_f64().ok_or_else(fault)?;
        Ok(())
    }
}

#[test]
fn what_cannot_be_read_back_is_refused_when_saving() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    Checkpoint::of(&mut net()?).save(&path)?;
    let old = std::fs::read(&path).expect("the file");
    let refused = |result: Result<()>, says: &str| {
        let error = result.expect_err(says).to_string();
        assert!(error.contains(says), "`{says}` is not in: {error}");
        assert_eq!(std::fs::read(&path).expect("the file"), old);
        assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1);
    };
    let says = "cannot save the generator `x`: its state cannot be read back";
    refused(Checkpoint::of(&mut net()?).random("x", &mut OneWay).save(&path), says);
    for (score, depth, says) in [
        (f64::NAN, 0, "cannot save the state of the policy remembers"),
        (f64::INFINITY, 3, "numbers that JSON lacks, such as NaN, must be saved as text or bits"),
        // JSON is read to a certain depth.
        (1.0, 200, "cannot save the file: it cannot be read back: its state cannot be read"),
    ] {
        let mut schedule = Remembers { score, depth };
        refused(Checkpoint::of(&mut net()?).policy(&mut schedule).save(&path), says);
        assert_eq!(schedule.score.to_bits(), score.to_bits());
    }
    for score in [0.1 + 0.2, -0.0, 5e-324, f64::MAX] {
        let mut schedule = Remembers { score, depth: 1 };
        Checkpoint::of(&mut net()?).policy(&mut schedule).save(&path)?;
        let mut read = Remembers { score: 7.0, depth: 1 };
        Checkpoint::of(&mut net()?).policy(&mut read).resume(&path)?;
        assert_eq!(read.score.to_bits(), score.to_bits());
    }
    Ok(())
}

fn header_len(path: &std::path::Path) -> u64 {
    let bytes = std::fs::read(path).expect("the file");
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

#[test]
fn a_million_records_are_saved_and_resumed_beside_a_small_header() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let manager = Manager::new(dir.path())?.keep_best("loss", Goal::Lowest);
    let (mut net, mut history) = (net()?, MetricHistory::default());
    let path = manager
        .save(Checkpoint::of(&mut net).history(&mut history).progress(Elapsed::new(0, 9)))?;
    let empty = header_len(&path);
    let mut expected = Vec::new();
    for step in 0..1_000_000 {
        let at = Elapsed::new(step / 1000, usize::MAX).at_step(step, 1_000_000);
        let value = match step % 5 {
            0 => f64::from_bits(0x7ff8_0000_0000_0000 + step as u64),
            _ => 1.0 / step as f64,
        };
        let name = ["loss", "rate", "norm/blocks.0"][step % 3];
        history.record(name, value, at);
        expected.push((name, value.to_bits(), at));
    }
    let (progress, started) = (Elapsed::new(1, 9), std::time::Instant::now());
    let path = manager.save(Checkpoint::of(&mut net).history(&mut history).progress(progress))?;
    println!("saved in {:?}", started.elapsed());
    assert!(header_len(&path) < empty + 1000, "{} and {empty}", header_len(&path));
    assert_eq!(manager.best()?, Some(path.clone()));
    let mut read = MetricHistory::default();
    Checkpoint::of(&mut net).history(&mut read).resume(&path)?;
    println!("saved and resumed in {:?}", started.elapsed());
    let same = read.records().iter().zip(&expected).all(|(record, (name, bits, at))| {
        (record.name.as_str(), record.value.to_bits(), record.elapsed) == (*name, *bits, *at)
    });
    assert!(same && read.records().len() == expected.len());
    Ok(())
}
