use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(unit)]
    body: Vec<f64>,
    head: Linear,
}

fn main() {}
