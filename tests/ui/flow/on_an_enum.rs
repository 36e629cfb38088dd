use freeze_core::Flow;

#[derive(Flow)]
enum Hidden {
    Tokens(candle_core::Tensor),
    States(candle_core::Tensor),
}

fn main() {}
