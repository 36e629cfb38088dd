use candle_nn::{Linear, Sequential};
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    body: Sequential,
    head: Linear,
}

fn main() {}
