use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(rename = "head")]
enum Head {
    One(Linear),
}

fn main() {}
