use candle_nn::Linear;
use freeze_core::Freezable;

struct Scale(f64);

#[derive(Freezable)]
struct Net {
    #[freeze(unit)]
    body: Vec<Scale>,
    head: Linear,
}

fn main() {}
