use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
enum Head {
    One(Linear),
    #[freeze(unit)]
    Two(Linear, Linear),
}

fn main() {}
