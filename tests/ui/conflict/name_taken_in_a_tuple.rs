use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net(Linear, #[freeze(rename = "0")] Linear);

fn main() {}
