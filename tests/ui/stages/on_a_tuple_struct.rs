use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net(Linear, Linear);

fn main() {}
