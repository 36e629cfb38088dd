use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
enum Net {
    #[freeze(stages)]
    One(Linear),
}

fn main() {}
