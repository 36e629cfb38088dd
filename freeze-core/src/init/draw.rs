//! Random numbers from a seed and a name.

use candle_core::Shape;
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// The elements of the tensor called `name`.
///
/// # Errors
///
/// A parameter of the distribution is not finite or out of range.
pub(super) fn draw(seed: u64, name: &str, shape: &Shape, init: Init) -> Result<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(name));
    let count = shape.elem_count();
    match init {
        _ if count == 0 => Ok(Vec::new()),
        Init::Const(value) => Ok(vec![value; count]),
        Init::Uniform { lo, up } => uniform(&mut rng, count, lo, up),
        Init::Randn { mean, stdev } => normal(&mut rng, count, mean, stdev),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                // The uniform distribution over [-b, b] has the standard deviation b / sqrt(3).
                NormalOrUniform::Uniform => {
                    let bound = non_negative("gain", stdev)? * 3f64.sqrt();
                    uniform(&mut rng, count, -bound, bound)
                }
                NormalOrUniform::Normal => normal(&mut rng, count, 0.0, stdev),
            }
        }
    }
}

fn uniform(rng: &mut ChaCha8Rng, count: usize, lo: f64, up: f64) -> Result<Vec<f64>> {
    for (name, value) in [("lo", lo), ("up", up)] {
        if !value.is_finite() {
            return Err(Error::Number { name, value, expected: "a finite number" });
        }
    }
    if up < lo || !(up - lo).is_finite() {
        let expected = "at least `lo`, at a distance that is a number";
        return Err(Error::Number { name: "up", value: up, expected });
    }
    Ok((0..count).map(|_| lo + (up - lo) * unit(rng)).collect())
}

/// Normally distributed numbers by the Box-Muller transform. Logarithm and cosine are computed in
/// software, because those of two platforms may differ in the last bit.
fn normal(rng: &mut ChaCha8Rng, count: usize, mean: f64, stdev: f64) -> Result<Vec<f64>> {
    if !mean.is_finite() {
        return Err(Error::Number { name: "mean", value: mean, expected: "a finite number" });
    }
    let stdev = non_negative("stdev", stdev)?;
    let mut draw = || {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - unit(rng))).sqrt();
        mean + stdev * radius * libm::cos(std::f64::consts::TAU * unit(rng))
    };
    Ok((0..count).map(|_| draw()).collect())
}

fn non_negative(name: &'static str, value: f64) -> Result<f64> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => Err(Error::Number { name, value, expected: "a finite number of at least 0" }),
    }
}

/// A number in [0, 1): the 53 bits that an f64 holds.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The 64-bit FNV-1a hash: the same on every platform and in every version.
fn fnv1a(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
