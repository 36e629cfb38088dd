use candle_nn::Linear;
use freeze_core::Freezable;

struct Cache;

#[derive(Freezable)]
struct Net {
    #[freeze(skip)]
    cache: Cache,
    head: Linear,
}

fn main() {}
