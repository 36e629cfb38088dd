use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(rename = "a..b")]
    stem: Linear,
    head: Linear,
}

fn main() {}
