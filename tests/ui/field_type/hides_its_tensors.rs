use candle_nn::{GroupNorm, Linear};
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    norm: GroupNorm,
    head: Linear,
}

fn main() {}
