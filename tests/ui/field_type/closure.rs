use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    head: Linear,
    act: fn(f32) -> f32,
}

fn main() {}
