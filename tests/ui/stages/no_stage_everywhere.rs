use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    #[freeze(no_stage)]
    body: Linear,
    #[freeze(skip)]
    width: usize,
}

fn main() {}
