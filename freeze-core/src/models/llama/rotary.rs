//! The tables of the rotary embedding (Su et al. 2021, [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)).

use std::cell::RefCell;
use std::f64::consts::TAU;
use std::sync::{Arc, Weak};

use candle_core::{Device, Result, Tensor};

use super::config::{Config, RopeScaling, RopeType};
use crate::models::places::check_length;

/// Cosines and sines for each position, computed in f64 once they are needed and shared by all layers and views.
///
/// Each thread has its own: on a card it has a stream of its own, in which the tables come and go.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    /// The angle from a position to the next, for each point.
    frequencies: Arc<[f64]>,
    positions: usize,
}

/// The tables of a rotary embedding, which are dropped with it.
struct Tables {
    of: Weak<[f64]>,
    cos: Tensor,
    sin: Tensor,
}

thread_local! {
    static TABLES: RefCell<Vec<Tables>> = const { RefCell::new(Vec::new()) };
}

impl Rotary {
    pub(super) fn new(config: &Config) -> Self {
        let frequencies = frequencies(config.head_size(), config.theta(), &config.rope_scaling);
        let positions = config.max_position_embeddings;
        Self { frequencies: frequencies.into(), positions }
    }

    /// How many positions there are.
    pub(super) fn positions(&self) -> usize {
        self.positions
    }

    /// Cosines and sines of the first positions, `[length, size / 2]` in f32.
    pub(super) fn tables(&self, length: usize, device: &Device) -> Result<[Tensor; 2]> {
        check_length(length, self.positions)?;
        let (cos, sin) = match self.known(length, device) {
            Some(known) => known,
            // The texts of a run differ in length; not each of them a table.
            None => self.compute(length.next_power_of_two().min(self.positions), device)?,
        };
        Ok([cos.narrow(0, 0, length)?, sin.narrow(0, 0, length)?])
    }

    /// What this thread has computed, if it is as long.
    fn known(&self, length: usize, device: &Device) -> Option<(Tensor, Tensor)> {
        TABLES.with_borrow_mut(|tables| {
            tables.retain(|tables| tables.of.strong_count() > 0);
            let fits = |tables: &&Tables| {
                self.is_of(tables)
                    && tables.cos.dims()[0] >= length
                    && tables.cos.device().same_device(device)
            };
            tables.iter().find(fits).map(|tables| (tables.cos.clone(), tables.sin.clone()))
        })
    }

    fn is_of(&self, tables: &Tables) -> bool {
        std::ptr::addr_eq(tables.of.as_ptr(), Arc::as_ptr(&self.frequencies))
    }

    /// Computes tables, which take the place of this thread's.
    fn compute(&self, positions: usize, device: &Device) -> Result<(Tensor, Tensor)> {
        let table = |of: fn(f64) -> f64| {
            let row = |position: usize| {
                self.frequencies.iter().map(move |step| of(position as f64 * step) as f32)
            };
            let values: Vec<f32> = (0..positions).flat_map(row).collect();
            Tensor::from_vec(values, (positions, self.frequencies.len()), device)
        };
        let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
        let of = Arc::downgrade(&self.frequencies);
        TABLES.with_borrow_mut(|tables| {
            tables.retain(|tables| !self.is_of(tables));
            tables.push(Tables { of, cos: cos.clone(), sin: sin.clone() });
        });
        Ok((cos, sin))
    }
}

/// `theta^(-2i / size)`, scaled.
fn frequencies(size: usize, theta: f64, scaling: &Option<RopeScaling>) -> Vec<f64> {
    let plain = (0..size / 2).map(|i| theta.powf(-2.0 * i as f64 / size as f64));
    match scaling {
        None => plain.collect(),
        Some(scaling) => plain.map(|frequency| scaled(frequency, scaling)).collect(),
    }
}

/// Llama 3.1 slows the long waves by `factor`, keeps the short ones and goes from one to the other in between.
fn scaled(frequency: f64, scaling: &RopeScaling) -> f64 {
    let slow = frequency / scaling.factor;
    match scaling.rope_type {
        RopeType::Default => frequency,
        RopeType::Linear => slow,
        RopeType::Llama3 => {
            let turns = scaling.original_max_position_embeddings as f64 * frequency / TAU;
            let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
            let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            slow + share * (frequency - slow)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device::Cpu};

    use super::*;

    #[test]
    fn tables_grow_and_are_shared() -> Result<()> {
        let config = Config {
            hidden_size: 8,
            num_attention_heads: 2,
            max_position_embeddings: 10,
            ..Default::default()
        };
        let rotary = Rotary::new(&config);
        let twin = rotary.clone();
        let rows = |rotary: &Rotary| rotary.known(0, &Cpu).map(|(cos, _)| cos.dims()[0]);
        for (length, expected) in [(3, 4), (2, 4), (5, 8), (9, 10), (0, 10)] {
            let [cos, sin] = twin.tables(length, &Cpu)?;
            assert_eq!((cos.dims(), sin.dtype()), (&[length, 2][..], DType::F32));
            assert_eq!(rows(&rotary), Some(expected), "{length}");
        }
        let [cos, sin] = rotary.tables(10, &Cpu)?;
        assert_eq!(sin.to_vec2::<f32>()?[9], [9f64.sin() as f32, 0.09f64.sin() as f32]);
        assert_eq!(cos.to_vec2::<f32>()?[0], [1.0, 1.0]);
        assert!(rotary.tables(11, &Cpu).is_err());
        // Another model's are others, and nobody's are dropped.
        let other = Rotary::new(&config);
        assert_eq!(rows(&other), None);
        assert_eq!(std::thread::scope(|scope| scope.spawn(|| rows(&twin)).join()).unwrap(), None);
        drop((rotary, twin));
        assert_eq!((rows(&other), TABLES.with_borrow(Vec::len)), (None, 0));
        Ok(())
    }

    /// Wavelengths on both sides of and between 8192 / 4 and 8192 / 1.
    #[test]
    fn llama3_slows_long_waves() {
        let scaling = RopeScaling {
            rope_type: RopeType::Llama3,
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
            ..Default::default()
        };
        for (wavelength, expected) in [
            (100.0, 1.0),
            (2048.0, 1.0),
            (8192.0, 1.0 / 8.0),
            (1e6, 1.0 / 8.0),
            (4096.0, 1.0 / 8.0 + (2.0 - 1.0) / 3.0 * 7.0 / 8.0),
        ] {
            let found = scaled(TAU / wavelength, &scaling) / (TAU / wavelength);
            assert!((found - expected).abs() < 1e-12, "{wavelength}: {found}");
        }
    }
}
