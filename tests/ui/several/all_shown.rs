use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(skip, crate = "relative")]
struct Net {
    #[freeze(skpi)]
    stem: Linear,
    #[freeze(skip, param)]
    position: Linear,
    #[freeze(rename = "head")]
    body: Linear,
    #[freeze(rename = 3)]
    neck: Linear,
    #[freeze(unit, unit)]
    head: Linear,
}

fn main() {}
