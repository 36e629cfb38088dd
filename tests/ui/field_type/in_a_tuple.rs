use candle_nn::Linear;
use freeze_core::Freezable;

struct Cache;

#[derive(Freezable)]
struct Net {
    pair: (Linear, Cache),
}

fn main() {}
