use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    encoder: Vec<Linear>,
    #[freeze(rename = "encoder.0")]
    first: Linear,
    #[freeze(rename = "head.out.proj")]
    proj: Linear,
    #[freeze(rename = "head.out")]
    out: Linear,
}

fn main() {}
