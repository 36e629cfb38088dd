use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
enum Head {
    #[freeze(other)]
    One(Linear),
    Two(Linear, Linear),
}

fn main() {}
