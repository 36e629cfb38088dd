use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
enum Block {
    One(Linear),
    Two(Linear, Linear),
}

fn main() {}
