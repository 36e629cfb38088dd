use candle_core::Tensor;
use freeze_core::Flow;

#[derive(Flow)]
#[freeze(crate = "relative", unit)]
struct Hidden {
    #[freeze(skip)]
    states: Tensor,
    #[freeze(rename = "x")]
    other: Tensor,
}

fn batch(hidden: &Hidden) -> freeze_core::Result<usize> {
    hidden.batch()
}

fn main() {}
