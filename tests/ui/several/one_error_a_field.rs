use candle_nn::Linear;
use freeze_core::Freezable;

struct Cache;

#[derive(Freezable)]
struct Net {
    cache: Cache,
    head: Linear,
    other: Cache,
}

fn main() {}
