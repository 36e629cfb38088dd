//! Attention on the card against the CPU's kernel.

use candle_core::{Result, Tensor};
use freeze_core::nn::{self, ops};

use crate::battery::{Row, check, row};
use crate::support::random;

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
        // A block for each row, of which it holds all, or not.
        [&[1, 2, 3, 4], &[1, 2, 1025, 4], &[1, 2, 1025, 4]],
        [&[1, 1, 3, 4], &[1, 1, 4099, 4], &[1, 1, 4099, 4]],
    ] {
        check(&rows(shapes, &cases));
    }
}
