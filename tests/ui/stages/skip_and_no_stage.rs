use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    #[freeze(skip, no_stage)]
    width: usize,
    head: Linear,
}

fn main() {}
