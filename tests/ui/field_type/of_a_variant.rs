use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
enum Act {
    Fixed,
    Learned(Linear, f64),
}

fn main() {}
