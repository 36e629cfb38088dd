use std::sync::Mutex;

use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(skip)]
    calls: Mutex<usize>,
    head: Linear,
}

fn main() {}
