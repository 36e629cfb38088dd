use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
enum Head {
    One(#[freeze(rename = "one")] Linear),
}

fn main() {}
