use candle_nn::Linear;
use freeze_core::Freezable;

struct Scale(f64);

#[derive(Freezable)]
enum Act {
    Fixed,
    Learned(Linear, Scale),
}

fn main() {}
