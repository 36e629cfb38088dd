use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
enum Head {
    #[freeze(always)]
    One(Linear),
    Absent,
}

fn main() {}
