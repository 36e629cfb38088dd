use candle_core::Tensor;
use freeze_core::Flow;

#[derive(Flow)]
struct Hidden {
    states: Tensor,
    length: usize,
}

fn main() {}
