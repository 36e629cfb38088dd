use std::collections::BTreeMap;

use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    branches: BTreeMap<String, Linear>,
    head: Linear,
}

fn main() {}
