use std::collections::HashMap;

use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    adapters: HashMap<String, Linear>,
    head: Linear,
}

fn main() {}
