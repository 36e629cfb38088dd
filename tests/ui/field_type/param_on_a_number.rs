use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(param)]
    scale: f64,
    head: Linear,
}

fn main() {}
