use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Vec<T> {
    layer: T,
}

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    body: Vec<Linear>,
    head: Linear,
}

fn main() {}
