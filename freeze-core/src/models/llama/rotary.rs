//! The tables of the rotary embedding (Su et al. 2021, [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)).

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Result, Tensor};

use super::config::{Config, RopeScaling, RopeType};
use crate::models::places::check_length;

/// Cosines and sines for each position, computed in f64 once they are needed and shared by all layers and views.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    /// The angle from a position to the next, for each point.
    frequencies: Arc<[f64]>,
    positions: usize,
    tables: Arc<Mutex<Option<[Tensor; 2]>>>,
}

impl Rotary {
    pub(super) fn new(config: &Config) -> Self {
        let frequencies = frequencies(config.head_size(), config.theta(), &config.rope_scaling);
        let positions = config.max_position_embeddings;
        Self { frequencies: frequencies.into(), positions, tables: Arc::default() }
    }

    /// How many positions there are.
    pub(super) fn positions(&self) -> usize {
        self.positions
    }

    /// Cosines and sines of the first positions, `[length, size / 2]` in f32.
    pub(super) fn tables(&self, length: usize, device: &Device) -> Result<[Tensor; 2]> {
        check_length(length, self.positions)?;
        // Tables are complete when set, so a panic in another thread does no harm.
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let there = tables
            .take()
            .filter(|[cos, _]| cos.dims()[0] >= length && cos.device().same_device(device));
        let [cos, sin] = match there {
            Some(there) => there,
            // The texts of a run differ in length; not each of them a table.
            None => self.compute(length.next_power_of_two().min(self.positions), device)?,
        };
        let cut = [cos.narrow(0, 0, length)?, sin.narrow(0, 0, length)?];
        *tables = Some([cos, sin]);
        Ok(cut)
    }

    fn compute(&self, positions: usize, device: &Device) -> Result<[Tensor; 2]> {
        let table = |of: fn(f64) -> f64| {
            let row = |position: usize| {
                self.frequencies.iter().map(move |step| of(position as f64 * step) as f32)
            };
            let values: Vec<f32> = (0..positions).flat_map(row).collect();
            Tensor::from_vec(values, (positions, self.frequencies.len()), device)
        };
        Ok([table(f64::cos)?, table(f64::sin)?])
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
        let rows = |rotary: &Rotary| rotary.tables.lock().unwrap().as_ref().map(|t| t[0].dims()[0]);
        for (length, expected) in [(3, 4), (2, 4), (5, 8), (9, 10), (0, 10)] {
            let [cos, sin] = twin.tables(length, &Cpu)?;
            assert_eq!((cos.dims(), sin.dtype()), (&[length, 2][..], DType::F32));
            assert_eq!(rows(&rotary), Some(expected), "{length}");
        }
        let [cos, sin] = rotary.tables(10, &Cpu)?;
        assert_eq!(sin.to_vec2::<f32>()?[9], [9f64.sin() as f32, 0.09f64.sin() as f32]);
        assert_eq!(cos.to_vec2::<f32>()?[0], [1.0, 1.0]);
        assert!(rotary.tables(11, &Cpu).is_err());
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
