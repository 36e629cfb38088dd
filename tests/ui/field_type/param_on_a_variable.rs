use candle_core::Var;
use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(param)]
    scale: Var,
    head: Linear,
}

fn main() {}
