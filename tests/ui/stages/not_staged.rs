use candle_nn::Linear;
use freeze_core::{Freezable, Staged};

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    body: Linear,
}

fn cached<M: Staged>(_: &M) {}

fn run(net: &Net) {
    cached(net);
}

fn main() {}
