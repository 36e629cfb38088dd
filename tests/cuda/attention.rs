//! Attention on the card against the CPU's kernel.

use candle_core::{DType, Device, Result, Tensor, Var};
use freeze_core::nn::{self, ops};

use crate::battery::{Row, check, row};
use crate::card;
use crate::support::{flat, random};

#[derive(Clone, Copy, Debug)]
enum Mask {
    None,
    Causal,
    /// What is added has these dimensions; the first key is hidden.
    Added(&'static [usize]),
    CausalAdded(&'static [usize]),
}

fn attend(t: &[Tensor], mask: Mask, scale: Option<f64>, p: f32) -> Result<Tensor> {
    let added = |dims: &[usize]| {
        let mask = random(9, dims, t[0].dtype());
        let last = dims.len() - 1;
        let hidden = (mask.narrow(last, 0, 1)?.zeros_like()? + f64::NEG_INFINITY)?;
        let rest = mask.narrow(last, 1, dims[last] - 1)?;
        Tensor::cat(&[hidden, rest], last)?.to_device(t[0].device())
    };
    let bias = match mask {
        Mask::Added(dims) | Mask::CausalAdded(dims) => Some(added(dims)?),
        _ => None,
    };
    let mask = match (mask, &bias) {
        (Mask::Added(_), Some(bias)) => ops::AttentionMask::Additive(bias),
        (Mask::CausalAdded(_), Some(bias)) => ops::AttentionMask::CausalAdditive(bias),
        (Mask::Causal, _) => ops::AttentionMask::Causal,
        _ => ops::AttentionMask::None,
    };
    let [q, k, v] = [&t[0], &t[1], &t[2]];
    if p == 0.0 {
        return ops::scaled_dot_product_attention(q, k, v, mask, scale);
    }
    let dropout = nn::Dropout::new(p, 7).map_err(candle_core::Error::wrap)?;
    ops::scaled_dot_product_attention_dropout(q, k, v, mask, scale, &dropout)
}

fn rows(shapes: [&[usize]; 3], cases: &[(Mask, Option<f64>, f32)]) -> Vec<Row> {
    let of = |&(mask, scale, p): &(Mask, Option<f64>, f32)| {
        let name = format!("attention {shapes:?} {mask:?} {scale:?} {p}");
        row(name, &shapes, true, move |t| attend(t, mask, scale, p))
    };
    cases.iter().map(of).collect()
}

#[test]
fn masks_and_shared_heads() {
    // The first query sees nothing if the mask is causal.
    let shapes: [&[usize]; 3] = [&[2, 4, 7, 5], &[2, 2, 6, 5], &[2, 2, 6, 3]];
    check(&rows(
        shapes,
        &[
            (Mask::None, None, 0.0),
            (Mask::None, Some(0.7), 0.4),
            (Mask::Causal, None, 0.0),
            (Mask::Causal, Some(0.3), 0.4),
            (Mask::Added(&[6]), None, 0.0),
            (Mask::Added(&[2, 1, 1, 6]), None, 0.0),
            (Mask::Added(&[4, 7, 6]), None, 0.0),
            (Mask::CausalAdded(&[1, 4, 1, 6]), None, 0.0),
            (Mask::CausalAdded(&[2, 4, 7, 6]), None, 0.4),
        ],
    ));
}

#[test]
fn lengths() {
    let cases = [(Mask::None, None, 0.0), (Mask::Causal, None, 0.2)];
    for shapes in [
        [&[1, 1, 1, 3][..], &[1, 1, 1, 3], &[1, 1, 1, 3]],
        [&[1, 2, 65, 33], &[1, 1, 129, 33], &[1, 1, 129, 9]],
        [&[1, 2, 5, 4], &[1, 1, 511, 4], &[1, 1, 511, 4]],
        // Keys without elements: all are alike.
        [&[2, 2, 3, 0], &[2, 2, 5, 0], &[2, 2, 5, 3]],
        // Rows of 16 bytes, which begin at odd places in views.
        [&[2, 3, 8, 8], &[2, 3, 16, 8], &[2, 3, 16, 8]],
        // A block for each row, of which it holds all, or not.
        [&[1, 2, 3, 4], &[1, 2, 1025, 4], &[1, 2, 1025, 4]],
        [&[1, 1, 3, 4], &[1, 1, 4099, 4], &[1, 1, 4099, 4]],
    ] {
        check(&rows(shapes, &cases));
    }
}

/// Heads side by side in one tensor, as a layer for queries, keys and values gives them, and their attention.
#[test]
fn heads_that_lie_side_by_side() {
    let (heads, keys) = (6, 2);
    let mut rows = Vec::new();
    for (mask, p, size) in
        [(Mask::None, 0.0, 5), (Mask::Causal, 0.3, 5), (Mask::None, 0.0, 8), (Mask::Causal, 0.3, 8)]
    {
        let [q, k] = [heads * size, keys * size];
        let together: &[usize] = &[3, 7, q + 2 * k];
        let name = format!("attention of {together:?} {mask:?} {p}");
        rows.push(row(name, &[together], true, move |t| {
            let part = |start, len| t[0].narrow(2, start, len);
            let operands = [part(0, q)?, part(q, k)?, part(q + k, k)?];
            let mask = match mask {
                Mask::Causal => ops::AttentionMask::Causal,
                _ => ops::AttentionMask::None,
            };
            let dropout = nn::Dropout::new(p, 3).map_err(candle_core::Error::wrap)?;
            let counts = [heads, keys];
            ops::attention_side_by_side(operands.each_ref(), counts, mask, None, Some(&dropout))
        }));
    }
    // Of heads side by side, apart, and of a batch that is shared.
    let shapes: [&[usize]; 3] = [&[2, 3, 8], &[2, 2, 4, 4], &[1, 4, 6]];
    rows.push(row(format!("attention of {shapes:?}"), &shapes, true, |t| {
        let values = t[2].broadcast_as((2, 4, 6))?;
        let mask = ops::AttentionMask::None;
        ops::attention_side_by_side([&t[0], &t[1], &values], [2, 2], mask, None, None)
    }));
    check(&rows);
}

/// More scores than exist at a time: some heads together, heads that share keys one by one, and queries of a head.
#[test]
fn pieces() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for (shapes, p, dtype, tolerance) in [
        ([[1, 6, 2100, 3], [1, 6, 2100, 3], [1, 6, 2100, 2]], 0.0, DType::F32, 2e-5),
        ([[1, 4, 2100, 3], [1, 1, 2100, 3], [1, 1, 2100, 2]], 0.1, DType::F32, 2e-5),
        ([[1, 2, 4100, 3], [1, 1, 4100, 3], [1, 1, 4100, 2]], 0.1, DType::F32, 2e-5),
        ([[1, 4, 2900, 8], [1, 1, 2900, 8], [1, 1, 2900, 8]], 0.0, DType::BF16, 3e-2),
        ([[1, 1, 8200, 2], [1, 1, 4100, 2], [1, 1, 4100, 8]], 0.0, DType::F16, 1e-2),
    ] {
        let run = |device: &Device, dtype: DType| -> Result<Vec<Vec<f64>>> {
            let operands = [0, 1, 2].map(|place| {
                let values = random(place as u64, &shapes[place][..], dtype);
                Var::from_tensor(&values.to_device(device)?)
            });
            let [q, k, v] = operands;
            let vars = [q?, k?, v?];
            let tensors = vars.each_ref().map(|var| var.as_tensor().clone());
            let y = attend(&tensors, Mask::Causal, Some(1.5), p)?;
            let grads = freeze_core::backward(&(&y * random_like(&y)?)?.sum_all()?)?;
            let grads = vars.iter().map(|var| grads.get(var).map(flat).unwrap_or_default());
            Ok(std::iter::once(flat(&y)).chain(grads).collect())
        };
        for (found, expected) in run(&card, dtype)?.iter().zip(run(&Device::Cpu, dtype)?) {
            assert_eq!(found.len(), expected.len(), "{shapes:?}");
            let size = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let fits = (found - expected).abs() <= tolerance * size;
                assert!(fits, "{shapes:?}: {found} {expected}");
            }
        }
    }
    Ok(())
}

/// Sums over heads that share keys would stop at 256 if each were rounded to bf16, whose next number there is 258.
#[test]
fn sums_over_many_heads() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let random = |seed, shape: [usize; 4]| {
        Var::from_tensor(&random(seed, &shape[..], DType::BF16).to_device(&card)?)
    };
    let (q, k, v) =
        (random(0, [1, 512, 8, 8])?, random(1, [1, 1, 8, 8])?, random(2, [1, 1, 8, 8])?);
    let y = ops::scaled_dot_product_attention(&q, &k, &v, Default::default(), None)?;
    let grads = freeze_core::backward(&y.sum_all()?)?;
    let grad = grads.get(&v).map(flat).unwrap_or_default();
    // Each of 512 * 8 queries gives 1 to all keys together.
    let all: f64 = grad.iter().step_by(8).sum();
    assert!((all - 4096.0).abs() < 41.0, "{all}");
    Ok(())
}

fn random_like(y: &Tensor) -> Result<Tensor> {
    random(5, y.dims(), y.dtype()).to_device(y.device())
}
