use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(rename = "x")]
    stem: Linear,
    #[freeze(rename = "x")]
    head: Linear,
}

fn main() {}
